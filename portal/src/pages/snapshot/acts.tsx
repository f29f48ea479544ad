// What can be done with a snapshot: a disk made of it, a copy elsewhere, a comparison, its end.
import { Field, Input, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { client, once, take } from "../../api/client";
import { movers, snapshots, vault as vaultQuery } from "../../api/queries";
import type { Snapshot, SnapshotFormat, Vault } from "../../api/types";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { count, instant, size } from "../../words";
import { FORMATS, titleOf, typedOf, VHD_BYTES_MAX } from "./words";

interface Props {
  snapshot: Snapshot;
  close: () => void;
}

const where = (one: Snapshot) => ({ path: { vault: one.vault, snapshot: one.id }, header: once() });
const BASE = "/v1/vaults/{vault}/snapshots/{snapshot}";

export function MakeDisk({ snapshot: one, disk, close }: Props & { disk: string }) {
  const known = useQuery(movers);
  const navigate = useNavigate();
  const [format, setFormat] = useState<SnapshotFormat>("qcow2");
  const [path, setPath] = useState("");
  const [mover, setMover] = useState("");
  const bytes = one.disks.find((each) => each.name === disk)?.bytes ?? 0;
  const act = useAct({
    does: () => take(client.POST(`${BASE}/export`, { params: where(one), body: { disk, format, path: path.trim(), mover: mover || null } })),
    changes: ["jobs"],
    quiet: true,
    then: ({ job }) => void navigate(`/jobs/${job}`),
  });
  const tooLarge = format.startsWith("vhd") && bytes > VHD_BYTES_MAX;
  const ending = format.startsWith("vhd") ? "vhd" : format;
  return (
    <Confirm open close={close} title={`A disk of ${disk}`} action="Make it" busy={act.isPending} error={act.error} disabled={!path.trim().startsWith("/") || tooLarge} act={() => act.mutate()}>
      <p>
        A file is written that holds {disk} of {one.machine_name} as of {instant(one.taken)}. Nothing is replaced; it has its
        name only when it is whole.
      </p>
      <Field
        label="As"
        hint={FORMATS.find(([value]) => value === format)?.[2]}
        validationState={tooLarge ? "error" : "none"}
        validationMessage={tooLarge ? `A VHD holds ${size(VHD_BYTES_MAX)} at most: take qcow2.` : undefined}
      >
        <Select value={format} onChange={(_, data) => setFormat(data.value as SnapshotFormat)}>
          {FORMATS.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </Select>
      </Field>
      <Field label="File on the mover's host" required hint={`From / on, where nothing is yet. It needs up to ${size(bytes)}.`}>
        <Input value={path} onChange={(_, data) => setPath(data.value)} placeholder={`/srv/images/${one.machine_name}-${disk}.${ending}`} spellCheck={false} autoCapitalize="none" />
      </Field>
      {(known.data?.length ?? 0) > 1 && (
        <Field label="Written by">
          <Select value={mover} onChange={(_, data) => setMover(data.value)}>
            <option value="">The server&apos;s own mover</option>
            {known.data?.filter((each) => each.name !== "server").map((each) => (
              <option key={each.name} value={each.name}>
                {each.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
    </Confirm>
  );
}

export function CopyTo({ snapshot: one, vaults, close }: Props & { vaults: Vault[] }) {
  const navigate = useNavigate();
  const [to, setTo] = useState(vaults[0]?.id ?? "");
  const act = useAct({
    does: () => take(client.POST(`${BASE}/copy`, { params: where(one), body: { to } })),
    changes: ["jobs"],
    quiet: true,
    then: ({ job }) => void navigate(`/jobs/${job}`),
  });
  return (
    <Confirm open close={close} title={`Copy ${titleOf(one)}`} action="Copy it" busy={act.isPending} error={act.error} disabled={!to} act={() => act.mutate()}>
      <p>
        The other vault gets a snapshot of its own, sealed with its own key: deleting either does nothing to the other. Only
        what that vault has not is stored.
      </p>
      <Field label="To the vault">
        <Select value={to} onChange={(_, data) => setTo(data.value)}>
          {vaults.map((vault) => (
            <option key={vault.id} value={vault.id}>
              {vault.name}
            </option>
          ))}
        </Select>
      </Field>
    </Confirm>
  );
}

export function Compare({ snapshot: one, close }: Props) {
  const navigate = useNavigate();
  const all = useQuery(snapshots(one.vault));
  const others = (all.data?.items ?? []).filter((other) => other.machine === one.machine && other.id !== one.id && !other.purge_at);
  const [since, setSince] = useState("");
  const [disk, setDisk] = useState(one.disks[0]?.name ?? "");
  const chosen = since || others[0]?.id;
  const act = useAct({
    does: () => take(client.POST(`${BASE}/compare`, { params: where(one), body: { since: chosen ?? "", disk } })),
    changes: ["jobs"],
    quiet: true,
    then: ({ job }) => void navigate(`/jobs/${job}`),
  });
  return (
    <Confirm open close={close} title={`What changed in ${one.machine_name}`} action="Compare" busy={act.isPending} error={act.error} disabled={!chosen || !disk} act={() => act.mutate()}>
      {others.length === 0 ? (
        <p>No other snapshot of this machine is in the vault: there is nothing to compare with.</p>
      ) : (
        <>
          <p>The maps of both are compared, no data is read. What differs is told by whole blocks of 64 KiB.</p>
          <Field label="Since">
            <Select value={chosen} onChange={(_, data) => setSince(data.value)}>
              {others.map((other) => (
                <option key={other.id} value={other.id}>
                  {other.name ? `${other.name}, ${instant(other.taken)}` : instant(other.taken)}
                </option>
              ))}
            </Select>
          </Field>
          {one.disks.length > 1 && (
            <Field label="Disk">
              <Select value={disk} onChange={(_, data) => setDisk(data.value)}>
                {one.disks.map((each) => (
                  <option key={each.name} value={each.name}>
                    {each.name}
                  </option>
                ))}
              </Select>
            </Field>
          )}
        </>
      )}
    </Confirm>
  );
}

export function Remove({ snapshot: one, close }: Props) {
  const place = useQuery(vaultQuery(one.vault));
  const days = place.data?.settings.soft_delete_days;
  const act = useAct({
    does: () => take(client.DELETE(BASE, { params: where(one) })),
    told: ({ job }) => ({ title: "The snapshot is deleted; it can be brought back for a while", to: `/jobs/${job}` }),
    changes: ["snapshot", "snapshots", "jobs"],
    quiet: true,
    then: close,
  });
  return (
    <Confirm open close={close} title={`Delete ${titleOf(one)}`} action="Delete" danger typed={typedOf(one)} busy={act.isPending} error={act.error} act={() => act.mutate()}>
      <p>
        No disk of {one.machine_name} as of {instant(one.taken)} can be made of it any more. For{" "}
        {days === undefined ? "the days of the vault's soft deletion" : count(days, "day")} it can be brought back; after that
        nobody can.
      </p>
      <p>
        Disks that were made of it, copies in other vaults and other snapshots are as good as before.
        {one.used && ` ${size(one.used.unique_bytes)} are freed then.`}
      </p>
    </Confirm>
  );
}
