// Snapshots of disks, of all vaults: kept until somebody deletes them, whatever any policy says.
import { Button, Checkbox, SearchBox, Select } from "@fluentui/react-components";
import { CameraAddRegular } from "../icons";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { may } from "../access";
import { snapshots, SNAPSHOTS_MOST, useMe, vaults } from "../api/queries";
import type { Snapshot, Vault } from "../api/types";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { State } from "../parts/state";
import { Trouble } from "../parts/trouble";
import { When } from "../parts/when";
import { CONSISTENCY, count, day, number, size } from "../words";
import { disksOf, titleOf } from "./snapshot/words";

/** More are found by the search. */
const SHOWN = 500;

export default function Snapshots() {
  const me = useMe();
  const navigate = useNavigate();
  const places = useQuery(vaults);
  const make = may(me, "BackUp", "any") && (
    <Button appearance="primary" icon={<CameraAddRegular />} onClick={() => void navigate("/snapshots/new")}>
      Take a snapshot
    </Button>
  );
  return (
    <Page
      title="Snapshots"
      about="Disks as they were at one instant, kept until somebody deletes them: before an upgrade, or to make disks of. They need no policy."
      actions={make}
    >
      <Loaded query={places} what="vaults">
        {(list) => <All vaults={list} make={make} />}
      </Loaded>
    </Page>
  );
}

function All({ vaults: places, make }: { vaults: Vault[]; make: React.ReactNode }) {
  const [search, setSearch] = useSearchParams();
  const asked = useQueries({
    queries: places.map((vault) => snapshots(vault.id)),
    combine: (all) => ({
      items: all.flatMap((one) => one.data?.items ?? []),
      more: all.some((one) => one.data?.more),
      loading: all.some((one) => one.isPending),
      error: all.find((one) => one.error)?.error ?? null,
    }),
  });
  const text = search.get("search") ?? "";
  const place = search.get("vault") ?? "";
  const deleted = search.has("deleted");
  const set = (name: string, value: string) =>
    setSearch((before) => {
      const next = new URLSearchParams(before);
      if (value) next.set(name, value);
      else next.delete(name);
      return next;
    }, { replace: true });
  const shown = useMemo(() => found(asked.items, text, place, deleted), [asked.items, text, place, deleted]);
  const gone = asked.items.filter((one) => one.purge_at).length;
  if (!asked.loading && !asked.error && asked.items.length === 0) {
    return (
      <Empty title="No snapshot yet" action={make}>
        A snapshot is a read-only copy of a machine&apos;s disks, taken while it runs. The first one of a disk stores all
        that it holds, each further one what changed. New disks are made of it, here or for others, also when the machine is
        long gone.
      </Empty>
    );
  }
  return (
    <>
      <div className="filters">
        <SearchBox className="search" placeholder="Search by name or machine" aria-label="Search snapshots" value={text} onChange={(_, data) => set("search", data.value)} />
        {places.length > 1 && (
          <Select aria-label="Vault" value={place} onChange={(_, data) => set("vault", data.value)}>
            <option value="">All vaults</option>
            {places.map((vault) => (
              <option key={vault.id} value={vault.id}>
                {vault.name}
              </option>
            ))}
          </Select>
        )}
        {gone > 0 && (
          <Checkbox label={`With ${count(gone, "deleted one")}`} checked={deleted} onChange={(_, data) => set("deleted", data.checked === true ? "1" : "")} />
        )}
        <span className="faint grow" role="status">
          {asked.loading ? "Loading snapshots" : count(shown.length, "snapshot")}
        </span>
      </div>
      {asked.error && <Trouble error={asked.error} />}
      {asked.more && <p className="faint">Of a vault the newest {number(SNAPSHOTS_MOST)} are shown: the command line lists all of them.</p>}
      {shown.length === 0 && !asked.loading ? (
        <Empty title="No snapshot fits">Take a filter away to see more.</Empty>
      ) : (
        <Table shown={shown.slice(0, SHOWN)} vaults={places} />
      )}
      {shown.length > SHOWN && <p className="faint">{number(shown.length - SHOWN)} more: the search finds them.</p>}
    </>
  );
}

function found(all: Snapshot[], text: string, vault: string, deleted: boolean): Snapshot[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (one: Snapshot) => {
    const about = `${one.name} ${one.machine_name}`.toLowerCase();
    return (deleted || !one.purge_at) && (!vault || one.vault === vault) && words.every((word) => about.includes(word));
  };
  return all.filter(fits).sort((a, b) => b.taken.localeCompare(a.taken) || a.id.localeCompare(b.id));
}

function Table({ shown, vaults: places }: { shown: Snapshot[]; vaults: Vault[] }) {
  const names = new Map(places.map((vault) => [vault.id, vault.name]));
  const many = places.length > 1;
  return (
    <div className="table-scroll" tabIndex={0} role="region" aria-label="Snapshots">
      <table className="table">
        <thead>
          <tr>
            <th>Name</th>
            <th>Machine</th>
            <th className="wide">Disks</th>
            <th>Taken</th>
            <th className="wide">Consistency</th>
            {many && <th className="wide">Vault</th>}
            <th className="wide end">Size of disks</th>
            <th className="end">Used</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((one) => (
            <tr key={one.id}>
              <td>
                <Link className="link strong" to={`/vaults/${one.vault}/snapshots/${one.id}`}>
                  {titleOf(one)}
                </Link>
                {one.purge_at && (
                  <div>
                    <State of={[`Deleted, gone for good ${day(one.purge_at)}`, "warn"]} />
                  </div>
                )}
              </td>
              <td>{one.machine_name}</td>
              <td className="wide">{disksOf(one)}</td>
              <td className="nowrap">
                <When at={one.taken} />
              </td>
              <td className="wide">{CONSISTENCY[one.consistency]?.[0] ?? one.consistency}</td>
              {many && <td className="wide">{names.get(one.vault) ?? ""}</td>}
              <td className="wide end nowrap">{size(one.provisioned_bytes)}</td>
              <td className="end nowrap">{one.used ? size(one.used.unique_bytes + one.used.shared_bytes) : <span className="faint">not measured</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
