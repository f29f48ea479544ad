// A year of points that a policy would make, as a picture: the longer a point stays, the higher it stands.
import { useQuery, keepPreviousData } from "@tanstack/react-query";
import { useDeferredValue, useMemo } from "react";
import { client, once, take } from "../../api/client";
import type { PolicyDocument, PolicyPreview } from "../../api/types";
import { Trouble } from "../../parts/trouble";
import { count, day, number } from "../../words";

const WIDTH = 720;
const HEIGHT = 200;
const LEFT = 74;
const BOTTOM = 22;
const TOP = 10;
const DAY_MS = 86_400_000;
const CLASSES = ["yearly", "monthly", "weekly", "daily"] as const;
const CLASS_WORDS: Record<(typeof CLASSES)[number], string> = { yearly: "Yearly", monthly: "Monthly", weekly: "Weekly", daily: "Daily" };
/** Days, and what they are called. */
const HEIGHTS: [number, string][] = [
  [7, "a week"],
  [30, "a month"],
  [182, "half a year"],
  [365, "a year"],
  [3652, "10 years"],
  [36520, "100 years"],
];

export function usePreview(vault: string, document: PolicyDocument) {
  const asked = useDeferredValue(document);
  return useQuery({
    queryKey: ["preview", vault, asked],
    enabled: vault !== "",
    staleTime: 60_000,
    retry: false,
    placeholderData: keepPreviousData,
    queryFn: () =>
      take(client.POST("/v1/vaults/{vault}/policies/preview", { params: { path: { vault }, header: once() }, body: asked })),
  });
}

export function Preview({ vault, document }: { vault: string; document: PolicyDocument }) {
  const preview = usePreview(vault, document);
  if (preview.error) return <Trouble error={preview.error} />;
  return preview.data ? <Picture preview={preview.data} /> : <div className="picture" />;
}

interface Dot {
  at: number;
  days: number;
  lane: (typeof CLASSES)[number] | "none";
  words: string;
}

function dotsOf(preview: PolicyPreview): Dot[] {
  return preview.points.map((point) => {
    const at = Date.parse(point.at);
    const days = point.expires ? (Date.parse(point.expires) - at) / DAY_MS : 0;
    const lane = CLASSES.find((name) => point.classes.includes(name)) ?? "none";
    const words = point.expires ? `${day(at)}: ${point.classes.join(", ")}, stays until ${day(point.expires)}` : `${day(at)}: not in the vault`;
    return { at, days, lane, words };
  });
}

function Picture({ preview }: { preview: PolicyPreview }) {
  const dots = useMemo(() => dotsOf(preview), [preview]);
  const first = dots[0]?.at ?? 0;
  const last = dots.at(-1)?.at ?? 1;
  const most = Math.max(8, ...dots.map((dot) => dot.days));
  const x = (at: number) => LEFT + ((at - first) / Math.max(1, last - first)) * (WIDTH - LEFT - 8);
  // By the logarithm: a week and ten years stand in one picture.
  const y = (days: number) => HEIGHT - BOTTOM - (Math.log(1 + days) / Math.log(1 + most)) * (HEIGHT - BOTTOM - TOP);
  const ticks = Array.from({ length: 5 }, (_, index) => first + ((last - first) * index) / 4);
  const counts = CLASSES.map((lane) => [lane, dots.filter((dot) => dot.lane === lane).length] as const).filter(([, many]) => many > 0);
  const said = counts.map(([lane, many]) => `${number(many)} ${CLASS_WORDS[lane].toLowerCase()}`).join(", ");
  return (
    <figure className="preview">
      <div className="picture-scroll" tabIndex={0} role="region" aria-label="Preview of a year">
        <svg className="picture" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`A year of points: ${said}. At most ${number(preview.points_at_most)} at once.`}>
          {HEIGHTS.filter(([days]) => days <= most * 1.05).map(([days, name]) => (
            <g key={days}>
              <line className="picture-line" x1={LEFT} x2={WIDTH - 8} y1={y(days)} y2={y(days)} />
              <text className="picture-text" x={LEFT - 6} y={y(days) + 4} textAnchor="end">
                {name}
              </text>
            </g>
          ))}
          {ticks.map((at, index) => (
            <text key={index} className="picture-text" x={x(at)} y={HEIGHT - 6} textAnchor={index === 0 ? "start" : index === 4 ? "end" : "middle"}>
              {day(at)}
            </text>
          ))}
          {dots.map((dot, index) => (
            <g key={index} className={`dot dot-${dot.lane}`}>
              <line x1={x(dot.at)} x2={x(dot.at)} y1={HEIGHT - BOTTOM} y2={y(dot.days)} />
              {dot.lane !== "daily" && (
                <circle cx={x(dot.at)} cy={y(dot.days)} r={dot.lane === "weekly" ? 2.5 : 4}>
                  <title>{dot.words}</title>
                </circle>
              )}
            </g>
          ))}
        </svg>
      </div>
      <figcaption>
        <ul className="legend">
          {counts.map(([lane, many]) => (
            <li key={lane}>
              <span className={`swatch dot-${lane}`} aria-hidden />
              {CLASS_WORDS[lane]}: {number(many)} in a year
            </li>
          ))}
        </ul>
        <p className="faint">
          The higher a point stands, the longer it stays. Of a machine there are {count(preview.points_at_most, "point")} at
          once at most, when the policy has run for as long as it keeps anything.
        </p>
      </figcaption>
    </figure>
  );
}
