// The newest jobs as they go on: one stream for all pages that show any.
import { useEffect, useSyncExternalStore } from "react";
import { watchJobs } from "../api/events";
import { refresh } from "../api/queries";
import type { Job } from "../api/types";
import { isOver } from "../words";

/** As many as the server follows. */
const KEPT = 200;
/** So long after a stream began, what comes may be the past. */
const BEGINNING_MS = 2_000;

interface Known {
  jobs: Job[];
  live: boolean;
}

let known: Known = { jobs: [], live: false };
const listeners = new Set<() => void>();
let stop: (() => void) | null = null;
let liveSince = 0;

function change(next: Known): void {
  known = next;
  for (const listener of listeners) listener();
}

// Many events come at once when a stream begins: pages are told of all of them together.
let waiting = new Map<string, Job>();
let soon: number | undefined;

function told(job: Job): void {
  waiting.set(job.id, job);
  soon ??= window.setTimeout(settle, 50);
}

function settle(): void {
  soon = undefined;
  const before = new Map(known.jobs.map((job) => [job.id, job]));
  // A short job is over by the time that it is first told of.
  const isPast = performance.now() - liveSince < BEGINNING_MS;
  const ended = [...waiting.values()].some((job) => {
    const was = before.get(job.id);
    return isOver(job.state) && (was ? !isOver(was.state) : !isPast);
  });
  for (const job of waiting.values()) before.set(job.id, job);
  waiting = new Map();
  const jobs = [...before.values()].sort((a, b) => b.created.localeCompare(a.created) || b.id.localeCompare(a.id));
  change({ jobs: jobs.slice(0, KEPT), live: known.live });
  // What a job was about has changed: points, machines, alerts.
  if (ended) refresh("overview", "points", "item", "items", "machines", "machine", "alerts", "forecast", "replacements", "snapshots", "snapshot", "images", "usage", "cost", "vaults", "copies");
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Keeps the stream open while somebody is signed in; called once, by the frame. */
export function useLive(): void {
  useEffect(() => {
    stop = watchJobs("/v1/events", told, (live) => {
      if (live && !known.live) liveSince = performance.now();
      change({ ...known, live });
    });
    return () => {
      stop?.();
      stop = null;
      change({ jobs: [], live: false });
    };
  }, []);
}

export function useJobs(): Known {
  return useSyncExternalStore(subscribe, () => known);
}
