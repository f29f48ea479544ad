// Charts: bars that are compared, parts of a whole, columns over time. SVG of our own; every value also stands in words.
import type { ReactNode } from "react";
import { number, percent, type Tone } from "../words";

interface BarProps {
  name: ReactNode;
  value: number;
  most: number;
  tone?: Tone;
  /** The value in words; a plain number if not said. */
  said?: string;
}

/** One of a `bar-list`. */
export function Bar({ name, value, most, tone, said }: BarProps) {
  return (
    <li className={`bar-row ${said === undefined ? "" : "bar-row-said"}`}>
      <span className="bar-name">{name}</span>
      <svg className={`bar ${tone ? `bar-${tone}` : ""}`} viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden>
        <rect className="bar-back" width="100" height="10" rx="1" />
        <rect width={most > 0 ? Math.max(value > 0 ? 1 : 0, (value / most) * 100) : 0} height="10" rx="1" />
      </svg>
      <span className="bar-value">{said ?? number(value)}</span>
    </li>
  );
}

export interface Part {
  name: string;
  value: number;
  said: string;
}

/** What a whole is made of: one bar, and each part in words beside its colour. */
export function Shares({ parts, label }: { parts: Part[]; label: string }) {
  const sum = parts.reduce((all, part) => all + part.value, 0);
  const from = parts.map((_, index) => parts.slice(0, index).reduce((all, part) => all + part.value, 0));
  return (
    <figure className="shares">
      <svg className="shares-bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label={`${label}: ${parts.map((part) => `${part.name} ${part.said}`).join(", ")}`}>
        <rect className="bar-back" width="100" height="10" />
        {sum > 0 &&
          parts.map((part, index) => (
            <rect key={part.name} className={`share share-${index % SERIES}`} x={((from[index] ?? 0) / sum) * 100} width={(part.value / sum) * 100} height="10">
              <title>{`${part.name}: ${part.said}`}</title>
            </rect>
          ))}
      </svg>
      <ul className="shares-legend">
        {parts.map((part, index) => (
          <li key={part.name}>
            <span className={`swatch share-${index % SERIES}`} aria-hidden />
            <span className="grow">{part.name}</span>
            <span className="bar-value">{part.said}</span>
            <span className="faint shares-part">{sum > 0 ? percent(part.value / sum) : ""}</span>
          </li>
        ))}
      </ul>
    </figure>
  );
}

/** Colours that there are for parts: `.share-0` and on. */
const SERIES = 6;
const HEIGHT = 88;
const WIDE = 64;
const GAP = 20;

export interface Column {
  name: string;
  /** A shorter one, for below it. */
  short: string;
  value: number;
  said: string;
}

/** Values over time; the last is the newest. */
export function Columns({ columns, label }: { columns: Column[]; label: string }) {
  const most = Math.max(0, ...columns.map((column) => column.value));
  const width = columns.length * (WIDE + GAP) - GAP;
  return (
    <figure className="columns-chart">
      <svg viewBox={`0 0 ${width} ${HEIGHT + 20}`} role="img" aria-label={`${label}: ${columns.map((column) => `${column.name} ${column.said}`).join(", ")}`} preserveAspectRatio="xMinYMid meet">
        <line className="picture-line" x1="0" x2={width} y1={HEIGHT + 0.5} y2={HEIGHT + 0.5} />
        {columns.map((column, index) => {
          const height = most > 0 ? (column.value / most) * HEIGHT : 0;
          const x = index * (WIDE + GAP);
          return (
            <g key={column.name} className={index === columns.length - 1 ? "column-last" : "column"}>
              {/* Points anywhere above the name, too: what is small must be found as well. */}
              <rect className="column-whole" x={x} y="0" width={WIDE} height={HEIGHT + 20}>
                <title>{`${column.name}: ${column.said}`}</title>
              </rect>
              <rect className="column-value" x={x} y={HEIGHT - Math.max(column.value > 0 ? 2 : 0, height)} width={WIDE} height={Math.max(column.value > 0 ? 2 : 0, height)} rx="2" />
              <text className="picture-text" x={x + WIDE / 2} y={HEIGHT + 15} textAnchor="middle">
                {column.short}
              </text>
            </g>
          );
        })}
      </svg>
    </figure>
  );
}
