// All machines: searched, filtered, and dealt with many at a time. Only the rows that are seen are drawn.
import { Button, Select, SearchBox } from "@fluentui/react-components";
import { ArrowClockwiseRegular, ArrowUndoRegular, ShieldAddRegular, PlayCircleRegular } from "../icons";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useCallback, useDeferredValue, useMemo, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { hosts, items, machines, MACHINES_MOST, refresh, useMe, vaults } from "../api/queries";
import type { Item, Machine } from "../api/types";
import { useTell } from "../parts/done";
import { Empty } from "../parts/empty";
import { Page } from "../parts/page";
import { Trouble } from "../parts/trouble";
import { count, number } from "../words";
import { MachineTable } from "./machines/table";
import { found, type Order, type Row, sorted, type Wanted } from "./machines/rows";

/** At once: the server answers each at once, the work waits for its movers. */
const AT_ONCE = 4;

export default function Machines() {
  const all = useQuery(machines);
  const places = useQuery(vaults);
  const known = useQuery(hosts);
  const held = useQueries({
    queries: (places.data ?? []).map((vault) => items(vault.id)),
    combine: (asked) => asked.flatMap((one) => one.data ?? []),
  });
  const [search, setSearch] = useSearchParams();
  const [order, setOrder] = useState<Order>({ by: "name", down: false });
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const wanted: Wanted = {
    text: search.get("search") ?? "",
    standing: search.get("standing") ?? "",
    host: search.get("host") ?? "",
    only: search.get("only") ?? "",
  };
  const text = useDeferredValue(wanted.text);
  const rows = useMemo(() => join(all.data?.items ?? [], held), [all.data, held]);
  const shown = useMemo(
    () => sorted(found(rows, { ...wanted, text }), order),
    // `wanted` is made anew each time; these are what is in it.
    [rows, text, wanted.standing, wanted.host, wanted.only, order],
  );
  const set = useCallback(
    (name: string, value: string) =>
      setSearch((before) => {
        const next = new URLSearchParams(before);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      }, { replace: true }),
    [setSearch],
  );
  const picked = rows.filter((row) => chosen.has(row.machine.id));
  return (
    <Page title="Machines" actions={<Bulk picked={picked} clear={() => setChosen(new Set())} />}>
      <div className="filters">
        <SearchBox
          placeholder="Search by name or tag"
          aria-label="Search machines"
          value={wanted.text}
          onChange={(_, data) => set("search", data.value)}
          className="search"
        />
        <Select aria-label="Protection" value={wanted.standing} onChange={(_, data) => set("standing", data.value)}>
          <option value="">Any protection</option>
          <option value="protected">Protected</option>
          <option value="protectable">Not protected</option>
          <option value="stopped">Protection stopped</option>
          <option value="unprotectable">Cannot be protected</option>
        </Select>
        <Select aria-label="Host" value={wanted.host} onChange={(_, data) => set("host", data.value)}>
          <option value="">All hosts</option>
          {known.data?.map((host) => (
            <option key={host.id} value={host.id}>
              {host.name}
            </option>
          ))}
        </Select>
        <Select aria-label="Attention" value={wanted.only} onChange={(_, data) => set("only", data.value)}>
          <option value="">Well or not</option>
          <option value="attention">Only what needs attention</option>
        </Select>
        <span className="faint grow" role="status">
          {all.data && `${number(shown.length)} of ${count(rows.length, "machine")}${all.data.more ? " so far" : ""}`}
        </span>
        <Button icon={<ArrowClockwiseRegular />} appearance="subtle" aria-label="Ask again" onClick={() => refresh("machines", "items")} />
      </div>
      {all.error && <Trouble error={all.error} again={() => void all.refetch()} />}
      {all.data?.more && !all.isFetching && (
        <p className="faint">Only the first {number(MACHINES_MOST)} are shown: the command line lists all of them.</p>
      )}
      {all.data && rows.length === 0 ? (
        <NoMachines hasHosts={(known.data?.length ?? 0) > 0} />
      ) : (
        <MachineTable
          rows={shown}
          loading={!all.data}
          hosts={new Map((known.data ?? []).map((host) => [host.id, host.name]))}
          order={order}
          setOrder={setOrder}
          chosen={chosen}
          setChosen={setChosen}
        />
      )}
    </Page>
  );
}

/** Machines with what their vaults know, then what vaults still hold of machines that are gone. */
function join(all: Machine[], held: Item[]): Row[] {
  const byMachine = new Map(held.map((item) => [item.machine, item]));
  return all.map((machine) => ({ machine, item: byMachine.get(machine.id) }));
}

function NoMachines({ hasHosts }: { hasHosts: boolean }) {
  const me = useMe();
  const navigate = useNavigate();
  const action = may(me, "RegisterHost", null) && (
    <Button appearance="primary" onClick={() => void navigate(hasHosts ? "/hosts" : "/hosts?add")}>
      {hasHosts ? "See the hosts" : "Add a host"}
    </Button>
  );
  return hasHosts ? (
    <Empty title="No machine was found yet" action={action}>
      Machines of QEMU and libvirt are found by themselves, within a minute after their host was added. A machine of
      QEMU needs a QMP socket that nobody else holds.
    </Empty>
  ) : (
    <Empty title="No host is known" action={action}>
      A host runs machines. Add this server&apos;s own, or join another with <code>strongroom mover join</code>: its
      machines are then found by themselves.
    </Empty>
  );
}

function Bulk({ picked, clear }: { picked: Row[]; clear: () => void }) {
  const me = useMe();
  const navigate = useNavigate();
  const tell = useTell();
  const [busy, setBusy] = useState(false);
  const free = picked.filter((row) => row.machine.standing === "protectable");
  const held = picked.filter((row) => row.item && row.machine.standing === "protected" && may(me, "BackUp", row.item.vault));
  const restorable = picked.flatMap(({ item }) => (item?.last_point && item.state !== "deleted" && may(me, "Restore", item.vault) ? [item] : []));
  const backUp = async () => {
    setBusy(true);
    const failed = await backUpAll(held.flatMap((row) => row.item ?? []));
    setBusy(false);
    const began = held.length - failed.length;
    if (failed.length > 0) {
      tell({ title: `${count(failed.length, "backup")} did not begin`, body: failed.slice(0, 3).join("; "), intent: "error" });
    }
    if (began > 0) tell({ title: `${count(began, "backup")} asked for`, to: "/jobs" });
    clear();
  };
  return (
    <>
      {picked.length > 0 && (
        <Button appearance="subtle" onClick={clear}>
          {count(picked.length, "machine")} chosen: clear
        </Button>
      )}
      {held.length > 0 && (
        <Button icon={<PlayCircleRegular />} disabled={busy} onClick={() => void backUp()}>
          {busy ? "Asking..." : `Back up ${number(held.length)} now`}
        </Button>
      )}
      {restorable.length > 1 && (
        <Button
          icon={<ArrowUndoRegular />}
          onClick={() => void navigate("/restore-many", { state: { items: restorable.map((item) => ({ vault: item.vault, id: item.id })) } })}
        >
          Restore {number(restorable.length)}
        </Button>
      )}
      {may(me, "Protect", "any") && (
        <Button
          icon={<ShieldAddRegular />}
          appearance="primary"
          disabled={picked.length > 0 && free.length === 0}
          onClick={() => void navigate("/protect", { state: { machines: free.map((row) => row.machine.id) } })}
        >
          {free.length > 0 ? `Protect ${number(free.length)}` : "Protect machines"}
        </Button>
      )}
    </>
  );
}

/** Gives why those that did not begin did not. */
async function backUpAll(all: Item[]): Promise<string[]> {
  const waiting = [...all];
  const failed: string[] = [];
  const one = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) {
      const path = { vault: item.vault, item: item.id };
      const asked = client.POST("/v1/vaults/{vault}/items/{item}/backup", { params: { path, header: once() }, body: {} });
      await take(asked).catch((error: Error) => failed.push(`${item?.name}: ${error.message}`));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return failed;
}
