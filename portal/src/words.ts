// Numbers, sizes, instants and states in words: in the reader's language and zone where that says it better.
import type { ItemState, JobKind, JobState, MachineStanding, Redundancy, RestoreSetState, SetMemberState, StorageTier } from "./api/types";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const percents = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const instants = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const moments = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const times = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${short.format(value)} ${UNITS[unit]}`;
}

export const number = (value: number): string => whole.format(value);
export const percent = (part: number): string => percents.format(part);
export const instant = (at: string | number): string => instants.format(new Date(at));
export const exactly = (at: string | number): string => exact.format(new Date(at));
/** To the second: for what happens one after the other. */
export const moment = (at: string | number): string => moments.format(new Date(at));
export const day = (at: string | number): string => days.format(new Date(at));
export const time = (at: string | number): string => times.format(new Date(at));
export const zone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** In a currency that somebody named: one that the reader's language knows is written as it is there. */
export function money(amount: number, currency: string | null | undefined): string {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  if (currency && /^[A-Z]{3}$/.test(currency)) {
    return new Intl.NumberFormat(undefined, { style: "currency", currency, ...digits }).format(amount);
  }
  const said = new Intl.NumberFormat(undefined, digits).format(amount);
  return currency ? `${said} ${currency}` : said;
}

const monthNames = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" });
const monthShorts = new Intl.DateTimeFormat(undefined, { month: "short", timeZone: "UTC" });
/** Of `2026-11`. */
export const monthName = (month: string): string => monthNames.format(new Date(`${month}-01T00:00:00Z`));
export const monthShort = (month: string): string => monthShorts.format(new Date(`${month}-01T00:00:00Z`));

/** The newest so many months, as `2026-11`, this one first; months are UTC's, as costs are. */
export function months(many: number, now: number): string[] {
  const today = new Date(now);
  return Array.from({ length: many }, (_, back) => new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() - back, 1)).toISOString().slice(0, 7));
}

export const TIER: Record<StorageTier, string> = { snapshot: "Snapshot tier", vault: "Vault", archive: "Archive" };
/** A tier and which copy of the data. */
export const tierName = (tier: StorageTier, redundancy: Redundancy): string =>
  redundancy === "geo" ? `${TIER[tier]}, second store` : TIER[tier];

/** "3 hours ago", "in 5 minutes". */
export function ago(at: string, now: number): string {
  const seconds = (Date.parse(at) - now) / 1000;
  const far = Math.abs(seconds);
  if (far < 45) return relative.format(0, "second");
  if (far < 45 * MINUTE) return relative.format(Math.round(seconds / MINUTE), "minute");
  if (far < 22 * HOUR) return relative.format(Math.round(seconds / HOUR), "hour");
  if (far < 45 * DAY) return relative.format(Math.round(seconds / DAY), "day");
  if (far < 500 * DAY) return relative.format(Math.round(seconds / (30.4 * DAY)), "month");
  return relative.format(Math.round(seconds / (365.25 * DAY)), "year");
}

/** "2 min 5 s". */
export function lasted(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < MINUTE) return `${seconds}\u00a0s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)}\u00a0min\u00a0${seconds % MINUTE}\u00a0s`;
  return `${Math.floor(seconds / HOUR)}\u00a0h\u00a0${Math.floor((seconds % HOUR) / MINUTE)}\u00a0min`;
}

export function count(many: number, one: string, several = `${one}s`): string {
  return `${whole.format(many)} ${many === 1 ? one : several}`;
}

/** `take_snapshot` as "Take snapshot". */
export function word(code: string): string {
  const text = code.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export type Tone = "good" | "warn" | "bad" | "busy" | "quiet";

export const STANDING: Record<MachineStanding, [string, Tone]> = {
  protected: ["Protected", "good"],
  protectable: ["Not protected", "warn"],
  stopped: ["Protection stopped", "warn"],
  unprotectable: ["Cannot be protected", "bad"],
};

export const ITEM: Record<ItemState, [string, Tone]> = {
  awaits_first: ["First backup due", "busy"],
  protected: ["Protected", "good"],
  in_error: ["Last backup failed", "bad"],
  stopped: ["Protection stopped", "warn"],
  deleted: ["Deleted, can be brought back", "warn"],
  unprotected: ["Not protected", "warn"],
};

export const JOB: Record<JobState, [string, Tone]> = {
  queued: ["Queued", "quiet"],
  waiting: ["Waiting to try again", "warn"],
  in_progress: ["In progress", "busy"],
  cancelling: ["Cancelling", "busy"],
  completed: ["Completed", "good"],
  completed_with_warnings: ["Completed with warnings", "warn"],
  failed: ["Failed", "bad"],
  cancelled: ["Cancelled", "quiet"],
};

export const KIND: Record<JobKind, string> = {
  backup: "Backup",
  restore: "Restore",
  instant_restore: "Instant restore",
  replace: "Restore in place",
  delete_data: "Delete points",
  verify: "Verify",
  undelete: "Undelete",
  collect: "Free space",
  drill: "Drill",
  plan: "Plan",
  undo_replace: "Undo a restore",
  remove_kept: "Remove kept disks",
  snapshot: "Snapshot",
  export_snapshot: "Export a snapshot",
  copy_snapshot: "Copy a snapshot",
  compare_snapshots: "Compare snapshots",
  measure_snapshots: "Measure snapshots",
  capture_image: "Make an image",
  copy_image: "Copy an image",
  create_machines: "Create machines",
  create_machines_at_once: "Create machines at once",
  copy: "Copy to the second store",
  heal: "Heal from the second store",
  archive: "Move to the archive",
  rehydrate: "Bring back from the archive",
};

export const SET: Record<RestoreSetState, [string, Tone]> = {
  in_progress: ["In progress", "busy"],
  cancelling: ["Cancelling", "busy"],
  completed: ["Completed", "good"],
  completed_with_failures: ["Completed with failures", "bad"],
  cancelled: ["Cancelled", "quiet"],
};

export const MEMBER: Record<SetMemberState, [string, Tone]> = {
  waiting: ["Waits for its turn", "quiet"],
  under_way: ["Under way", "busy"],
  done: ["Done", "good"],
  failed: ["Failed", "bad"],
  cancelled: ["Cancelled", "quiet"],
};

export const isOver = (state: JobState): boolean =>
  state === "completed" || state === "completed_with_warnings" || state === "failed" || state === "cancelled";

export const CONSISTENCY: Record<string, [string, string]> = {
  application: ["Application", "Databases and other applications took part: they start as if they had been stopped cleanly."],
  file_system: ["File system", "The guest's file systems were at rest: no file is half written."],
  crash: ["Crash", "As after a power cut: file systems and databases recover as they are built to."],
};

export const WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] as const;
