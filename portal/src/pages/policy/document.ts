// A policy's document as people change it: what a form does not show stays as it was.
import type { PolicyDocument, Weekday } from "../../api/types";
import { count, WEEKDAYS, word } from "../../words";

export type Frequency = PolicyDocument["schedule"]["frequency"];
type Rules = PolicyDocument["vault"];

/** Points beside the hosts, by the kind of schedule: a few days go back fast. */
const SNAPSHOT_DAYS: Record<Frequency, number> = { daily: 2, weekly: 5, hourly: 7 };

export function first(): PolicyDocument {
  return {
    type: "standard",
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC",
    schedule: { frequency: "daily", time: "23:00" },
    snapshot_days: SNAPSHOT_DAYS.daily,
    vault: { transfer: "last_of_day", daily: { keep_days: 30 }, weekly: { weekdays: ["sunday"], keep_weeks: 12 } },
    consistency: "application",
    disks: { select: "all" },
  };
}

/** Another frequency, with the rules that it asks for. */
export function withFrequency(document: PolicyDocument, frequency: Frequency): PolicyDocument {
  const { schedule, vault } = document;
  const time = "time" in schedule ? schedule.time : "23:00";
  const snapshot_days = SNAPSHOT_DAYS[frequency];
  if (frequency === "weekly") {
    const weekdays: Weekday[] = "weekdays" in schedule ? schedule.weekdays : ["sunday"];
    const weekly = { weekdays, keep_weeks: vault.weekly?.keep_weeks ?? 12 };
    return { ...document, type: "standard", snapshot_days, schedule: { frequency, time, weekdays }, vault: { ...vault, daily: null, weekly } };
  }
  const rules: Rules = { ...vault, daily: vault.daily ?? { keep_days: 30 } };
  if (frequency === "daily") return { ...document, type: "standard", snapshot_days, schedule: { frequency, time }, vault: rules };
  const hourly = { frequency, every_hours: 4, window_start: "08:00", window_hours: 12 } as const;
  return { ...document, type: "enhanced", snapshot_days, schedule: hourly, vault: rules };
}

/** Other days of a weekly schedule: its points are kept as those of these days. */
export function withWeekdays(document: PolicyDocument, weekdays: Weekday[]): PolicyDocument {
  if (document.schedule.frequency !== "weekly") return document;
  const sorted = WEEKDAYS.filter((day) => weekdays.includes(day));
  const weekly = { weekdays: sorted, keep_weeks: document.vault.weekly?.keep_weeks ?? 12 };
  return { ...document, schedule: { ...document.schedule, weekdays: sorted }, vault: { ...document.vault, weekly } };
}

/** Weeks, months and years are rules of their own; 0 takes one away. */
export function withWeeks(document: PolicyDocument, weeks: number): PolicyDocument {
  const weekdays = document.vault.weekly?.weekdays ?? (document.schedule.frequency === "weekly" ? document.schedule.weekdays : ["sunday"]);
  return { ...document, vault: { ...document.vault, weekly: weeks > 0 ? { weekdays, keep_weeks: weeks } : null } };
}

export function withMonths(document: PolicyDocument, months: number): PolicyDocument {
  const on = document.vault.monthly?.on ?? firstOf(document);
  return { ...document, vault: { ...document.vault, monthly: months > 0 ? { on, keep_months: months } : null } };
}

export function withYears(document: PolicyDocument, years: number): PolicyDocument {
  const { months = ["january" as const], on = firstOf(document) } = document.vault.yearly ?? {};
  return { ...document, vault: { ...document.vault, yearly: years > 0 ? { months, on, keep_years: years } : null } };
}

/** The first of a weekday that the schedule has. */
function firstOf(document: PolicyDocument): NonNullable<Rules["monthly"]>["on"] {
  const weekdays: Weekday[] = document.schedule.frequency === "weekly" ? document.schedule.weekdays.slice(0, 1) : ["sunday"];
  return { format: "weekly", weekdays, weeks: ["first"] };
}

export function scheduleWords({ schedule, time_zone }: PolicyDocument): string {
  switch (schedule.frequency) {
    case "daily":
      return `every day at ${schedule.time} (${time_zone})`;
    case "weekly":
      return `${schedule.weekdays.map(word).join(", ")} at ${schedule.time} (${time_zone})`;
    default:
      return `every ${count(schedule.every_hours, "hour")} from ${schedule.window_start} for ${count(schedule.window_hours, "hour")} (${time_zone})`;
  }
}

export function keepWords({ vault }: PolicyDocument): string {
  const parts = [
    vault.daily && `days for ${count(vault.daily.keep_days, "day")}`,
    vault.weekly && `weeks for ${count(vault.weekly.keep_weeks, "week")}`,
    vault.monthly && `months for ${count(vault.monthly.keep_months, "month")}`,
    vault.yearly && `years for ${count(vault.yearly.keep_years, "year")}`,
  ];
  return parts.filter(Boolean).join(", ");
}
