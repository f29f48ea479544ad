// One machine: what it can be brought back to, and what can be done with it.
import { Button, Tab, TabList } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, Navigate, useNavigate, useParams, useSearchParams } from "react-router";
import { may } from "../access";
import { client, take } from "../api/client";
import { hosts, item as itemQuery, machine as machineQuery, points as pointsQuery, policies, snapshots, useMe, vaults } from "../api/queries";
import type { Item, Machine as MachineSeen, Point } from "../api/types";
import { CameraAddRegular } from "../icons";
import { Empty } from "../parts/empty";
import { Facts } from "../parts/facts";
import { Loaded, Page, Section } from "../parts/page";
import { Progress } from "../parts/progress";
import { State } from "../parts/state";
import { Timeline } from "../parts/timeline";
import { When } from "../parts/when";
import { useJobs } from "../shell/live";
import { count, ITEM, JOB, KIND, instant, size, STANDING, word } from "../words";
import { Acts } from "./machine/acts";
import { Kept } from "./machine/kept";
import { PointDetails } from "./machine/point";
import { PointList } from "./machine/point-list";
import { Sizes } from "./machine/sizes";
import { titleOf } from "./snapshot/words";

/** Jobs of a machine that are shown; the rest is behind the link. */
const JOBS = 6;

export default function Machine() {
  const { vault, item, machine } = useParams();
  return vault && item ? <Protected vault={vault} id={item} /> : <Seen id={machine ?? ""} />;
}

/** A machine that no vault has anything of. */
function Seen({ id }: { id: string }) {
  const seen = useQuery(machineQuery(id));
  const me = useMe();
  const navigate = useNavigate();
  if (seen.data?.item && seen.data.vault) {
    return <Navigate to={`/vaults/${seen.data.vault}/items/${seen.data.item}`} replace />;
  }
  const free = seen.data?.standing === "protectable" && may(me, "Protect", "any");
  const protect = free && (
    <Button appearance="primary" onClick={() => void navigate("/protect", { state: { machines: [id] } })}>
      Protect this machine
    </Button>
  );
  const snapshot = seen.data?.standing !== "unprotectable" && may(me, "BackUp", "any") && (
    <Button icon={<CameraAddRegular />} onClick={() => void navigate("/snapshots/new", { state: { machines: [id] } })}>
      Take a snapshot
    </Button>
  );
  return (
    <Page
      title={seen.data?.name ?? "Machine"}
      above={[["Machines", "/machines"]]}
      beside={seen.data && <State of={STANDING[seen.data.standing]} />}
      actions={seen.data && snapshot}
    >
      <Loaded query={seen} what="the machine">
        {(machine) => (
          <>
            <About machine={machine} />
            <Empty title={machine.obstacle ? "It cannot be protected as it is" : "No recovery points"} action={protect}>
              {machine.obstacle ??
                "Nothing of this machine could be brought back. Under a policy it is backed up by itself, while it runs."}
            </Empty>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function About({ machine, item }: { machine: MachineSeen | undefined; item?: Item }) {
  const known = useQuery(hosts);
  const host = known.data?.find((one) => one.id === machine?.host);
  const places = useQuery(vaults);
  const plans = useQuery({ ...policies(item?.vault ?? ""), enabled: item !== undefined });
  const policy = plans.data?.find((one) => one.id === item?.policy);
  const disks = machine?.disks ?? [];
  const tags = Object.entries(machine?.tags ?? {});
  const of: [string, React.ReactNode][] = [];
  if (item) {
    of.push(["Policy", policy ? <Link className="link" to={`/vaults/${item.vault}/policies/${policy.id}`}>{policy.name}</Link> : "none"]);
    of.push(["Last point", <When key="last" at={item.last_point} none="none yet" />]);
    of.push(["Next backup", <When key="next" at={item.next_backup} none="none due" />]);
    of.push(["Vault", <Link key="vault" className="link" to={`/vaults/${item.vault}`}>{places.data?.find((one) => one.id === item.vault)?.name ?? "..."}</Link>]);
    if (item.purge_at) of.push(["Can be brought back until", instant(item.purge_at)]);
  }
  if (machine) {
    of.push(["Now", word(machine.state)]);
    of.push(["Host", host?.name ?? "-"]);
    of.push(["Disks", `${disks.length} (${size(disks.reduce((sum, disk) => sum + disk.bytes, 0))})`]);
  }
  if (tags.length > 0) of.push(["Tags", tags.map(([key, value]) => (value ? `${key}=${value}` : key)).join(", ")]);
  return <Facts of={of} />;
}

function Protected({ vault, id }: { vault: string; id: string }) {
  const held = useQuery(itemQuery(vault, id));
  const seen = useQuery({ ...machineQuery(held.data?.machine ?? ""), enabled: held.data !== undefined });
  const points = useQuery(pointsQuery(vault, id));
  const item = held.data;
  return (
    <Page
      title={item?.name ?? "Machine"}
      above={[["Machines", "/machines"]]}
      beside={item && <State of={ITEM[item.state]} />}
      actions={item && <Acts item={item} points={points.data ?? []} />}
    >
      <Loaded query={held} what="the machine">
        {(item) => (
          <>
            <About machine={seen.data} item={item} />
            <Running item={item} />
            <Loaded query={points} what="recovery points">
              {(list) => <Points item={item} points={list} />}
            </Loaded>
            <Kept item={item} />
            <div className="columns">
              <JobsOf item={item} />
              <SnapshotsOf item={item} />
              <Skipped item={item} />
              {points.data && points.data.length > 1 && <Sizes points={points.data} />}
            </div>
          </>
        )}
      </Loaded>
    </Page>
  );
}

/** Jobs on this machine that go on, and one that just failed. */
function Running({ item }: { item: Item }) {
  const { jobs } = useJobs();
  const going = jobs.filter((job) => job.item === item.id && !job.ended);
  return going.map((job) => (
    <div key={job.id} className="running">
      <Link className="link strong" to={`/jobs/${job.id}`}>
        {KIND[job.kind]}
      </Link>
      <State of={JOB[job.state]} />
      <Progress job={job} />
    </div>
  ));
}

function Points({ item, points }: { item: Item; points: Point[] }) {
  const [search, setSearch] = useSearchParams();
  const [view, setView] = useState<"timeline" | "list">("timeline");
  const choose = (id: string) => setSearch({ point: id }, { replace: true });
  const newest = points.find((point) => !point.purge_at) ?? points[0];
  const chosen = points.find((point) => point.id === search.get("point")) ?? newest;
  const deleted = points.filter((point) => point.purge_at).length;
  return (
    <Section
      title="Recovery points"
      className="points"
      actions={
        points.length > 0 && (
          <TabList size="small" selectedValue={view} onTabSelect={(_, data) => setView(data.value as "timeline" | "list")}>
            <Tab value="timeline">Timeline</Tab>
            <Tab value="list">List</Tab>
          </TabList>
        )
      }
    >
      {points.length === 0 ? (
        <Empty title="No recovery point yet">
          {item.next_backup
            ? "The first one is made at the next backup of its policy. “Back up now” makes one at once."
            : "Nothing of this machine could be brought back yet."}
        </Empty>
      ) : (
        <>
          <p className="faint">
            {count(points.length - deleted, "point")}
            {deleted > 0 && `, and ${count(deleted, "deleted one")} that can be brought back`}. Choose one to see what it is
            and to restore it.
          </p>
          {view === "timeline" ? (
            <Timeline points={points} chosen={chosen?.id} choose={choose} />
          ) : (
            <PointList points={points} chosen={chosen?.id} choose={choose} />
          )}
          {chosen && <PointDetails key={chosen.id} item={item} point={chosen} />}
        </>
      )}
    </Section>
  );
}

function JobsOf({ item }: { item: Item }) {
  const list = useQuery({
    queryKey: ["jobs", "of", item.id],
    queryFn: () => take(client.GET("/v1/jobs", { params: { query: { item: item.id, limit: JOBS } } })),
    refetchInterval: 10_000,
  });
  return (
    <Section title="Jobs" actions={<Link className="link" to={`/jobs?item=${item.id}`}>All jobs</Link>}>
      <Loaded query={list} what="jobs">
        {(page) =>
          page.items.length === 0 ? (
            <p className="faint">Nothing has been done with it yet.</p>
          ) : (
            <ul className="rows">
              {page.items.map((job) => (
                <li key={job.id}>
                  <Link className="link row-name" to={`/jobs/${job.id}`}>
                    {KIND[job.kind]}
                  </Link>
                  <State of={JOB[job.state]} />
                  <span className="faint row-end">
                    <When at={job.created} />
                  </span>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Section>
  );
}

function SnapshotsOf({ item }: { item: Item }) {
  const list = useQuery(snapshots(item.vault));
  const kept = (list.data?.items ?? []).filter((one) => one.machine === item.machine && !one.purge_at);
  if (kept.length === 0) return null;
  return (
    <Section title="Snapshots" actions={kept.length > JOBS && <Link className="link" to={`/snapshots?search=${encodeURIComponent(item.name)}`}>All {kept.length}</Link>}>
      <ul className="rows">
        {kept.slice(0, JOBS).map((one) => (
          <li key={one.id}>
            <Link className="link row-name" to={`/vaults/${one.vault}/snapshots/${one.id}`}>
              {titleOf(one)}
            </Link>
            <span className="faint row-end">
              <When at={one.taken} />
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Skipped({ item }: { item: Item }) {
  const list = useQuery({
    queryKey: ["skipped", item.id],
    queryFn: () =>
      take(
        client.GET("/v1/vaults/{vault}/items/{item}/skipped", {
          params: { path: { vault: item.vault, item: item.id }, query: { limit: JOBS } },
        }),
      ),
  });
  if (!list.data || list.data.items.length === 0) return null;
  return (
    <Section title="Runs that were left out">
      <ul className="rows">
        {list.data.items.map((run) => (
          <li key={run.slot}>
            <span className="row-name">{instant(run.slot)}</span>
            <span className="faint row-end">
              {run.why === "still_running" ? "the run before was under way" : "nobody was there to start it"}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
