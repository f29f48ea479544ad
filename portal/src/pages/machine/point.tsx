// One recovery point: what it is, why it is kept, whether it was proved, and what can be done with it.
import { Button, Menu, MenuItem, MenuList, MenuPopover, MenuTrigger } from "@fluentui/react-components";
import { ArrowUndoRegular, DocumentSearchRegular, MoreHorizontalRegular } from "../../icons";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";
import { may } from "../../access";
import { client, once, take } from "../../api/client";
import { useMe } from "../../api/queries";
import type { Item, Point } from "../../api/types";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { Facts } from "../../parts/facts";
import { State } from "../../parts/state";
import { CONSISTENCY, day, exactly, instant, lasted, size, type Tone, word } from "../../words";

const CHANGES = ["points", "item", "overview", "jobs"];

export function PointDetails({ item, point }: { item: Item; point: Point }) {
  const why = point.kept_for.map((kept) => (kept.until ? `${word(kept.why)} until ${day(kept.until)}` : word(kept.why)));
  const [named, means] = CONSISTENCY[point.consistency] ?? [point.consistency, ""];
  const tiers = [point.in_snapshot_tier && "Snapshot tier", point.in_vault_tier && "Vault", point.in_archive_tier && "Archive"].filter(Boolean).join(", ");
  return (
    <article className="point" aria-label={`Point of ${instant(point.taken)}`}>
      <div className="section-head">
        <h3>{exactly(point.taken)}</h3>
        <PointActs item={item} point={point} />
      </div>
      <Facts
        of={[
          ["Consistency", <span key="consistency" title={means}>{named}</span>],
          ["Where", tiers || "nowhere any more"],
          ["Kept for", point.purge_at ? "deleted" : why.join("; ") || "the newest point"],
          point.purge_at
            ? ["Can be brought back until", instant(point.purge_at)]
            : ["Expires", point.expires ? instant(point.expires) : point.pinned ? "never: pinned" : "not by time"],
          ["Made", point.origin === "scheduled" ? "by schedule" : "on demand"],
          ["Added to the store", size(point.stored_bytes)],
          ["Disks", point.disks.map((disk) => `${disk.name} (${size(disk.bytes)})`).join(", ")],
          ["Proved", <Proof key="proved" drill={point.drill} />],
          ...(point.copy_drill ? [["Its copy proved", <Proof key="copy" drill={point.copy_drill} />] as [string, ReactNode]] : []),
        ]}
      />
      <p className="faint">{means}</p>
      {point.drill && <DrillRecord item={item} point={point} />}
    </article>
  );
}

const VERDICT: Record<string, [string, Tone]> = {
  proved: ["Proved", "good"],
  booted_only: ["Booted, no check passed judgement", "warn"],
  failed: ["Failed", "bad"],
};

export function Proof({ drill }: { drill: Point["drill"] }) {
  const verdict = drill?.record.verdict.verdict;
  return verdict ? <State of={VERDICT[verdict] ?? [verdict, "quiet"]} /> : <span className="faint">not tried yet</span>;
}

function DrillRecord({ item, point }: { item: Item; point: Point }) {
  const drill = point.drill;
  const [seen, setSeen] = useState(false);
  if (!drill) return null;
  const { record } = drill;
  const failed = record.verdict.verdict === "failed" ? record.verdict : null;
  return (
    <div className="drill">
      <h4>
        Last drill, <Link className="link" to={`/jobs/${drill.job}`}>{instant(drill.ended)}</Link>
      </h4>
      {failed && (
        <p className="bad-text">
          Failed in {failed.stage}: {failed.reason}
        </p>
      )}
      <p className="faint">
        {record.boot_ms != null && `It came up in ${lasted(record.boot_ms)}. `}
        {record.guest && `It says that it is ${record.guest}. `}
        {size(record.read_bytes)} were read from the vault.
      </p>
      {record.checks.length > 0 && (
        <ul className="rows">
          {record.checks.map((check) => (
            <li key={check.name}>
              <span className="row-name">{check.name}</span>
              <State of={check.failure ? [check.failure, "bad"] : ["Passed", "good"]} />
              <span className="faint row-end">{lasted(check.took_ms)}</span>
            </li>
          ))}
        </ul>
      )}
      {drill.has_screenshot && (
        <>
          <Button size="small" onClick={() => setSeen(!seen)} aria-expanded={seen}>
            {seen ? "Hide its screen" : "See its screen"}
          </Button>
          {seen && <Screenshot item={item} point={point} />}
        </>
      )}
    </div>
  );
}

function Screenshot({ item, point }: { item: Item; point: Point }) {
  const shot = useQuery({
    queryKey: ["screenshot", point.id],
    queryFn: () =>
      take(
        client.GET("/v1/vaults/{vault}/items/{item}/points/{point}/screenshot", {
          params: { path: { vault: item.vault, item: item.id, point: point.id } },
        }),
      ),
  });
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    if (shot.data?.format !== "png") return;
    const bytes = Uint8Array.from(atob(shot.data.data), (char) => char.charCodeAt(0));
    const made = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [shot.data]);
  if (shot.data && shot.data.format !== "png") return <p className="faint">Its QEMU makes pictures that browsers do not show.</p>;
  return address ? <img className="screen" src={address} alt="The screen at the end of the drill" /> : null;
}

function PointActs({ item, point }: { item: Item; point: Point }) {
  const me = useMe();
  const navigate = useNavigate();
  const [deletes, setDeletes] = useState(false);
  const can = (action: Parameters<typeof may>[1]) => may(me, action, item.vault);
  const params = () => ({ path: { vault: item.vault, item: item.id, point: point.id }, header: once() });
  const base = "/v1/vaults/{vault}/items/{item}/points/{point}";
  const told = (title: string) => ({ job }: { job: string }) => ({ title, to: `/jobs/${job}` });
  const drill = useAct({
    does: () => take(client.POST(`${base}/drill`, { params: params(), body: {} })),
    told: told("The point is tried out"),
    changes: CHANGES,
  });
  const verify = useAct({
    does: () => take(client.POST(`${base}/verify`, { params: params() })),
    told: told("The point is read back"),
    changes: CHANGES,
  });
  const pin = useAct({
    does: () => take(client.PUT(`${base}/pin`, { params: params(), body: { pinned: !point.pinned } })),
    told: (after) => ({ title: after.pinned ? "The point is kept until somebody unpins it" : "The point expires as its policy says" }),
    changes: CHANGES,
  });
  const remove = useAct({
    does: () => take(client.DELETE(base, { params: params() })),
    told: told("The point is deleted; it can be brought back for a while"),
    changes: CHANGES,
    quiet: true,
    then: () => setDeletes(false),
  });
  const undelete = useAct({
    does: () => take(client.POST(`${base}/undelete`, { params: params() })),
    told: told("The point comes back"),
    changes: CHANGES,
  });
  if (point.purge_at) {
    return (
      can("Undelete") && (
        <Button appearance="primary" onClick={() => undelete.mutate()} disabled={undelete.isPending}>
          Bring it back
        </Button>
      )
    );
  }
  const at = `/vaults/${item.vault}/items/${item.id}`;
  const more: [string, () => void][] = [];
  if (can("Verify")) more.push(["Try it out (drill)", () => drill.mutate()], ["Read it back (verify)", () => verify.mutate()]);
  if (can("Pin")) more.push([point.pinned ? "Unpin" : "Pin: keep until I say otherwise", () => pin.mutate()]);
  if (can("DeleteData")) more.push(["Delete", () => setDeletes(true)]);
  return (
    <div className="actions">
      {can("Restore") && (
        <>
          <Button icon={<DocumentSearchRegular />} onClick={() => void navigate(`${at}/points/${point.id}/files`)}>
            Files
          </Button>
          <Button appearance="primary" icon={<ArrowUndoRegular />} onClick={() => void navigate(`${at}/restore?point=${point.id}`)}>
            Restore this point
          </Button>
        </>
      )}
      {more.length > 0 && (
        <Menu>
          <MenuTrigger disableButtonEnhancement>
            <Button icon={<MoreHorizontalRegular />} aria-label="More acts on the point" />
          </MenuTrigger>
          <MenuPopover>
            <MenuList>
              {more.map(([name, act]) => (
                <MenuItem key={name} onClick={act}>
                  {name}
                </MenuItem>
              ))}
            </MenuList>
          </MenuPopover>
        </Menu>
      )}
      <Confirm
        open={deletes}
        close={() => setDeletes(false)}
        title="Delete this point"
        action="Delete"
        danger
        typed={item.name}
        busy={remove.isPending}
        error={remove.error}
        act={() => remove.mutate()}
      >
        <p>
          {item.name} can no longer be brought back to {instant(point.taken)}. For the days of the vault&apos;s soft deletion
          the point can be brought back; after that nobody can. Other points are as good as before.
        </p>
      </Confirm>
    </div>
  );
}
