// What somebody chose in a restore, and what is asked of the server for it.
import type { CopiedPoint, Item, Machine, NewMachine, Point, Replace } from "../../api/types";
import type { components } from "../../api/schema";

export type What = "machine" | "instant" | "replace" | "disks" | "files";
export type Network = "disconnected" | "isolated" | "keep";

export interface Choice {
  what: What;
  /** Out of the vault's second store. */
  fromCopy: boolean;
  /** Names of disks; empty: all. */
  disks: string[];
  folder: string;
  name: string;
  network: Network;
  start: boolean;
  keepIdentity: boolean;
  format: "qcow2" | "raw";
  stop: "shut_down" | "power_off";
  safety: boolean;
  typed: string;
}

export function first(item: Item, fromCopy: boolean): Choice {
  return {
    what: "machine",
    fromCopy,
    disks: [],
    folder: "",
    name: `${item.name}-restored`,
    network: "isolated",
    start: true,
    keepIdentity: false,
    format: "qcow2",
    stop: "shut_down",
    safety: true,
    typed: "",
  };
}

/** Why it cannot go on; none if it can. What the server would refuse as well is said here before. */
export function faultOf(choice: Choice, point: Point, machine: Machine | undefined): string | undefined {
  if (choice.what === "replace") return machine ? undefined : "The machine is gone: restore it as a new one.";
  if (choice.what === "files") return undefined;
  if (!choice.folder.startsWith("/")) return "Name a folder on the mover's host, from / on.";
  if (choice.what !== "disks" && !choice.name.trim()) return "Name the new machine.";
  if (choice.what === "disks" && choice.disks.length > 0 && !choice.disks.every((name) => point.disks.some((disk) => disk.name === name))) {
    return "Choose disks that the point has.";
  }
  return undefined;
}

type Asked =
  | { kind: "replace"; body: Replace }
  | { kind: "restore"; body: components["schemas"]["Restore"] };

/** A copy as a point is shown: what is known of it there. */
export function pointOf(copy: CopiedPoint, vault: string): Point {
  return {
    id: copy.point,
    item: copy.item,
    vault,
    taken: copy.taken,
    consistency: copy.consistency,
    disks: copy.disks,
    evidence: null,
    in_snapshot_tier: false,
    in_vault_tier: true,
    kept_for: [],
    origin: "scheduled",
    pinned: false,
    stored_bytes: copy.stored_bytes,
  };
}

export function requestOf(choice: Choice): Asked {
  if (choice.what === "replace") {
    return { kind: "replace", body: { stop: choice.stop, no_safety_point: !choice.safety, from_copy: choice.fromCopy, plan: false } };
  }
  const machine: NewMachine | null =
    choice.what === "disks"
      ? null
      : {
          name: choice.name.trim(),
          network: { to: choice.network },
          start: choice.start || choice.what === "instant",
          at_once: choice.what === "instant",
          keep_uuid: choice.keepIdentity,
          keep_macs: choice.keepIdentity,
        };
  const format = choice.what === "disks" ? choice.format : undefined;
  return { kind: "restore", body: { folder: choice.folder, disks: choice.what === "disks" ? choice.disks : [], format, machine, from_copy: choice.fromCopy } };
}
