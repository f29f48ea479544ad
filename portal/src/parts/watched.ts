// A job as it goes on: asked once, and then told of.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { watchJobs } from "../api/events";
import { job as jobQuery, queries, refresh } from "../api/queries";
import type { Job } from "../api/types";
import { isOver } from "../words";

/** Over so long its speed is told: shorter, it jumps; longer, it lags. */
const SPEED_OVER_MS = 15_000;

export function useJob(id: string | undefined) {
  const asked = useQuery({ ...jobQuery(id ?? ""), enabled: id !== undefined });
  const over = asked.data !== undefined && isOver(asked.data.state);
  useEffect(() => {
    if (!id || over) return;
    const stop = watchJobs(`/v1/jobs/${id}/events`, (job) => {
      queries.setQueryData(["job", id], job);
      if (isOver(job.state)) {
        stop();
        refresh("points", "item", "machine", "replacements", "snapshots", "snapshot", "copies", "vaults", "usage", "cost");
      }
    });
    return stop;
  }, [id, over]);
  return asked;
}

/** Bytes a second, while it goes on. */
export function useSpeed(job: Job | undefined): number | null {
  const seen = useRef<[number, number][]>([]);
  const [speed, setSpeed] = useState<number | null>(null);
  const done = job?.progress.done_bytes ?? 0;
  const going = job?.state === "in_progress";
  useEffect(() => {
    const now = performance.now();
    seen.current = going ? [...seen.current.filter(([at]) => now - at < SPEED_OVER_MS), [now, done]] : [];
    const first = seen.current[0];
    const told = first && now - first[0] > 1_000 ? ((done - first[1]) / (now - first[0])) * 1_000 : null;
    setSpeed(told !== null && told > 0 ? told : null);
  }, [done, going]);
  return speed;
}
