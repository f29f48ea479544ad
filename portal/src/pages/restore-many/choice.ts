// What somebody chose in a restore of many, and what is asked of the server for it.
import type { components } from "../../api/schema";
import type { Item } from "../../api/types";
import { count, instant } from "../../words";

export interface ManyChoice {
  /** Machines by their item, and when each has its turn. */
  turns: ReadonlyMap<string, number>;
  /** As the browser writes it, in the reader's zone; empty: the newest points. */
  before: string;
  /** Out of the vault's second store. */
  fromCopy: boolean;
  what: "machines" | "disks";
  prefix: string;
  suffix: string;
  network: "isolated" | "disconnected" | "keep";
  start: boolean;
  format: "qcow2" | "raw";
  folder: string;
  mover: string;
  atOnce: string;
  stopOnFailure: boolean;
}

export function first(items: string[]): ManyChoice {
  return {
    turns: new Map(items.map((id) => [id, 1])),
    before: "",
    fromCopy: false,
    what: "machines",
    prefix: "",
    suffix: "-restored",
    network: "isolated",
    start: true,
    format: "qcow2",
    folder: "",
    mover: "",
    atOnce: "4",
    stopOnFailure: false,
  };
}

export function faultOf(choice: ManyChoice, step: "what" | "where"): string | undefined {
  if (step === "what") {
    const named = choice.prefix.trim() || choice.suffix.trim();
    return choice.what === "machines" && !named ? "Say what comes before or behind their names: the old ones have theirs." : undefined;
  }
  if (!choice.folder.startsWith("/")) return "Name a folder on the movers' hosts, from / on.";
  if (!(/^\d{1,4}$/.test(choice.atOnce) && Number(choice.atOnce) >= 1 && Number(choice.atOnce) <= 1000)) return "Say how many at once: 1 to 1000.";
  return undefined;
}

export function requestOf(choice: ManyChoice): components["schemas"]["NewRestoreSet"] {
  const machines = choice.what === "machines";
  return {
    machines: [...choice.turns].map(([item, turn]) => ({ item, group: turn })),
    folder: choice.folder,
    before: choice.before ? new Date(choice.before).toISOString() : null,
    from_copy: choice.fromCopy,
    format: machines ? undefined : choice.format,
    as_machines: machines ? { prefix: choice.prefix, suffix: choice.suffix, network: { to: choice.network }, start: choice.start } : null,
    limits: { at_once: Number(choice.atOnce) },
    mover: choice.mover || null,
    stop_on_failure: choice.stopOnFailure,
  };
}

const NETWORK: Record<ManyChoice["network"], string> = {
  isolated: "on a network that leads nowhere",
  disconnected: "connected to no network",
  keep: "on the networks of the old ones",
};

export function sentences(choice: ManyChoice, picked: Item[]): string[] {
  const many = count(picked.length, "machine");
  const names = picked.slice(0, 5).map((item) => item.name).join(", ") + (picked.length > 5 ? ` and ${count(picked.length - 5, "more", "more")}` : "");
  const points = choice.before ? `the newest point up to ${instant(choice.before)}` : "the newest point";
  const turns = [...new Set(choice.turns.values())].sort((a, b) => a - b);
  const one = picked[0]?.name ?? "shop";
  return [
    choice.what === "machines"
      ? `${many === "1 machine" ? "A new machine is" : "New machines are"} made of ${names}, each of ${points}: ${one} becomes ${choice.prefix}${one}${choice.suffix}.`
      : `The disks of ${names} are written as ${choice.format}, each machine's of ${points}.`,
    ...(choice.fromCopy ? ["They are read out of the second store: the vault itself is not needed for it."] : []),
    `Each gets a folder of its name in ${choice.folder}.`,
    ...(choice.what === "machines"
      ? [`Their network cards are ${NETWORK[choice.network]}. ${choice.start ? "Each is started once its disks are there." : "None is started."}`, "Each has a uuid and addresses of its own."]
      : []),
    turns.length > 1 ? `They go in ${turns.length} turns, ${choice.atOnce} at once at most.` : `${choice.atOnce} go at once at most.`,
    choice.stopOnFailure ? "Once one has failed nothing more begins; what is under way goes on." : "One that fails stops no other.",
    "The old machines are not touched, and go on as they are.",
  ];
}
