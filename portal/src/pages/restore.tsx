// A restore, step by step: which point, what, where, what that means, and how it goes.
import { Button, Field, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { client, once, take } from "../api/client";
import { copiesOf, item as itemQuery, machine as machineQuery, points as pointsQuery, vault as vaultQuery } from "../api/queries";
import type { Item, Machine, Point } from "../api/types";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { JobView } from "../parts/job-view";
import { Loaded, Page } from "../parts/page";
import { State } from "../parts/state";
import { Timeline } from "../parts/timeline";
import { Trouble } from "../parts/trouble";
import { useJob } from "../parts/watched";
import { Wizard } from "../parts/wizard";
import { CONSISTENCY, exactly, isOver, JOB } from "../words";
import { Review } from "./restore/review";
import { type Choice, faultOf, first, pointOf, requestOf } from "./restore/choice";
import { What } from "./restore/what";
import { Where } from "./restore/where";

export default function Restore() {
  const { vault = "", item: id = "" } = useParams();
  const held = useQuery(itemQuery(vault, id));
  const points = useQuery(pointsQuery(vault, id));
  const seen = useQuery({ ...machineQuery(held.data?.machine ?? ""), enabled: held.data !== undefined, retry: false });
  const name = held.data?.name ?? "";
  return (
    <Page title={name ? `Restore ${name}` : "Restore"} above={[["Machines", "/machines"], [name || "Machine", `/vaults/${vault}/items/${id}`]]}>
      <Loaded query={held} what="the machine">
        {(item) => (
          <Loaded query={points} what="recovery points">
            {(all) => <Source item={item} machine={seen.data} points={all.filter((point) => !point.purge_at)} />}
          </Loaded>
        )}
      </Loaded>
    </Page>
  );
}

/** Out of the vault, or of its second store if there is one. */
function Source({ item, machine, points }: { item: Item; machine: Machine | undefined; points: Point[] }) {
  const [search] = useSearchParams();
  const place = useQuery(vaultQuery(item.vault));
  const isCopied = place.data?.settings.copy != null;
  const fromCopy = search.get("from") === "copy";
  const copies = useQuery({ ...copiesOf(item.vault, item.id), enabled: fromCopy });
  if (fromCopy) {
    return (
      <Loaded query={copies} what="the copies">
        {(all) => <Steps key="copy" item={item} machine={machine} points={all.map((copy) => pointOf(copy, item.vault))} isCopied fromCopy />}
      </Loaded>
    );
  }
  return <Steps key="vault" item={item} machine={machine} points={points} isCopied={isCopied} fromCopy={false} />;
}

interface StepsProps {
  item: Item;
  machine: Machine | undefined;
  points: Point[];
  isCopied: boolean;
  fromCopy: boolean;
}

function Steps({ item, machine, points, isCopied, fromCopy }: StepsProps) {
  const [search, setSearch] = useSearchParams();
  const navigate = useNavigate();
  const [choice, setChoice] = useState<Choice>(() => first(item, fromCopy));
  const [step, setStep] = useState(search.has("point") ? 1 : 0);
  const point = points.find((one) => one.id === search.get("point")) ?? points[0];
  const began = search.get("job") ?? undefined;
  const kept: Record<string, string> = fromCopy ? { from: "copy" } : {};
  const act = useAct({
    does: () => {
      if (!point) throw new Error("No point is chosen.");
      return start(item, point, choice);
    },
    changes: ["jobs", "item", "replacements"],
    quiet: true,
    then: ({ job }) => setSearch({ ...kept, point: point?.id ?? "", job }, { replace: true }),
  });
  if (began) return <Goes job={began} item={item} />;
  const other = isCopied && (
    <Field label="Out of" hint={fromCopy ? "Good also when the vault is damaged, unreachable or gone." : undefined}>
      <Select value={fromCopy ? "copy" : "vault"} onChange={(_, data) => setSearch(data.value === "copy" ? { from: "copy" } : {}, { replace: true })}>
        <option value="vault">The vault</option>
        <option value="copy">Its second store</option>
      </Select>
    </Field>
  );
  if (!point) {
    return (
      <Empty title="There is nothing to restore" action={other}>
        {fromCopy ? `The second store has no copy of a point of ${item.name}.` : `No recovery point of ${item.name} is there.`}
      </Empty>
    );
  }
  const change = (part: Partial<Choice>) => setChoice({ ...choice, ...part });
  const files = choice.what === "files";
  const fault = faultOf(choice, point, machine);
  const at = `/vaults/${item.vault}/items/${item.id}`;
  return (
    <Wizard
      step={step}
      setStep={setStep}
      leave={() => void navigate(at)}
      steps={[
        {
          name: "Point",
          body: (
            <>
              <h2>To which point?</h2>
              {other}
              <Timeline points={points} other={fromCopy ? "Copies" : undefined} chosen={point.id} choose={(id) => setSearch({ ...kept, point: id }, { replace: true })} />
              <p className="chosen">
                <strong>{exactly(point.taken)}</strong>
                <span className="faint"> {CONSISTENCY[point.consistency]?.[1]}</span>
              </p>
            </>
          ),
        },
        {
          name: "What",
          body: <What item={item} point={point} machine={machine} choice={choice} change={change} />,
          next: files ? { name: "Open its files", act: () => void navigate(`${at}/points/${point.id}/files${fromCopy ? "?from=copy" : ""}`) } : undefined,
        },
        { name: "Where", body: <Where item={item} point={point} machine={machine} choice={choice} change={change} />, fault },
        {
          name: "Review",
          body: (
            <>
              <Review item={item} point={point} machine={machine} choice={choice} change={change} />
              {act.error && <Trouble error={act.error} />}
            </>
          ),
          fault: choice.what === "replace" && choice.typed.trim() !== item.name ? `Type ${item.name} to go on.` : fault,
          next: { name: act.isPending ? "Beginning..." : "Restore", act: () => act.mutate(), busy: act.isPending },
        },
      ]}
    />
  );
}

function start(item: Item, point: Point, choice: Choice): Promise<{ job: string }> {
  const params = { path: { vault: item.vault, item: item.id, point: point.id }, header: once() };
  const wish = requestOf(choice);
  return wish.kind === "replace"
    ? take(client.POST("/v1/vaults/{vault}/items/{item}/points/{point}/replace", { params, body: wish.body }))
    : take(client.POST("/v1/vaults/{vault}/items/{item}/points/{point}/restore", { params, body: wish.body }));
}

function Goes({ job: id, item }: { job: string; item: Item }) {
  const asked = useJob(id);
  const job = asked.data;
  const good = job?.state === "completed" || job?.state === "completed_with_warnings";
  return (
    <Loaded query={asked} what="the restore">
      {(job) => (
        <section className="section" aria-label="The restore">
          <div className="section-head">
            <h2>{good ? "It is restored" : isOver(job.state) ? "The restore ended" : "The restore goes on"}</h2>
            <State of={JOB[job.state]} />
          </div>
          {!isOver(job.state) && <p className="faint">You may leave this page: the restore goes on, and stands among the jobs.</p>}
          <JobView job={job} />
          <div className="actions">
            <Link className="link" to={`/jobs/${job.id}`}>
              The job
            </Link>
            <Link className="link" to={`/vaults/${item.vault}/items/${item.id}`}>
              Back to {item.name}
            </Link>
            {isOver(job.state) && !good && (
              <Button onClick={() => window.location.assign(window.location.pathname)}>Begin anew</Button>
            )}
          </div>
        </section>
      )}
    </Loaded>
  );
}
