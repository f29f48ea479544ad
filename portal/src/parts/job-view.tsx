// A job to look at: its steps, how far it is, what it came to.
import { MessageBar, MessageBarBody, MessageBarTitle, ProgressBar } from "@fluentui/react-components";
import { Link } from "react-router";
import { ArrowSyncCircle20Filled, CheckmarkCircle20Filled, Circle20Regular, DismissCircle20Filled } from "../icons";
import type { Job } from "../api/types";
import { count, isOver, number, percent, size, word } from "../words";
import { Progress } from "./progress";
import { useSpeed } from "./watched";
import { When } from "./when";

const MARK = { pending: Circle20Regular, in_progress: ArrowSyncCircle20Filled, done: CheckmarkCircle20Filled, failed: DismissCircle20Filled };
const SAID = { pending: "to come", in_progress: "under way", done: "done", failed: "failed" };

export function JobView({ job }: { job: Job }) {
  const speed = useSpeed(job);
  const warnings = job.progress.warnings ?? [];
  const disks = job.progress.disks ?? [];
  return (
    <div className="stack" aria-live="polite">
      {job.error && (
        <MessageBar intent={isOver(job.state) ? "error" : "warning"} layout="multiline" className="trouble">
          <MessageBarBody>
            <MessageBarTitle>{job.state === "waiting" ? "An attempt failed" : "It failed"}</MessageBarTitle>
            <p>{job.error.text}</p>
            {job.error.hint && (
              <p>
                <strong>What to do:</strong> {job.error.hint}
              </p>
            )}
            {job.next_attempt && (
              <p>
                The next attempt is <When at={job.next_attempt} />.
              </p>
            )}
          </MessageBarBody>
        </MessageBar>
      )}
      {warnings.map((warning) => (
        <MessageBar key={warning} intent="warning" layout="multiline">
          <MessageBarBody>{warning}</MessageBarBody>
        </MessageBar>
      ))}
      <Progress job={job} />
      {speed !== null && (
        <p className="faint">
          {size(speed)} a second{job.progress.doing ? `, ${job.progress.doing}` : ""}
        </p>
      )}
      <ol className="steps-list" aria-label="Steps">
        {job.steps.map((step) => {
          const Mark = MARK[step.state];
          return (
            <li key={step.step} className={`step-${step.state}`}>
              <Mark aria-hidden />
              <span>{step.title}</span>
              <span className="faint">{SAID[step.state]}</span>
            </li>
          );
        })}
      </ol>
      {disks.length > 0 && (
        <ul className="rows" aria-label="Disks">
          {disks.map((disk, index) => {
            const part = disk.total_bytes ? Math.min(1, (disk.done_bytes ?? 0) / disk.total_bytes) : 0;
            return (
              <li key={disk.name ?? index}>
                <span className="row-name strong">{disk.name}</span>
                {!isOver(job.state) && <ProgressBar className="disk-bar" value={part} aria-label={`Disk ${disk.name}`} />}
                <span className="faint row-end">
                  {isOver(job.state) ? size(disk.total_bytes ?? 0) : `${percent(part)} of ${size(disk.total_bytes ?? 0)}`}
                  {disk.tracking && `, ${word(disk.tracking).toLowerCase()}`}
                </span>
              </li>
            );
          })}
        </ul>
      )}
      <Result job={job} />
    </div>
  );
}

/** What came of it: files that were written, snapshots that were made, what differs. */
function Result({ job }: { job: Job }) {
  const result = (job.result ?? {}) as { files?: unknown; file?: unknown; ranges?: unknown; snapshots?: unknown; disk?: string; next?: number | null };
  const files = [result.files, result.file].flat().filter((file): file is string => typeof file === "string");
  const snapshots = Array.isArray(result.snapshots) ? (result.snapshots as { made?: { point?: string }; machine_name?: string }[]) : [];
  if (Array.isArray(result.ranges)) return <Differences disk={result.disk ?? ""} ranges={result.ranges as Range[]} cut={result.next != null} />;
  if (snapshots.length > 0 && job.vault && job.kind === "snapshot") {
    return (
      <div>
        <h3>{count(snapshots.length, "snapshot")} made</h3>
        <ul className="plain">
          {snapshots.map(({ made, machine_name }) => (
            <li key={made?.point}>
              <Link className="link" to={`/vaults/${job.vault}/snapshots/${made?.point}`}>The one of {machine_name}</Link>
            </li>
          ))}
        </ul>
      </div>
    );
  }
  if (files.length === 0) return null;
  return (
    <div>
      <h3>Written on the mover&apos;s host</h3>
      <ul className="plain">
        {files.map((file) => (
          <li key={file}>
            <code>{file}</code>
          </li>
        ))}
      </ul>
    </div>
  );
}

interface Range {
  offset: number;
  length: number;
}

/** Ranges that are listed; the command line lists all. */
const RANGES = 20;

function Differences({ disk, ranges, cut }: { disk: string; ranges: Range[]; cut: boolean }) {
  const sum = ranges.reduce((all, range) => all + range.length, 0);
  return (
    <div className="stack">
      <h3>What changed in {disk}</h3>
      <p>
        {ranges.length === 0 ? "Nothing: they hold the same." : `${size(sum)} in ${count(ranges.length, "range")}${cut ? ", and there are more" : ""}.`}
      </p>
      {ranges.length > 0 && (
        <details>
          <summary>The {ranges.length > RANGES ? `first ${RANGES} ranges` : "ranges"}</summary>
          <ul className="rows">
            {ranges.slice(0, RANGES).map((range) => (
              <li key={range.offset}>
                <span className="row-name">at {size(range.offset)} <span className="faint">({number(range.offset)})</span></span>
                <span className="row-end">{size(range.length)}</span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}
