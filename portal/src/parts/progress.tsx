// How far a job is: a bar, and the same in words.
import { ProgressBar } from "@fluentui/react-components";
import type { Job } from "../api/types";
import { isOver, percent, size } from "../words";

export function Progress({ job }: { job: Job }) {
  if (isOver(job.state)) return null;
  const { done_bytes: done = 0, total_bytes: total = 0, doing } = job.progress;
  const part = total > 0 ? Math.min(1, done / total) : undefined;
  const said = part === undefined ? doing || "Waiting for a mover" : `${percent(part)}, ${size(done)} of ${size(total)}`;
  const waits = job.state === "queued" || job.state === "waiting";
  return (
    <div className="progress">
      <ProgressBar value={waits ? 0 : part} aria-label={`Progress of ${job.name}`} thickness="large" />
      <span className="faint">{waits ? "Waiting for a mover" : said}</span>
    </div>
  );
}
