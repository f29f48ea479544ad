// Disks that are to be kept as they are now: of one machine, or of several at one instant.
import { Button, Checkbox, Field, Input, Radio, RadioGroup, SearchBox, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useLocation, useNavigate } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { machines, useMe, vaults } from "../api/queries";
import type { Machine, Vault } from "../api/types";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { Trouble } from "../parts/trouble";
import { CONSISTENCY, count, number, size } from "../words";

/** Listed at once: more are found by the search. */
const LISTED = 200;

export default function NewSnapshot() {
  const me = useMe();
  const places = useQuery(vaults);
  const all = useQuery(machines);
  const mine = (places.data ?? []).filter((vault) => may(me, "BackUp", vault.id));
  return (
    <Page title="Take a snapshot" above={[["Snapshots", "/snapshots"]]}>
      <Loaded query={places} what="vaults">
        {() =>
          mine.length === 0 ? (
            <Empty title="There is no vault that you may take snapshots in" action={<Link className="link" to="/vaults">See the vaults</Link>}>
              A snapshot is kept in a vault. Whoever may back machines up in one may take snapshots there.
            </Empty>
          ) : (
            <Loaded query={all} what="machines">{(known) => <Form vaults={mine} machines={known.items} />}</Loaded>
          )
        }
      </Loaded>
    </Page>
  );
}

/** Names of disks that are taken, by machine; empty: all of them. */
type Chosen = ReadonlyMap<string, string[]>;

function Form({ vaults: mine, machines: all }: { vaults: Vault[]; machines: Machine[] }) {
  const navigate = useNavigate();
  const location = useLocation();
  const given = (location.state as { machines?: string[] } | null)?.machines ?? [];
  const [chosen, setChosen] = useState<Chosen>(() => new Map(given.map((id) => [id, []])));
  const [vault, setVault] = useState(mine[0]?.id ?? "");
  const [name, setName] = useState("");
  const [consistency, setConsistency] = useState<keyof typeof CONSISTENCY>("application");
  // What somebody came with stands first; nothing moves while they choose.
  const ordered = [...all.filter((machine) => given.includes(machine.id)), ...all.filter((machine) => !given.includes(machine.id))];
  const picked = all.filter((machine) => chosen.has(machine.id));
  const act = useAct({
    does: () => {
      const disks = picked.flatMap((machine) => {
        const names = chosen.get(machine.id) ?? [];
        return names.length === 0 ? [{ machine: machine.id }] : names.map((disk) => ({ machine: machine.id, disk }));
      });
      const body = { disks, name: name.trim() || null, consistency: consistency as "application" | "file_system" | "crash" };
      return take(client.POST("/v1/vaults/{vault}/snapshots", { params: { path: { vault }, header: once() }, body }));
    },
    changes: ["jobs", "snapshots"],
    quiet: true,
    then: ({ job }) => void navigate(`/jobs/${job}`),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate();
  };
  const bytes = picked.reduce((sum, machine) => sum + bytesOf(machine, chosen.get(machine.id) ?? []), 0);
  return (
    <form className="section stack form" onSubmit={submit}>
      <Machines all={ordered} chosen={chosen} setChosen={setChosen} />
      {picked.length > 1 && (
        <p>
          All of them stand still at one instant, and share a <em>set</em>: each becomes a snapshot of its own. If one cannot
          stand still, there is none of any. They must be machines that one mover reaches.
        </p>
      )}
      {mine.length > 1 && (
        <Field label="Into the vault">
          <Select value={vault} onChange={(_, data) => setVault(data.value)}>
            {mine.map((one) => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
      <Field label="Name" hint="What it is for, as before-upgrade. It may be left empty.">
        <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={64} spellCheck={false} />
      </Field>
      <Field label="At the instant, ask the guest for" hint="If it cannot do so much, the snapshot is made all the same, and says why it is less.">
        <RadioGroup value={consistency} onChange={(_, data) => setConsistency(data.value)}>
          <Radio value="application" label="Applications at rest, as far as they take part" />
          <Radio value="file_system" label="File systems at rest" />
          <Radio value="crash" label="Nothing: as after a power cut" />
        </RadioGroup>
      </Field>
      {act.error && <Trouble error={act.error} />}
      <div className="actions">
        <Button type="submit" appearance="primary" disabled={picked.length === 0 || act.isPending}>
          {act.isPending ? "Asking..." : "Take it"}
        </Button>
        <span className="faint" role="status">
          {picked.length === 0
            ? "Choose at least one machine."
            : `Disks of ${size(bytes)}. They run on; what the vault has already is not stored again.`}
        </span>
      </div>
    </form>
  );
}

const bytesOf = (machine: Machine, names: string[]): number =>
  machine.disks.filter((disk) => names.length === 0 || names.includes(disk.name)).reduce((sum, disk) => sum + disk.bytes, 0);

interface MachinesProps {
  all: Machine[];
  chosen: Chosen;
  setChosen: (chosen: Chosen) => void;
}

function Machines({ all, chosen, setChosen }: MachinesProps) {
  const [text, setText] = useState("");
  const free = all.filter((machine) => machine.standing !== "unprotectable");
  const found = free.filter((machine) => machine.name.toLowerCase().includes(text.toLowerCase()));
  const shown = found.slice(0, LISTED);
  const toggle = (id: string) => {
    const next = new Map(chosen);
    if (!next.delete(id)) next.set(id, []);
    setChosen(next);
  };
  const toggleDisk = (machine: Machine, name: string) => {
    const every = machine.disks.map((disk) => disk.name);
    const now = chosen.get(machine.id) ?? [];
    const taken = now.length === 0 ? every : now;
    const left = taken.includes(name) ? taken.filter((one) => one !== name) : [...taken, name];
    const next = new Map(chosen);
    if (left.length === 0) next.delete(machine.id);
    else next.set(machine.id, left.length === every.length ? [] : left);
    setChosen(next);
  };
  if (free.length === 0) {
    return (
      <Empty title="No machine can be taken" action={<Link className="link" to="/hosts">See the hosts</Link>}>
        Machines are found by themselves once their host is added.
      </Empty>
    );
  }
  return (
    <>
      <h2>Of which machines?</h2>
      <div className="filters">
        <SearchBox className="search" placeholder="Search by name" aria-label="Search machines" value={text} onChange={(_, data) => setText(data.value)} />
        <span className="faint" role="status">{count(chosen.size, "machine")} chosen</span>
      </div>
      <ul className="choices" aria-label="Machines">
        {shown.map((machine) => {
          const names = chosen.get(machine.id);
          return (
            <li key={machine.id} className={names && machine.disks.length > 1 ? "choice-open" : undefined}>
              <Checkbox label={machine.name} checked={names !== undefined} onChange={() => toggle(machine.id)} />
              <span className="faint">{size(bytesOf(machine, names ?? []))}</span>
              {names && machine.disks.length > 1 && (
                <fieldset className="disks choice-disks" aria-label={`Disks of ${machine.name}`}>
                  {machine.disks.map((disk) => (
                    <Checkbox
                      key={disk.name}
                      label={`${disk.name} (${size(disk.bytes)})`}
                      checked={names.length === 0 || names.includes(disk.name)}
                      onChange={() => toggleDisk(machine, disk.name)}
                    />
                  ))}
                </fieldset>
              )}
            </li>
          );
        })}
      </ul>
      {found.length > LISTED && <p className="faint">{number(found.length - LISTED)} more: the search finds them.</p>}
    </>
  );
}
