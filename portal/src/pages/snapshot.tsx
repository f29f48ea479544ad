// One snapshot: what it is, what it takes up, and what can be made of it.
import { Button, Menu, MenuItem, MenuList, MenuPopover, MenuTrigger } from "@fluentui/react-components";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { snapshots, useMe, vaults } from "../api/queries";
import type { Snapshot as SnapshotSeen } from "../api/types";
import { HardDriveRegular, MoreHorizontalRegular } from "../icons";
import { useAct } from "../parts/done";
import { Facts } from "../parts/facts";
import { Loaded, Page, Section } from "../parts/page";
import { Shares } from "../parts/chart";
import { State } from "../parts/state";
import { When } from "../parts/when";
import { CONSISTENCY, exactly, instant, size } from "../words";
import { Compare, CopyTo, MakeDisk, Remove } from "./snapshot/acts";
import { titleOf } from "./snapshot/words";

export default function Snapshot() {
  const { vault = "", snapshot: id = "" } = useParams();
  const asked = useQuery({
    queryKey: ["snapshot", vault, id],
    queryFn: () => take(client.GET("/v1/vaults/{vault}/snapshots/{snapshot}", { params: { path: { vault, snapshot: id } } })),
  });
  const one = asked.data;
  return (
    <Page
      title={one ? titleOf(one) : "Snapshot"}
      above={[["Snapshots", "/snapshots"]]}
      beside={one && (one.purge_at ? <State of={["Deleted, can be brought back", "warn"]} /> : <State of={["Kept", "good"]} />)}
      actions={one && <Acts snapshot={one} />}
    >
      <Loaded query={asked} what="the snapshot">{(one) => <Known snapshot={one} />}</Loaded>
    </Page>
  );
}

function Known({ snapshot: one }: { snapshot: SnapshotSeen }) {
  const places = useQuery(vaults);
  const [named, means] = CONSISTENCY[one.consistency] ?? [one.consistency, ""];
  const name = places.data?.find((vault) => vault.id === one.vault)?.name ?? "...";
  return (
    <>
      <Facts
        of={[
          ["Machine", <Link key="machine" className="link" to={`/machines/${one.machine}`}>{one.machine_name}</Link>],
          ["Taken", exactly(one.taken)],
          ["Consistency", <span key="consistency" title={means}>{named}</span>],
          ["Vault", <Link key="vault" className="link" to={`/vaults/${one.vault}`}>{name}</Link>],
          one.purge_at ? ["Can be brought back until", instant(one.purge_at)] : ["Kept", "until somebody deletes it"],
        ]}
      />
      <div className="columns">
        <Disks snapshot={one} />
        <Used snapshot={one} />
        <Others snapshot={one} />
      </div>
    </>
  );
}

function Disks({ snapshot: one }: { snapshot: SnapshotSeen }) {
  const me = useMe();
  const [disk, setDisk] = useState<string | null>(null);
  const makes = may(me, "Restore", one.vault) && !one.purge_at;
  return (
    <Section title="Disks">
      <p className="faint">{CONSISTENCY[one.consistency]?.[1]}</p>
      <ul className="rows">
        {one.disks.map((each) => (
          <li key={each.name}>
            <span className="row-name strong">{each.name}</span>
            <span className="faint">{size(each.bytes)}</span>
            {makes && (
              <span className="row-end">
                <Button size="small" icon={<HardDriveRegular />} onClick={() => setDisk(each.name)}>
                  Make a disk
                </Button>
              </span>
            )}
          </li>
        ))}
      </ul>
      {disk !== null && <MakeDisk snapshot={one} disk={disk} close={() => setDisk(null)} />}
    </Section>
  );
}

function Used({ snapshot: one }: { snapshot: SnapshotSeen }) {
  const me = useMe();
  const measure = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/snapshots/measure", { params: { path: { vault: one.vault }, header: once() } })),
    told: ({ job }) => ({ title: "The vault's snapshots are measured", to: `/jobs/${job}` }),
    changes: ["jobs"],
  });
  const { used } = one;
  return (
    <Section
      title="What it takes up"
      actions={
        may(me, "Verify", one.vault) && (
          <Button size="small" disabled={measure.isPending} onClick={() => measure.mutate()}>
            Measure now
          </Button>
        )
      }
    >
      {used ? (
        <>
          <Shares
            label="What the snapshot takes up"
            parts={[
              { name: "It alone", value: used.unique_bytes, said: size(used.unique_bytes) },
              { name: "Shared with others", value: used.shared_bytes, said: size(used.shared_bytes) },
            ]}
          />
          <p className="faint">
            Deleting it gives {size(used.unique_bytes)} back, once nobody can bring it back any more. Its disks have{" "}
            {size(one.provisioned_bytes)}; making it added {size(one.stored_bytes)}. Measured <When at={used.measured} />.
          </p>
        </>
      ) : (
        <p className="faint">
          Its disks have {size(one.provisioned_bytes)}; making it added {size(one.stored_bytes)} to the vault. What it shares
          with others is measured once a day.
        </p>
      )}
    </Section>
  );
}

/** Of the same instant, and copies of it or what it is a copy of. */
function Others({ snapshot: one }: { snapshot: SnapshotSeen }) {
  const places = useQuery(vaults);
  const here = useQuery(snapshots(one.vault));
  const set = (here.data?.items ?? []).filter((other) => one.set && other.set === one.set && other.id !== one.id);
  const machine = (here.data?.items ?? []).filter((other) => other.machine === one.machine && other.id !== one.id && !other.purge_at);
  if (set.length === 0 && machine.length === 0 && !one.copy_of) return null;
  return (
    <Section title="Others">
      <ul className="rows">
        {one.copy_of && (
          <li>
            <span className="row-name">A copy of a snapshot in another vault</span>
            <Origin of={one.copy_of} vaults={(places.data ?? []).filter((vault) => vault.id !== one.vault).map((vault) => vault.id)} />
          </li>
        )}
        {set.map((other) => (
          <li key={other.id}>
            <Link className="link row-name" to={`/vaults/${other.vault}/snapshots/${other.id}`}>{titleOf(other)}</Link>
            <span className="faint row-end">of {other.machine_name}, at the same instant</span>
          </li>
        ))}
        {machine.slice(0, 6).map((other) => (
          <li key={other.id}>
            <Link className="link row-name" to={`/vaults/${other.vault}/snapshots/${other.id}`}>{titleOf(other)}</Link>
            <span className="faint row-end">
              of the same machine, <When at={other.taken} />
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Origin({ of: id, vaults: places }: { of: string; vaults: string[] }) {
  const found = useQueries({
    queries: places.map((place) => snapshots(place)),
    combine: (all) => all.flatMap((one) => one.data?.items ?? []).find((one) => one.id === id),
  });
  return found ? <Link className="link row-end" to={`/vaults/${found.vault}/snapshots/${found.id}`}>{titleOf(found)}</Link> : <code className="row-end">{id}</code>;
}

function Acts({ snapshot: one }: { snapshot: SnapshotSeen }) {
  const me = useMe();
  const places = useQuery(vaults);
  const [open, setOpen] = useState<"copy" | "compare" | "delete" | null>(null);
  const undelete = useAct({
    does: () =>
      take(client.POST("/v1/vaults/{vault}/snapshots/{snapshot}/undelete", { params: { path: { vault: one.vault, snapshot: one.id }, header: once() } })),
    told: ({ job }) => ({ title: "The snapshot comes back", to: `/jobs/${job}` }),
    changes: ["snapshot", "snapshots", "jobs"],
  });
  const can = (action: Parameters<typeof may>[1]) => may(me, action, one.vault);
  if (one.purge_at) {
    return (
      can("Undelete") && (
        <Button appearance="primary" disabled={undelete.isPending} onClick={() => undelete.mutate()}>
          Bring it back
        </Button>
      )
    );
  }
  const others = (places.data ?? []).filter((vault) => vault.id !== one.vault && may(me, "BackUp", vault.id));
  const close = () => setOpen(null);
  const more: [string, typeof open][] = [];
  if (can("Restore") && others.length > 0) more.push(["Copy to another vault", "copy"]);
  if (can("Verify")) more.push(["What changed since another one", "compare"]);
  if (can("DeleteData")) more.push(["Delete", "delete"]);
  return (
    <>
      {more.length > 0 && (
        <Menu>
          <MenuTrigger disableButtonEnhancement>
            <Button icon={<MoreHorizontalRegular />} aria-label="More acts on the snapshot" />
          </MenuTrigger>
          <MenuPopover>
            <MenuList>
              {more.map(([name, what]) => (
                <MenuItem key={name} onClick={() => setOpen(what)}>
                  {name}
                </MenuItem>
              ))}
            </MenuList>
          </MenuPopover>
        </Menu>
      )}
      {open === "copy" && <CopyTo snapshot={one} vaults={others} close={close} />}
      {open === "compare" && <Compare snapshot={one} close={close} />}
      {open === "delete" && <Remove snapshot={one} close={close} />}
    </>
  );
}
