// What a snapshot is called, and what can be made of it, in words.
import type { Snapshot, SnapshotFormat } from "../../api/types";
import { count, instant } from "../../words";

/** Its name; one that has none goes by its machine and instant. */
export const titleOf = (one: Snapshot): string => one.name || `${one.machine_name}, ${instant(one.taken)}`;

/** What is to be typed before it is deleted. */
export const typedOf = (one: Snapshot): string => one.name || one.machine_name;

export const disksOf = (one: Snapshot): string =>
  one.disks.length > 3 ? count(one.disks.length, "disk") : one.disks.map((disk) => disk.name).join(", ");

export const FORMATS: [SnapshotFormat, string, string][] = [
  ["qcow2", "qcow2", "QEMU's own: takes the room of what it holds"],
  ["raw", "raw", "The bytes, sparse: read by everything"],
  ["vhd", "VHD, fixed", "For Azure: its size is rounded up to whole MiB"],
  ["vhd_dynamic", "VHD, dynamic", "For Hyper-V: takes the room of what it holds"],
];

/** A VHD holds so much at most. */
export const VHD_BYTES_MAX = 2040 * 1024 ** 3;
