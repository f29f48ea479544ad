// A restore of many machines: how all of it goes, and each of them.
import { Button, ProgressBar } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { restoreSet, useMe } from "../api/queries";
import type { RestoreSet as SetSeen, SetMember } from "../api/types";
import { Confirm } from "../parts/confirm";
import { useAct } from "../parts/done";
import { Facts } from "../parts/facts";
import { Loaded, Page, Section } from "../parts/page";
import { State } from "../parts/state";
import { count, instant, lasted, MEMBER, percent, SET, size } from "../words";

export default function RestoreSet() {
  const { vault = "", set: id = "" } = useParams();
  const asked = useQuery(restoreSet(vault, id));
  const set = asked.data;
  return (
    <Page
      title={set ? `Restore of ${count(set.members.length, "machine")}` : "Restore of many machines"}
      above={[["Jobs", "/jobs"], ["Restores of many", "/restore-sets"]]}
      beside={set && <State of={SET[set.state]} />}
      actions={set && <Acts set={set} />}
    >
      <Loaded query={asked} what="the restore">
        {(set) => (
          <>
            <Facts
              of={[
                ["Begun", instant(set.created)],
                ["Ended", set.ended ? `${instant(set.ended)}, after ${lasted(Date.parse(set.ended) - Date.parse(set.created))}` : "not yet"],
                ["Done", `${set.total.done} of ${set.members.length}`],
                ["Failed", String(set.total.failed)],
              ]}
            />
            <Whole set={set} />
            <Section title="Machines">
              <div className="table-scroll" tabIndex={0} role="region" aria-label="Machines of the restore">
                <table className="table">
                  <thead>
                    <tr>
                      <th>Machine</th>
                      <th>State</th>
                      <th className="wide">Turn</th>
                      <th>Progress</th>
                      <th className="wide">Folder</th>
                    </tr>
                  </thead>
                  <tbody>
                    {set.members.map((member) => (
                      <Member key={member.item} set={set} member={member} />
                    ))}
                  </tbody>
                </table>
              </div>
            </Section>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Whole({ set }: { set: SetSeen }) {
  if (set.ended) return null;
  const { done_bytes: done, total_bytes: total } = set.total;
  const part = total > 0 ? Math.min(1, done / total) : 0;
  return (
    <div className="running" aria-live="polite">
      <div className="progress">
        <ProgressBar value={part} thickness="large" aria-label="Progress of all machines" />
        <span className="faint">
          {percent(part)}, {size(done)} of {size(total)}; {count(set.total.under_way, "machine")} under way, {set.total.waiting} to come
        </span>
      </div>
    </div>
  );
}

function Member({ set, member }: { set: SetSeen; member: SetMember }) {
  // A job is there once it was begun.
  const begun = member.state !== "waiting";
  const part = member.total_bytes > 0 ? Math.min(1, member.done_bytes / member.total_bytes) : 0;
  return (
    <tr>
      <td className="names">
        <Link className="link strong" to={`/vaults/${set.vault}/items/${member.item}`}>{member.name}</Link>
        {member.machine && <span className="faint"> → {member.machine}</span>}
      </td>
      <td>{begun ? <Link className="link" to={`/jobs/${member.job}`}><State of={MEMBER[member.state]} /></Link> : <State of={MEMBER[member.state]} />}</td>
      <td className="wide">{member.group}</td>
      <td>
        {member.state === "under_way" ? (
          <div className="progress">
            <ProgressBar value={part} aria-label={`Progress of ${member.name}`} />
            <span className="faint">{percent(part)} of {size(member.total_bytes)}</span>
          </div>
        ) : member.error ? (
          <>
            <span className="bad-text">{member.error.text}</span>
            {member.error.hint && <div className="faint">What to do: {member.error.hint}</div>}
          </>
        ) : (
          <span className="faint">{size(member.total_bytes)}</span>
        )}
      </td>
      <td className="wide"><code>{member.folder}</code></td>
    </tr>
  );
}

function Acts({ set }: { set: SetSeen }) {
  const me = useMe();
  const navigate = useNavigate();
  const [asks, setAsks] = useState(false);
  const cancel = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/restore-sets/{set}/cancel", { params: { path: { vault: set.vault, set: set.id }, header: once() } })),
    told: () => ({ title: "Nothing more begins; what is under way ends as soon as things are tidy" }),
    changes: ["restore-sets", "jobs"],
    quiet: true,
    then: () => setAsks(false),
  });
  const left = set.members.filter((member) => member.state === "failed" || member.state === "cancelled");
  return (
    <>
      {set.state === "in_progress" && may(me, "CancelJob", set.vault) && <Button onClick={() => setAsks(true)}>Cancel</Button>}
      {set.ended && left.length > 0 && may(me, "Restore", set.vault) && (
        <Button appearance="primary" onClick={() => void navigate("/restore-many", { state: { items: left.map((member) => ({ vault: set.vault, id: member.item })) } })}>
          Again for {count(left.length, "machine")}
        </Button>
      )}
      <Confirm open={asks} close={() => setAsks(false)} title="Cancel the restore" action="Cancel it" busy={cancel.isPending} error={cancel.error} act={() => cancel.mutate()}>
        <p>
          Nothing more of it begins. What is under way ends, and what was written of it so far is removed. Machines that are
          done stay.
        </p>
      </Confirm>
    </>
  );
}
