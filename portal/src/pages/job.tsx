// One job: live while it goes on, and afterwards what came of it.
import { Button } from "@fluentui/react-components";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { type Action, may } from "../access";
import { client, once, take } from "../api/client";
import { useMe } from "../api/queries";
import type { Job as JobSeen, JobKind } from "../api/types";
import { Confirm } from "../parts/confirm";
import { useAct } from "../parts/done";
import { Facts } from "../parts/facts";
import { JobLog } from "../parts/job-log";
import { JobView } from "../parts/job-view";
import { Loaded, Page, Section } from "../parts/page";
import { State } from "../parts/state";
import { useJob } from "../parts/watched";
import { instant, isOver, JOB, KIND, lasted, number } from "../words";

/** What one must be allowed to do to ask for such a job again. */
const NEEDS: Record<JobKind, Action> = {
  backup: "BackUp",
  restore: "Restore",
  instant_restore: "Restore",
  replace: "Restore",
  plan: "Restore",
  undo_replace: "Restore",
  remove_kept: "DeleteData",
  delete_data: "DeleteData",
  verify: "Verify",
  undelete: "Undelete",
  collect: "UpdateVault",
  drill: "Restore",
  snapshot: "BackUp",
  export_snapshot: "Restore",
  copy_snapshot: "Restore",
  compare_snapshots: "Verify",
  measure_snapshots: "Verify",
  capture_image: "CaptureImage",
  copy_image: "Restore",
  create_machines: "CreateMachines",
  create_machines_at_once: "CreateMachines",
  copy: "UpdateVault",
  heal: "UpdateVault",
  archive: "UpdateVault",
  rehydrate: "Restore",
};

export default function Job() {
  const { job: id } = useParams();
  const asked = useJob(id);
  const job = asked.data;
  return (
    <Page
      title={job ? `${KIND[job.kind]}: ${job.name}` : "Job"}
      above={[["Jobs", "/jobs"]]}
      beside={job && <State of={JOB[job.state]} />}
      actions={job && <JobActs job={job} />}
    >
      <Loaded query={asked} what="the job">
        {(job) => (
          <>
            <Facts
              of={[
                ["Asked for", instant(job.created)],
                ["By", job.asked_by ?? (job.scheduled ? "a schedule" : "the server")],
                ["Ended", job.ended ? `${instant(job.ended)}, after ${lasted(Date.parse(job.ended) - Date.parse(job.created))}` : "not yet"],
                ["Attempts", number(job.attempts)],
                ...(job.item && job.vault ? [machineOf(job.vault, job.item, job.name)] : []),
              ]}
            />
            <Section title="How it goes">
              <JobView job={job} />
            </Section>
            <JobLog job={job} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function machineOf(vault: string, item: string, name: string): [string, React.ReactNode] {
  return ["Machine", <Link key="machine" className="link" to={`/vaults/${vault}/items/${item}`}>{name}</Link>];
}

function JobActs({ job }: { job: JobSeen }) {
  const me = useMe();
  const navigate = useNavigate();
  const [asks, setAsks] = useState(false);
  const vault = job.vault ?? null;
  const params = () => ({ path: { job: job.id }, header: once() });
  const cancel = useAct({
    does: () => take(client.POST("/v1/jobs/{job}/cancel", { params: params() })),
    told: () => ({ title: "It ends as soon as its mover has left things tidy" }),
    changes: ["job", "jobs"],
    quiet: true,
    then: () => setAsks(false),
  });
  const retry = useAct({
    does: () => take(client.POST("/v1/jobs/{job}/retry", { params: params() })),
    told: () => ({ title: "It is tried again" }),
    changes: ["jobs"],
    then: ({ job }) => void navigate(`/jobs/${job}`),
  });
  const failed = job.state === "failed" || job.state === "cancelled";
  return (
    <>
      {!isOver(job.state) && job.state !== "cancelling" && may(me, "CancelJob", vault) && (
        <Button onClick={() => setAsks(true)}>Cancel</Button>
      )}
      {failed && may(me, NEEDS[job.kind], vault) && (
        <Button appearance="primary" disabled={retry.isPending} onClick={() => retry.mutate()}>
          Try again
        </Button>
      )}
      <Confirm open={asks} close={() => setAsks(false)} title={`Cancel: ${KIND[job.kind]} of ${job.name}`} action="Cancel it" busy={cancel.isPending} error={cancel.error} act={() => cancel.mutate()}>
        <p>{CANCELLED[job.kind] ?? "What it did so far is tidied away. It can be tried again."}</p>
      </Confirm>
    </>
  );
}

const CANCELLED: Partial<Record<JobKind, string>> = {
  backup: "No point comes of it; the machine is left as it was. The next backup goes on from the last point.",
  restore: "What was written so far is removed. The point is as good as before.",
  instant_restore:
    "The machine stays, and stands still at its next read of what has not followed. It runs on once somebody goes on with `strongroom rescue instant resume` on its host.",
  create_machines: "The machines that were made stay. It can be tried again: it then makes the rest.",
  create_machines_at_once:
    "The machines stay, and stand still at their next read of the image: trying it again has them run on. Do not cancel it to end it: it is over when each of them was off once.",
  replace: "What was done to the machine's disks is taken back: it is as it was before.",
  delete_data: "The points that were not deleted yet stay, and those that were are brought back.",
};
