// What happened to a job, as it was written down: who asked, which mover began, what was done, what went wrong.
import { useQuery } from "@tanstack/react-query";
import { jobLog } from "../api/queries";
import type { Job, JobLogEntry } from "../api/types";
import type { Tone } from "../words";
import { exactly, moment } from "../words";
import { Loaded, Section } from "./page";
import { Mark } from "./state";

export function JobLog({ job }: { job: Job }) {
  const done = job.steps.filter((step) => step.state === "done").length;
  // Whatever is written down changes one of these.
  const changed = [job.state, done, job.attempts, job.progress.warnings?.length ?? 0].join(" ");
  const asked = useQuery(jobLog(job.id, changed));
  return (
    <Section title="Log">
      <Loaded query={asked} what="the log">
        {(entries) => (
          <ol className="log" tabIndex={0} aria-label="What happened, in order">
            {lines(entries, job).map(([entry, text, tone], index) => (
              <li key={index}>
                <time dateTime={entry.at} title={exactly(entry.at)}>
                  {moment(entry.at)}
                </time>
                <Mark tone={tone} />
                <p>{text}</p>
              </li>
            ))}
          </ol>
        )}
      </Loaded>
    </Section>
  );
}

function lines(entries: JobLogEntry[], job: Job): [JobLogEntry, string, Tone][] {
  let attempt = 0;
  return entries.map((entry) => {
    if (entry.event === "begun") attempt += 1;
    const [text, tone] = said(entry, job, attempt);
    return [entry, text, tone];
  });
}

function said({ event, text }: JobLogEntry, job: Job, attempt: number): [string, Tone] {
  const ended: Tone = job.state === "completed" ? "good" : job.state === "failed" ? "bad" : job.state === "cancelled" ? "quiet" : "warn";
  switch (event) {
    case "asked":
      return [`Asked for by ${text || (job.scheduled ? "a schedule" : "the server")}`, "quiet"];
    case "begun":
      return [`${attempt > 1 ? `Attempt ${attempt} began` : "It began"}${text ? `, by the mover ${text}` : ""}`, "busy"];
    case "lost":
      return ["Its mover was not heard of any more: another claim is let in", "warn"];
    case "step_done":
      return [`${text}: done`, "good"];
    case "warned":
      return [text, "warn"];
    case "attempt_failed":
      return [text ? `The attempt failed: ${text}` : "The attempt failed", "bad"];
    case "released":
      return ["Its mover gave it back unharmed", "quiet"];
    case "cancel_wanted":
      return [`${text || "The server"} wants it to end`, "warn"];
    case "ended":
      return [`It ended: ${text}`, ended];
  }
}
