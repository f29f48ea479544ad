// A state: by its words and a mark of its own shape, so that nobody needs the colour.
import {
  CheckmarkCircle16Filled,
  Circle16Regular,
  DismissCircle16Filled,
  ArrowSyncCircle16Filled,
  Warning16Filled,
} from "../icons";
import type { Tone } from "../words";

const MARK = {
  good: CheckmarkCircle16Filled,
  warn: Warning16Filled,
  bad: DismissCircle16Filled,
  busy: ArrowSyncCircle16Filled,
  quiet: Circle16Regular,
};

/** The mark alone, beside words that say the same. */
export function Mark({ tone }: { tone: Tone }) {
  const Shape = MARK[tone];
  return (
    <span className={`state state-${tone}`} aria-hidden>
      <Shape />
    </span>
  );
}

export function State({ of: [text, tone] }: { of: [string, Tone] }) {
  const Shape = MARK[tone];
  return (
    <span className={`state state-${tone}`}>
      <Shape aria-hidden />
      <span>{text}</span>
    </span>
  );
}
