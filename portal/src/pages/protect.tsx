// Machines put under a policy, step by step.
import { Button, Checkbox, Field, Input, Radio, RadioGroup, SearchBox, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useLocation, useNavigate } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { machines, policies, useMe, vaults } from "../api/queries";
import type { BulkOutcome, Machine, Policy, PolicyDocument, Vault } from "../api/types";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { State } from "../parts/state";
import { Trouble } from "../parts/trouble";
import { Wizard } from "../parts/wizard";
import { count, number, size } from "../words";
import { first, keepWords, scheduleWords } from "./policy/document";
import { PolicyForm } from "./policy/form";
import { Preview, usePreview } from "./policy/preview";

/** Listed at once: more are found by the search. */
const LISTED = 200;
/** As the API takes them at once. */
const AT_ONCE = 1000;
/** Of what a machine holds, changed in a day: for the estimate alone, and told with it. */
const CHANGED_A_DAY = 0.02;

interface Plan {
  vault: string;
  /** A policy's id; empty: a new one. */
  policy: string;
  name: string;
  document: PolicyDocument;
  now: boolean;
}

export default function Protect() {
  const me = useMe();
  const places = useQuery(vaults);
  const mine = (places.data ?? []).filter((vault) => may(me, "Protect", vault.id));
  return (
    <Page title="Protect machines" above={[["Machines", "/machines"]]}>
      <Loaded query={places} what="vaults">
        {() => (mine.length === 0 ? <NoVault /> : <Steps vaults={mine} />)}
      </Loaded>
    </Page>
  );
}

function NoVault() {
  const me = useMe();
  const navigate = useNavigate();
  const makes = may(me, "CreateVault", null);
  return (
    <Empty title="There is no vault yet" action={makes && <Button appearance="primary" onClick={() => void navigate("/vaults/new")}>Make a vault</Button>}>
      Recovery points are kept in a vault: a folder or a bucket, encrypted with a key of its own.
      {!makes && " Ask somebody who may make one, or who may give you a role in one."}
    </Empty>
  );
}

function Steps({ vaults: mine }: { vaults: Vault[] }) {
  const me = useMe();
  const navigate = useNavigate();
  const location = useLocation();
  const given = (location.state as { machines?: string[] } | null)?.machines ?? [];
  const [chosen, setChosen] = useState<ReadonlySet<string>>(() => new Set(given));
  const [step, setStep] = useState(given.length > 0 ? 1 : 0);
  const all = useQuery(machines);
  const [plan, setPlan] = useState<Plan>(() => ({ vault: mine[0]?.id ?? "", policy: "", name: "nightly", document: first(), now: true }));
  const change = (part: Partial<Plan>) => setPlan((before) => ({ ...before, ...part }));
  const known = useQuery({ ...policies(plan.vault), enabled: plan.vault !== "" });
  const vault = mine.find((one) => one.id === plan.vault);
  const policy = known.data?.find((one) => one.id === plan.policy);
  const writes = may(me, "WritePolicy", plan.vault);
  const shown = policy?.document ?? plan.document;
  const preview = usePreview(plan.vault, shown);
  const picked = (all.data?.items ?? []).filter((machine) => chosen.has(machine.id));
  const protect = useAct({
    does: () => carryOut(plan, picked),
    changes: ["machines", "items", "overview", "policies", "forecast", "jobs", "vaults"],
    quiet: true,
    then: ({ made }) => made && change({ policy: made.id }),
  });
  if (protect.data) return <Outcome outcomes={protect.data.outcomes} names={new Map(picked.map((machine) => [machine.id, machine.name]))} />;
  const fault =
    !plan.policy && !plan.name.trim() ? "Name the policy." : !plan.policy && preview.error ? "The policy cannot be as it is." : !plan.policy && !writes ? "Choose a policy." : undefined;
  return (
    <Wizard
      step={step}
      setStep={setStep}
      leave={() => void navigate("/machines")}
      steps={[
        {
          name: "Machines",
          body: <Choose all={all.data?.items ?? []} chosen={chosen} setChosen={setChosen} loading={!all.data} />,
          fault: chosen.size === 0 ? "Choose at least one machine." : undefined,
        },
        {
          name: "Policy",
          body: <ChoosePolicy vaults={mine} vault={vault} policies={known.data ?? []} plan={plan} change={change} writes={writes} />,
          fault,
        },
        {
          name: "Review",
          body: (
            <>
              <ReviewPlan machines={picked} plan={plan} vault={vault} policy={policy} atMost={preview.data?.points_at_most} />
              <Checkbox label="Back them up now as well, not only at the policy's next time" checked={plan.now} onChange={(_, data) => change({ now: data.checked === true })} />
              {protect.error && <Trouble error={protect.error} />}
            </>
          ),
          next: { name: protect.isPending ? "Protecting..." : `Protect ${count(picked.length, "machine")}`, act: () => protect.mutate(), busy: protect.isPending || picked.length === 0 },
        },
      ]}
    />
  );
}

/** The policy first, if it is a new one; then the machines, as many at once as the API takes. */
async function carryOut(plan: Plan, picked: Machine[]): Promise<{ outcomes: BulkOutcome[]; made: Policy | null }> {
  const { vault } = plan;
  let made: Policy | null = null;
  if (!plan.policy) {
    made = await take(
      client.POST("/v1/vaults/{vault}/policies", { params: { path: { vault }, header: once() }, body: { name: plan.name.trim(), document: plan.document } }),
    );
  }
  const policy = made?.id ?? plan.policy;
  const outcomes: BulkOutcome[] = [];
  for (let from = 0; from < picked.length; from += AT_ONCE) {
    const ids = picked.slice(from, from + AT_ONCE).map((machine) => machine.id);
    const body = { machines: ids, policy, back_up_now: plan.now };
    outcomes.push(...(await take(client.POST("/v1/vaults/{vault}/items", { params: { path: { vault }, header: once() }, body }))));
  }
  return { outcomes, made };
}

interface ChooseProps {
  all: Machine[];
  chosen: ReadonlySet<string>;
  setChosen: (chosen: ReadonlySet<string>) => void;
  loading: boolean;
}

function Choose({ all, chosen, setChosen, loading }: ChooseProps) {
  const [text, setText] = useState("");
  const free = useMemo(() => all.filter((machine) => machine.standing === "protectable"), [all]);
  const found = free.filter((machine) => machine.name.toLowerCase().includes(text.toLowerCase()));
  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  if (!loading && free.length === 0) {
    return (
      <Empty title="No machine waits for protection" action={<Link className="link" to="/hosts">See the hosts</Link>}>
        Every machine that was found is protected, or cannot be. Machines of other hosts are found once those are added.
      </Empty>
    );
  }
  return (
    <>
      <h2>Which machines?</h2>
      <div className="filters">
        <SearchBox className="search" placeholder="Search by name" aria-label="Search machines" value={text} onChange={(_, data) => setText(data.value)} />
        <Button onClick={() => setChosen(new Set([...chosen, ...found.map((machine) => machine.id)]))}>Choose all {number(found.length)}</Button>
        <span className="faint" role="status">{count(chosen.size, "machine")} chosen</span>
      </div>
      <ul className="choices" aria-label="Machines without protection">
        {found.slice(0, LISTED).map((machine) => (
          <li key={machine.id}>
            <Checkbox
              label={machine.name}
              checked={chosen.has(machine.id)}
              onChange={() => toggle(machine.id)}
            />
            <span className="faint">{size(bytesOf(machine))}</span>
          </li>
        ))}
      </ul>
      {found.length > LISTED && <p className="faint">{number(found.length - LISTED)} more: the search finds them.</p>}
    </>
  );
}

const bytesOf = (machine: Machine) => machine.disks.reduce((sum, disk) => sum + disk.bytes, 0);

interface PolicyProps {
  vaults: Vault[];
  vault: Vault | undefined;
  policies: Policy[];
  plan: Plan;
  change: (part: Partial<Plan>) => void;
  writes: boolean;
}

function ChoosePolicy({ vaults: mine, vault, policies: known, plan, change, writes }: PolicyProps) {
  const policy = known.find((one) => one.id === plan.policy);
  return (
    <>
      <h2>By which policy?</h2>
      {mine.length > 1 && (
        <Field label="Vault">
          <Select value={plan.vault} onChange={(_, data) => change({ vault: data.value, policy: "" })}>
            {mine.map((one) => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
      <RadioGroup value={plan.policy} onChange={(_, data) => change({ policy: data.value })} aria-label="Policy" className="ways">
        {known.map((one) => (
          <Radio
            key={one.id}
            value={one.id}
            label={
              <span className="way">
                <strong>{one.name}</strong>
                <span className="faint">
                  {scheduleWords(one.document)}; keeps {keepWords(one.document)}
                </span>
              </span>
            }
          />
        ))}
        {writes && (
          <Radio
            value=""
            label={
              <span className="way">
                <strong>A new policy</strong>
                <span className="faint">When machines are backed up, and how long points stay</span>
              </span>
            }
          />
        )}
      </RadioGroup>
      {!plan.policy && writes && (
        <>
          <Field label="Name of the policy" required>
            <Input value={plan.name} onChange={(_, data) => change({ name: data.value })} maxLength={64} />
          </Field>
          <PolicyForm document={plan.document} change={(document) => change({ document })} hasSnapshots={Boolean(vault?.settings.snapshot_store)} />
        </>
      )}
      <h3>A year with this policy</h3>
      <Preview vault={plan.vault} document={policy?.document ?? plan.document} />
    </>
  );
}

interface ReviewProps {
  machines: Machine[];
  plan: Plan;
  vault: Vault | undefined;
  policy: Policy | undefined;
  atMost: number | undefined;
}

function ReviewPlan({ machines: picked, plan, vault, policy, atMost }: ReviewProps) {
  const document = policy?.document ?? plan.document;
  const bytes = picked.reduce((sum, machine) => sum + bytesOf(machine), 0);
  const later = atMost === undefined ? undefined : bytes * CHANGED_A_DAY * atMost;
  const names = picked.slice(0, 5).map((machine) => machine.name).join(", ");
  return (
    <>
      <h2>This will be so</h2>
      <ul className="plain review">
        <li>
          {names}
          {picked.length > 5 && ` and ${count(picked.length - 5, "more machine")}`} {picked.length === 1 ? "is" : "are"} backed up into{" "}
          {vault?.name}: {scheduleWords(document)}.
        </li>
        <li>Points are kept by days and beyond: {keepWords(document)}.</li>
        {!policy && <li>The policy {plan.name} is made, and can be given to others as well.</li>}
        <li>
          Room: the first points take up to {size(bytes)}, less what is empty, equal or compresses.
          {later !== undefined &&
            ` If a fiftieth of it changed every day, all points together would add up to ${size(later)} at most, before compression.`}
        </li>
        <li>The machines run on: their disks are frozen for a moment at each backup.</li>
      </ul>
    </>
  );
}

function Outcome({ outcomes, names }: { outcomes: BulkOutcome[]; names: Map<string, string> }) {
  const failed = outcomes.filter((one) => one.problem);
  const good = outcomes.length - failed.length;
  return (
    <section className="section" aria-label="What came of it">
      <h2>{good > 0 ? `${count(good, "machine")} protected` : "No machine was protected"}</h2>
      <ul className="rows">
        {[...failed, ...outcomes.filter((one) => !one.problem)].slice(0, LISTED).map((one) => (
          <li key={one.id}>
            <span className="row-name strong">
              {one.item ? <Link className="link" to={`/vaults/${one.item.vault}/items/${one.item.id}`}>{one.item.name}</Link> : (names.get(one.id) ?? one.id)}
            </span>
            <State of={one.problem ? ["Not protected", "bad"] : ["Protected", "good"]} />
            {one.problem && (
              <span className="row-end">
                {one.problem.detail} {one.problem.hint}
              </span>
            )}
          </li>
        ))}
      </ul>
      <div className="actions">
        <Link className="link" to="/machines">All machines</Link>
        <Link className="link" to="/jobs">Their backups</Link>
      </div>
    </section>
  );
}
