// What each point added to the store, as bars.
import type { Point } from "../../api/types";
import { Section } from "../../parts/page";
import { instant, size } from "../../words";

/** The newest so many. */
const SHOWN = 40;
const HEIGHT = 96;
const BAR = 10;
const GAP = 3;

export function Sizes({ points }: { points: Point[] }) {
  const shown = points.slice(0, SHOWN).reverse();
  const most = Math.max(1, ...shown.map((point) => point.stored_bytes));
  const sum = shown.reduce((all, point) => all + point.stored_bytes, 0);
  const width = shown.length * (BAR + GAP);
  return (
    <Section title="What each point added">
      <svg
        className="bars"
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label={`The newest ${shown.length} points added ${size(sum)}, the largest of them ${size(most)}`}
        preserveAspectRatio="xMinYMid meet"
      >
        {shown.map((point, index) => {
          const height = Math.max(2, (point.stored_bytes / most) * HEIGHT);
          return (
            <rect key={point.id} x={index * (BAR + GAP)} y={HEIGHT - height} width={BAR} height={height} rx="2">
              <title>{`${instant(point.taken)}: ${size(point.stored_bytes)}`}</title>
            </rect>
          );
        })}
      </svg>
      <p className="faint">
        {size(sum)} in all, the largest {size(most)}. A first point is all that the machine holds, the others what changed.
      </p>
    </Section>
  );
}
