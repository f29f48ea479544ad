// Jobs, the newest first, as they go on.
import { Button, Select } from "@fluentui/react-components";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useSearchParams } from "react-router";
import { client, take } from "../api/client";
import type { Job, JobKind, JobState } from "../api/types";
import { Empty } from "../parts/empty";
import { Page } from "../parts/page";
import { Progress } from "../parts/progress";
import { State } from "../parts/state";
import { Trouble } from "../parts/trouble";
import { When } from "../parts/when";
import { useJobs } from "../shell/live";
import { isOver, JOB, KIND, lasted } from "../words";

const PAGE = 100;

export default function Jobs() {
  const [search, setSearch] = useSearchParams();
  const state = (search.get("state") ?? "") as JobState | "";
  const kind = (search.get("kind") ?? "") as JobKind | "";
  const item = search.get("item") ?? "";
  const live = useJobs();
  const list = useInfiniteQuery({
    queryKey: ["jobs", state, kind, item],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => {
      const query = { after: pageParam, limit: PAGE, state: state || undefined, kind: kind || undefined, item: item || undefined };
      return take(client.GET("/v1/jobs", { params: { query } }));
    },
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const jobs = useMemo(
    () => merged(list.data?.pages.flatMap((page) => page.items) ?? [], live.jobs, { state, kind, item }),
    [list.data, live.jobs, state, kind, item],
  );
  const set = (name: string, value: string) => {
    const next = new URLSearchParams(search);
    if (value) next.set(name, value);
    else next.delete(name);
    setSearch(next, { replace: true });
  };
  return (
    <Page
      title="Jobs"
      beside={<State of={live.live ? ["Live", "good"] : ["Connecting", "quiet"]} />}
      about={item ? "Of one machine." : undefined}
      actions={<Link className="link" to="/restore-sets">Restores of many machines</Link>}
    >
      <div className="filters">
        <Select aria-label="State" value={state} onChange={(_, data) => set("state", data.value)}>
          <option value="">Any state</option>
          {Object.entries(JOB).map(([value, [name]]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </Select>
        <Select aria-label="Kind" value={kind} onChange={(_, data) => set("kind", data.value)}>
          <option value="">Any kind</option>
          {Object.entries(KIND).map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </Select>
        {item && <Button onClick={() => set("item", "")}>Of all machines</Button>}
      </div>
      {list.error && <Trouble error={list.error} again={() => void list.refetch()} />}
      {list.data && jobs.length === 0 ? (
        <Empty title={state || kind || item ? "No job fits" : "No job yet"}>
          Backups, restores and whatever else takes long stand here, as they go on and afterwards.
        </Empty>
      ) : (
        <div className="table-scroll">
          <table className="table">
            <thead>
              <tr>
                <th>What</th>
                <th>State</th>
                <th>Progress</th>
                <th className="wide">Asked by</th>
                <th>Begun</th>
                <th className="wide end">Took</th>
              </tr>
            </thead>
            <tbody>
              {jobs.map((job) => (
                <JobRow key={job.id} job={job} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.hasNextPage && (
        <Button onClick={() => void list.fetchNextPage()} disabled={list.isFetchingNextPage}>
          {list.isFetchingNextPage ? "Loading..." : "Show older ones"}
        </Button>
      )}
    </Page>
  );
}

function JobRow({ job }: { job: Job }) {
  return (
    <tr>
      <td>
        <Link className="link strong" to={`/jobs/${job.id}`}>
          {KIND[job.kind]}: {job.name}
        </Link>
      </td>
      <td>
        <State of={JOB[job.state]} />
      </td>
      <td>{isOver(job.state) ? <span className="faint clamp">{job.error?.text ?? ""}</span> : <Progress job={job} />}</td>
      <td className="wide">{job.asked_by ?? (job.scheduled ? "schedule" : "-")}</td>
      <td>
        <When at={job.created} />
      </td>
      <td className="wide end">{job.ended ? lasted(Date.parse(job.ended) - Date.parse(job.created)) : "-"}</td>
    </tr>
  );
}

/** The list, with what the stream told since. */
function merged(list: Job[], live: Job[], wanted: { state: string; kind: string; item: string }): Job[] {
  const fits = (job: Job) =>
    (!wanted.state || job.state === wanted.state) && (!wanted.kind || job.kind === wanted.kind) && (!wanted.item || job.item === wanted.item);
  const newest = new Map(live.map((job) => [job.id, job]));
  const known = new Set(list.map((job) => job.id));
  const oldest = list.at(-1)?.created ?? "";
  const more = live.filter((job) => !known.has(job.id) && job.created >= oldest);
  const all = [...more, ...list.map((job) => newest.get(job.id) ?? job)].filter(fits);
  return all.sort((a, b) => b.created.localeCompare(a.created) || b.id.localeCompare(a.id));
}
