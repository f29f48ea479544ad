// Recovery points as a table, for whoever would rather read.
import { Radio } from "@fluentui/react-components";
import type { Point } from "../../api/types";
import { CONSISTENCY, day, instant, size, word } from "../../words";

/** More are behind the timeline. */
const SHOWN = 200;

interface Props {
  points: Point[];
  chosen: string | undefined;
  choose: (id: string) => void;
}

export function PointList({ points, chosen, choose }: Props) {
  return (
    <div className="table-scroll" tabIndex={0} role="region" aria-label="Recovery points">
      <table className="table">
        <thead>
          <tr>
            <th>Taken</th>
            <th>Consistency</th>
            <th>Where</th>
            <th>Kept for</th>
            <th>Expires</th>
            <th className="end">Added</th>
          </tr>
        </thead>
        <tbody>
          {points.slice(0, SHOWN).map((point) => (
            <tr key={point.id}>
              <td>
                <Radio
                  name="point"
                  label={instant(point.taken)}
                  checked={point.id === chosen}
                  onChange={() => choose(point.id)}
                />
              </td>
              <td>{CONSISTENCY[point.consistency]?.[0] ?? point.consistency}</td>
              <td>{[point.in_snapshot_tier && "Snapshot tier", point.in_vault_tier && "Vault", point.in_archive_tier && "Archive"].filter(Boolean).join(", ")}</td>
              <td>{point.purge_at ? "Deleted" : point.kept_for.map((kept) => word(kept.why)).join(", ")}</td>
              <td>{point.purge_at ? `Gone ${day(point.purge_at)}` : point.expires ? day(point.expires) : "Not by time"}</td>
              <td className="end">{size(point.stored_bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
