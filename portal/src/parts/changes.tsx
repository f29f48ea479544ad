// What a change of a policy would do to the points that are there.
import { MessageBar, MessageBarBody } from "@fluentui/react-components";
import type { DryRun } from "../api/types";
import { count, day, instant, number } from "../words";

/** Of each machine; the counts say how many more there are. */
const SHOWN = 8;
const MACHINES = 10;

const MEANS: Record<string, string> = { lost: "gone at once", shorter: "expires sooner", longer: "stays longer" };

export function Changes({ of: run }: { of: DryRun }) {
  const nothing = run.lost + run.shorter + run.longer === 0;
  return (
    <div className="stack">
      {!run.allowed && (
        <MessageBar intent="error">
          <MessageBarBody>The vault is immutable: nothing in it may be lost or expire sooner than was promised.</MessageBarBody>
        </MessageBar>
      )}
      <div className="tiles tiles-small" role="status">
        <div className={`tile ${run.lost > 0 ? "tile-bad" : ""}`}>
          <span className="tile-value">{number(run.lost)}</span>
          <span className="tile-name">gone at once</span>
        </div>
        <div className={`tile ${run.shorter > 0 ? "tile-warn" : ""}`}>
          <span className="tile-value">{number(run.shorter)}</span>
          <span className="tile-name">expire sooner</span>
        </div>
        <div className="tile">
          <span className="tile-value">{number(run.longer)}</span>
          <span className="tile-name">stay longer</span>
        </div>
        <div className="tile">
          <span className="tile-value">{number(run.same)}</span>
          <span className="tile-name">as before</span>
        </div>
      </div>
      {nothing && <p className="faint">No point that is there is touched by it.</p>}
      {run.items.slice(0, MACHINES).map((item) => (
        <details key={item.item} open={run.lost > 0}>
          <summary>
            {item.name}: {count(item.points.length, "change")}
          </summary>
          <ul className="rows">
            {item.points.slice(0, SHOWN).map((point) => (
              <li key={point.point + point.tier}>
                <span className="row-name">{instant(point.taken)}</span>
                <span className={point.change === "lost" ? "bad-text" : undefined}>{MEANS[point.change] ?? point.change}</span>
                <span className="faint row-end">
                  {point.before ? day(point.before) : "not by time"} → {point.change === "lost" ? "gone" : point.after ? day(point.after) : "not by time"}
                </span>
              </li>
            ))}
          </ul>
          {item.points.length > SHOWN && <p className="faint">and {count(item.points.length - SHOWN, "more", "more")}</p>}
        </details>
      ))}
      {(run.cut || run.items.length > MACHINES) && <p className="faint">More machines change; all are counted above.</p>}
    </div>
  );
}
