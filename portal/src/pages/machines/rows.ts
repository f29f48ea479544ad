// Rows of the list of machines: which are wanted, and in what order. Plain values: 10,000 of them take milliseconds.
import type { Item, Machine } from "../../api/types";
import { ITEM, STANDING, type Tone } from "../../words";

export interface Row {
  machine: Machine;
  /** What its vault knows of it, if it is in one that the reader may see. */
  item: Item | undefined;
}

export interface Wanted {
  text: string;
  standing: string;
  host: string;
  only: string;
}

export interface Order {
  by: "name" | "status" | "point" | "size";
  down: boolean;
}

const URGENCY: Record<Tone, number> = { bad: 0, warn: 1, busy: 2, quiet: 3, good: 4 };

export function status({ machine, item }: Row): [string, Tone] {
  if (item && machine.standing === "protected") return ITEM[item.state];
  return STANDING[machine.standing];
}

export const bytes = ({ machine }: Row): number => machine.disks.reduce((sum, disk) => sum + disk.bytes, 0);

export function found(rows: Row[], wanted: Wanted): Row[] {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    const { machine } = row;
    if (wanted.standing && machine.standing !== wanted.standing) return false;
    if (wanted.host && machine.host !== wanted.host) return false;
    if (wanted.only === "attention" && status(row)[1] === "good") return false;
    if (words.length === 0) return true;
    const tags = Object.entries(machine.tags ?? {}).map(([key, value]) => `${key}=${value}`);
    const text = [machine.name, ...tags].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

// One collator for all: making one for each comparison takes a hundred times as long.
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

export function sorted(rows: Row[], { by, down }: Order): Row[] {
  const keys: Record<Order["by"], (a: Row, b: Row) => number> = {
    name: () => 0,
    status: (a, b) => URGENCY[status(a)[1]] - URGENCY[status(b)[1]],
    // Without any point first: nothing of it could be brought back.
    point: (a, b) => (a.item?.last_point ?? "").localeCompare(b.item?.last_point ?? ""),
    size: (a, b) => bytes(a) - bytes(b),
  };
  const turn = down ? -1 : 1;
  const compare = keys[by];
  return [...rows].sort((a, b) => turn * (compare(a, b) || names.compare(a.machine.name, b.machine.name)));
}
