// The list of machines as a table of which only what is seen is in the page.
import { Checkbox, Spinner } from "@fluentui/react-components";
import { ArrowDown12Regular, ArrowUp12Regular } from "../../icons";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";
import { Link } from "react-router";
import type { MachineStanding } from "../../api/types";
import { State } from "../../parts/state";
import { When } from "../../parts/when";
import { size, word } from "../../words";
import { bytes, type Order, type Row, status } from "./rows";

const ROW_PX = 44;
/** Beyond what is seen, so that scrolling meets rows that are there. */
const SPARE = 12;

interface Props {
  rows: Row[];
  loading: boolean;
  hosts: Map<string, string>;
  order: Order;
  setOrder: (order: Order) => void;
  chosen: ReadonlySet<string>;
  setChosen: (chosen: ReadonlySet<string>) => void;
}

export function MachineTable({ rows, loading, hosts, order, setOrder, chosen, setChosen }: Props) {
  const scroll = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: SPARE,
    getItemKey: (index) => rows[index]?.machine.id ?? index,
  });
  const every = rows.length > 0 && rows.every((row) => chosen.has(row.machine.id));
  const some = !every && rows.some((row) => chosen.has(row.machine.id));
  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  const heading = (by: Order["by"], name: string) => (
    <button
      type="button"
      className="sort"
      onClick={() => setOrder({ by, down: order.by === by && !order.down })}
    >
      {name}
      {order.by === by && (order.down ? <ArrowDown12Regular aria-hidden /> : <ArrowUp12Regular aria-hidden />)}
    </button>
  );
  const sortOf = (by: Order["by"]) => (order.by === by ? (order.down ? "descending" : "ascending") : "none");
  return (
    <div className="grid machines-grid" role="table" aria-label="Machines" aria-rowcount={rows.length + 1}>
      <div className="grid-scroll" ref={scroll} tabIndex={0} role="rowgroup" aria-label="Machines, scrollable">
        <div className="grid-head grid-row" role="row" aria-rowindex={1}>
          <span role="columnheader">
            <Checkbox
              aria-label="Choose all that are listed"
              checked={every ? true : some ? "mixed" : false}
              onChange={() => setChosen(every ? new Set() : new Set(rows.map((row) => row.machine.id)))}
            />
          </span>
          <span role="columnheader" aria-sort={sortOf("name")}>{heading("name", "Name")}</span>
          <span role="columnheader" aria-sort={sortOf("status")}>{heading("status", "Protection")}</span>
          <span role="columnheader" className="wide" aria-sort={sortOf("point")}>{heading("point", "Last point")}</span>
          <span role="columnheader" className="wide">Next backup</span>
          <span role="columnheader" className="wide">Runs</span>
          <span role="columnheader" className="wide">Host</span>
          <span role="columnheader" className="wide end" aria-sort={sortOf("size")}>{heading("size", "Size")}</span>
        </div>
        {loading && <Spinner className="loading" label="Loading machines" />}
        {!loading && rows.length === 0 && <p className="faint none">No machine fits. Take a filter away to see more.</p>}
        <div role="presentation" className="grid-body" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((place) => {
            const row = rows[place.index];
            return (
              row && (
                <OneRow
                  key={place.key}
                  row={row}
                  index={place.index}
                  top={place.start}
                  host={hosts.get(row.machine.host) ?? ""}
                  isChosen={chosen.has(row.machine.id)}
                  toggle={toggle}
                />
              )
            );
          })}
        </div>
      </div>
    </div>
  );
}

interface RowProps {
  row: Row;
  index: number;
  top: number;
  host: string;
  isChosen: boolean;
  toggle: (id: string) => void;
}

function OneRow({ row, index, top, host, isChosen, toggle }: RowProps) {
  const { machine, item } = row;
  const to = item ? `/vaults/${item.vault}/items/${item.id}` : `/machines/${machine.id}`;
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={`grid-row ${isChosen ? "grid-chosen" : ""}`}
      style={{ transform: `translateY(${top}px)`, height: ROW_PX }}
    >
      <span role="cell">
        <Checkbox aria-label={`Choose ${machine.name}`} checked={isChosen} onChange={() => toggle(machine.id)} />
      </span>
      <span role="cell" className="ellipsis">
        <Link className="link strong" to={to} title={machine.name}>
          {machine.name}
        </Link>
      </span>
      <span role="cell" title={machine.obstacle ?? undefined}>
        <State of={status(row)} />
      </span>
      <span role="cell" className="wide">
        <When at={item?.last_point} none={held(machine.standing) ? "none yet" : "-"} />
      </span>
      <span role="cell" className="wide">
        <When at={item?.next_backup} />
      </span>
      <span role="cell" className="wide">{word(machine.state)}</span>
      <span role="cell" className="wide ellipsis">{host}</span>
      <span role="cell" className="wide end">{size(bytes(row))}</span>
    </div>
  );
}

const held = (standing: MachineStanding) => standing === "protected";
