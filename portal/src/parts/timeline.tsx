// Recovery points as they lie in time, to look at: a lane for each reason they are kept for, a mark for each point.
import { Button } from "@fluentui/react-components";
import { type KeyboardEvent, useMemo, useRef, useState } from "react";
import type { Point } from "../api/types";
import { CONSISTENCY, day, instant, time } from "../words";
import { useNow } from "./when";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const RANGES: [string, number][] = [
  ["Hour", HOUR_MS],
  ["Day", DAY_MS],
  ["Week", 7 * DAY_MS],
  ["Month", 31 * DAY_MS],
  ["Year", 366 * DAY_MS],
];
const LANES = ["yearly", "monthly", "weekly", "daily", "demand", "other"] as const;
type Lane = (typeof LANES)[number];
const LANE_WORDS: Record<Lane, string> = { yearly: "Yearly", monthly: "Monthly", weekly: "Weekly", daily: "Daily", demand: "On demand", other: "Other" };
/** Marks this near each other, of the whole width, would hide one another: they are moved apart, while there is room. */
const APART = 0.022;
const ROOM = 0.7;
/** Beside the first and last mark, of the whole width: a mark is not cut off. */
const MARGIN = 0.02;

/** The longest class of a schedule that keeps it; what was made on demand, or is kept for other reasons, has lanes of its own. */
export function laneOf(point: Point): Lane {
  if (point.origin === "on_demand") return "demand";
  return LANES.find((lane) => point.kept_for.some((kept) => kept.why.includes(lane))) ?? "other";
}

export function describe(point: Point): string {
  const tiers = [point.in_snapshot_tier && "snapshot tier", point.in_vault_tier && "vault", point.in_archive_tier && "archive"].filter(Boolean).join(" and ");
  const parts = [
    instant(point.taken),
    `${CONSISTENCY[point.consistency]?.[0].toLowerCase() ?? point.consistency}-consistent`,
    tiers && `in ${tiers}`,
    point.purge_at ? `deleted, can be brought back until ${day(point.purge_at)}` : point.expires ? `expires ${day(point.expires)}` : "",
    point.pinned && "pinned",
    point.drill?.record.verdict.verdict === "proved" && "proved",
  ];
  return parts.filter(Boolean).join(", ");
}

interface Props {
  points: Point[];
  chosen: string | undefined;
  choose: (id: string) => void;
  /** What the lane of points is called of which nobody knows what they are kept for. */
  other?: string;
}

export function Timeline({ points, chosen, choose, other = LANE_WORDS.other }: Props) {
  const now = useNow();
  const oldest = Math.min(...points.map((point) => Date.parse(point.taken)));
  const fitting = RANGES.findIndex(([, ms]) => ms >= now - oldest);
  const [range, setRange] = useState(() => Math.max(0, fitting < 0 ? RANGES.length - 1 : fitting));
  const [end, setEnd] = useState<number | null>(null);
  const length = RANGES[range]?.[1] ?? DAY_MS;
  const until = end ?? now + length * MARGIN;
  const from = until - length;
  const marks = useRef<HTMLDivElement>(null);

  const inTime = useMemo(() => [...points].sort((a, b) => a.taken.localeCompare(b.taken)), [points]);
  const seen = inTime.filter((point) => {
    const taken = Date.parse(point.taken);
    return taken >= from && taken <= until;
  });
  const lanes = LANES.filter((lane) => inTime.some((point) => laneOf(point) === lane));
  const entry = seen.some((point) => point.id === chosen) ? chosen : seen.at(-1)?.id;
  const move = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const step = steps[event.key];
    const here = seen.findIndex((point) => point.id === entry);
    const next = event.key === "Home" ? seen[0] : event.key === "End" ? seen.at(-1) : step && seen[here + step];
    if (!next) return;
    event.preventDefault();
    choose(next.id);
    marks.current?.querySelector<HTMLElement>(`[data-point="${next.id}"]`)?.focus();
  };
  const older = inTime.some((point) => Date.parse(point.taken) < from);
  return (
    <div className="timeline">
      <div className="timeline-tools">
        <div role="group" aria-label="How much time is shown">
          {RANGES.map(([name], index) => (
            <Button
              key={name}
              size="small"
              appearance={index === range ? "secondary" : "subtle"}
              aria-pressed={index === range}
              onClick={() => {
                setRange(index);
                setEnd(null);
              }}
            >
              {name}
            </Button>
          ))}
        </div>
        <div className="grow" />
        <Button size="small" appearance="subtle" disabled={!older} onClick={() => setEnd(until - length)}>
          Earlier
        </Button>
        <Button size="small" appearance="subtle" disabled={end === null} onClick={() => setEnd(until + length >= now ? null : until + length)}>
          Later
        </Button>
      </div>
      <div className="timeline-lanes" role="radiogroup" aria-label="Recovery points by time" onKeyDown={move} ref={marks}>
        {lanes.map((lane) => (
          <div className="lane" key={lane}>
            <span className="lane-name">{lane === "other" ? other : LANE_WORDS[lane]}</span>
            <div className="lane-line">
              {placed(seen.filter((point) => laneOf(point) === lane), from, length).map(([point, at]) => (
                <Mark
                  key={point.id}
                  point={point}
                  at={at}
                  isChosen={point.id === chosen}
                  isEntry={point.id === entry}
                  choose={choose}
                />
              ))}
            </div>
          </div>
        ))}
      </div>
      <Axis from={from} until={until} />
      {seen.length === 0 && <p className="faint">No point in this time. “Earlier” leads to older ones.</p>}
      <Legend points={points} />
    </div>
  );
}

/** Where in the lane each of these, the oldest first, has its mark. */
function placed(points: Point[], from: number, length: number): [Point, number][] {
  const places = points.map((point): [Point, number] => [point, (Date.parse(point.taken) - from) / length]);
  if (points.length * APART > ROOM) return places;
  for (let index = places.length - 2; index >= 0; index -= 1) {
    const [here, next] = [places[index], places[index + 1]];
    if (here && next) here[1] = Math.min(here[1], next[1] - APART);
  }
  // Those at the left edge were moved out of it: from there on, the others make room.
  for (let index = 0; index < places.length; index += 1) {
    const [here, before] = [places[index], places[index - 1]];
    if (here) here[1] = Math.max(here[1], before ? before[1] + APART : 0);
  }
  return places;
}

interface MarkProps {
  point: Point;
  at: number;
  isChosen: boolean;
  isEntry: boolean;
  choose: (id: string) => void;
}

function Mark({ point, at, isChosen, isEntry, choose }: MarkProps) {
  const words = describe(point);
  return (
    <button
      type="button"
      role="radio"
      aria-checked={isChosen}
      tabIndex={isEntry ? 0 : -1}
      className={classOf(point)}
      style={{ left: `${at * 100}%` }}
      aria-label={words}
      title={words}
      data-point={point.id}
      onClick={() => choose(point.id)}
    >
      <span className="mark-shape" aria-hidden />
    </button>
  );
}

function classOf(point: Point): string {
  const names = ["mark", `mark-${point.consistency}`];
  if (!point.in_vault_tier) names.push(point.in_archive_tier ? "mark-archive" : "mark-ring");
  if (point.purge_at) names.push("mark-deleted");
  if (point.pinned) names.push("mark-pinned");
  if (point.drill) names.push(point.drill.record.verdict.verdict === "failed" ? "mark-unproved" : "mark-proved");
  return names.join(" ");
}

function Axis({ from, until }: { from: number; until: number }) {
  const length = until - from;
  const ticks = 6;
  const word = length <= 2 * DAY_MS ? time : day;
  return (
    <div className="axis" aria-hidden>
      {Array.from({ length: ticks + 1 }, (_, index) => {
        const at = from + (length * index) / ticks;
        return (
          <span key={index} className={index % 2 ? "axis-odd" : undefined} style={{ left: `${(index / ticks) * 100}%` }}>
            {word(at)}
          </span>
        );
      })}
    </div>
  );
}

function Legend({ points }: { points: Point[] }) {
  const kinds: [string, string, boolean][] = [
    ["mark-application", "Application-consistent", points.some((point) => point.consistency === "application")],
    ["mark-file_system", "File systems at rest", points.some((point) => point.consistency === "file_system")],
    ["mark-crash", "As after a power cut", points.some((point) => point.consistency === "crash")],
    ["mark-application mark-ring", "In the snapshot tier alone", points.some((point) => !point.in_vault_tier && !point.in_archive_tier)],
    ["mark-application mark-archive", "In the archive alone", points.some((point) => !point.in_vault_tier && point.in_archive_tier)],
    ["mark-application mark-proved", "Proved by a drill", points.some((point) => point.drill?.record.verdict.verdict === "proved")],
    ["mark-application mark-unproved", "Failed its drill", points.some((point) => point.drill?.record.verdict.verdict === "failed")],
    ["mark-application mark-pinned", "Pinned", points.some((point) => point.pinned)],
    ["mark-application mark-deleted", "Deleted", points.some((point) => point.purge_at)],
  ];
  return (
    <ul className="legend" aria-label="What the marks mean">
      {kinds.filter(([, , shown]) => shown).map(([name, words]) => (
        <li key={words}>
          <span className={`mark mark-still ${name}`} aria-hidden>
            <span className="mark-shape" />
          </span>
          {words}
        </li>
      ))}
    </ul>
  );
}
