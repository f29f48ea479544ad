// What a month has come to, at one's own prices: by machine, vault, tier or tag, and what is stored for whom.
import { Button, Input, Select } from "@fluentui/react-components";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";
import { may } from "../access";
import { cost, type CostWanted, prices as pricesQuery, useMe, vaults } from "../api/queries";
import type { CostLine, CostReport, Prices } from "../api/types";
import { Bar, Columns, type Part, Shares } from "../parts/chart";
import { Empty } from "../parts/empty";
import { Loaded, Page, Section } from "../parts/page";
import { useNow } from "../parts/when";
import { count, day, money, monthName, months, monthShort, number, size, tierName } from "../words";
import { ChangePrices } from "./costs/prices";
import { Stored } from "./costs/stored";

/** Months that can be asked for, and those that are compared. */
const MONTHS = 13;
const COMPARED = 6;
/** Of a report's lines; those that cost most come first. */
const SHOWN = 50;

const BY: [CostWanted["by"], string][] = [
  ["machine", "Machine"],
  ["vault", "Vault"],
  ["tier", "Tier"],
  ["tag", "Tag"],
];

export default function Costs() {
  const me = useMe();
  const known = useQuery(pricesQuery);
  const places = useQuery(vaults);
  const [search, setSearch] = useSearchParams();
  const [asks, setAsks] = useState(false);
  const offered = months(MONTHS, useNow());
  const wanted = wantedOf(search, offered);
  const set = (name: string, value: string) => {
    const next = new URLSearchParams(search);
    if (value) next.set(name, value);
    else next.delete(name);
    setSearch(next, { replace: true });
  };
  const changes = may(me, "UpdateVault", null);
  return (
    <Page
      title="Costs"
      about="What protection comes to, at your own prices: machines by their size, stored bytes by their tier. No billing system is needed for it."
      actions={changes && known.data && <Button onClick={() => setAsks(true)}>Change the prices</Button>}
    >
      {known.data === null && <NoPrices say={changes ? () => setAsks(true) : undefined} />}
      <div className="filters">
        <Select aria-label="Month" value={wanted.month} onChange={(_, data) => set("month", data.value)}>
          {offered.map((month) => (
            <option key={month} value={month}>
              {monthName(month)}
            </option>
          ))}
        </Select>
        {(places.data?.length ?? 0) > 1 && (
          <Select aria-label="Vault" value={wanted.vault ?? ""} onChange={(_, data) => set("vault", data.value)}>
            <option value="">All vaults</option>
            {places.data?.map((vault) => (
              <option key={vault.id} value={vault.id}>
                {vault.name}
              </option>
            ))}
          </Select>
        )}
      </div>
      <Month wanted={wanted} prices={known.data ?? null} />
      <Lines wanted={wanted} set={set} />
      <Stored vaults={(places.data ?? []).filter((vault) => !wanted.vault || vault.id === wanted.vault)} />
      {asks && <ChangePrices prices={known.data ?? null} close={() => setAsks(false)} />}
    </Page>
  );
}

function wantedOf(search: URLSearchParams, offered: string[]): CostWanted {
  const month = search.get("month") ?? "";
  const by = BY.find(([value]) => value === search.get("by"))?.[0] ?? "machine";
  return {
    month: /^\d{4}-\d\d$/.test(month) ? month : (offered[0] ?? ""),
    by,
    tag: by === "tag" ? (search.get("tag") ?? "") : undefined,
    vault: search.get("vault") ?? undefined,
  };
}

function NoPrices({ say }: { say: (() => void) | undefined }) {
  return (
    <Empty title="Nobody has said any prices yet" action={say && <Button appearance="primary" onClick={say}>Say prices</Button>}>
      What is used is measured and shown here all the same. With prices for machines and stored gibibytes, whatever you pay
      yourself or charge others, it is shown as costs as well.
      {!say && " Whoever may change vaults everywhere may say them."}
    </Empty>
  );
}

/** The month as a whole: what it is made of, and how it compares. */
function Month({ wanted, prices }: { wanted: CostWanted; prices: Prices | null }) {
  const tiers = useQuery(cost({ ...wanted, by: "tier", tag: undefined }));
  return (
    <Loaded query={tiers} what="costs">
      {(report) => (
        <>
          <Tiles report={report} />
          <div className="columns">
            <Section title="What it is made of">
              {report.lines.length === 0 ? <NothingMeasured /> : <Shares label={`Costs of ${monthName(report.month)}`} parts={partsOf(report)} />}
            </Section>
            <Compared wanted={wanted} prices={prices} />
          </div>
        </>
      )}
    </Loaded>
  );
}

function NothingMeasured() {
  return (
    <p className="faint">
      Nothing was measured for this month. Every vault is measured once a day; “Measure now”, below, does so at once.
    </p>
  );
}

/** By costs, or by what is stored as long as nothing costs anything. */
function partsOf(report: CostReport): Part[] {
  const free = report.total === 0;
  return report.lines
    .map((line) => {
      const stored = line.storage[0];
      const name = stored ? tierName(stored.tier, stored.redundancy) : "Protected machines";
      return free
        ? { name, value: stored?.average_bytes ?? 0, said: stored ? size(stored.average_bytes) : daysOf(line) }
        : { name, value: line.cost, said: money(line.cost, report.currency) };
    })
    .filter((part) => !free || part.value > 0);
}

const daysOf = (line: CostLine): string => count(line.protected.reduce((sum, one) => sum + one.days, 0), "machine-day");
const bytesOf = (line: CostLine): number => line.storage.reduce((sum, one) => sum + one.average_bytes, 0);

function Tiles({ report }: { report: CostReport }) {
  const protection = report.lines.reduce((sum, line) => sum + line.protection_cost, 0);
  const stored = report.lines.reduce((sum, line) => sum + bytesOf(line), 0);
  const days = report.lines.reduce((sum, line) => sum + line.protected.reduce((all, one) => all + one.days, 0), 0);
  const priced = report.currency != null;
  const tiles: [string, string][] = priced
    ? [
        [money(report.total, report.currency), report.until ? `in all, until ${day(`${report.until}T12:00:00Z`)}` : "in all"],
        [money(protection, report.currency), `protection: ${count(days, "machine-day")}`],
        [money(report.total - protection, report.currency), `storage: ${size(stored)} on average`],
      ]
    : [
        [number(days), "machine-days under protection"],
        [size(stored), "stored, on average over the whole month"],
      ];
  return (
    <div className="tiles">
      {tiles.map(([value, name]) => (
        <div key={name} className="tile">
          <span className="tile-value">{value}</span>
          <span className="tile-name">{name}</span>
        </div>
      ))}
    </div>
  );
}

function Compared({ wanted, prices }: { wanted: CostWanted; prices: Prices | null }) {
  const all = months(COMPARED, useNow()).reverse();
  const asked = useQueries({ queries: all.map((month) => cost({ month, by: "tier", vault: wanted.vault })) });
  const columns = asked.map(({ data }, index) => {
    const month = all[index] ?? "";
    const bytes = data?.lines.reduce((sum, line) => sum + bytesOf(line), 0) ?? 0;
    const said = !data ? "not known yet" : prices ? money(data.total, data.currency) : size(bytes);
    return { name: monthName(month), short: monthShort(month), value: prices ? (data?.total ?? 0) : bytes, said };
  });
  const last = columns.at(-1);
  const most = columns.reduce((best, column) => (column.value > best.value ? column : best), columns[0] ?? { name: "", short: "", value: 0, said: "" });
  return (
    <Section title="The last six months">
      <Columns label={prices ? "Costs by month" : "Stored bytes by month"} columns={columns} />
      <p className="faint">
        {most.value > 0 ? `The most was ${most.said} in ${most.name}. ${last?.name ?? ""} goes on: ${last?.said ?? ""} so far.` : "Nothing yet in any of them."}
        {prices && " All at the prices of today."}
      </p>
    </Section>
  );
}

function Lines({ wanted, set }: { wanted: CostWanted; set: (name: string, value: string) => void }) {
  const [typed, setTyped] = useState(wanted.tag ?? "");
  const waits = wanted.by === "tag" && !wanted.tag;
  const asked = useQuery({ ...cost(wanted), enabled: !waits });
  return (
    <Section
      title="Who or what it is for"
      actions={
        <div className="filters">
          {wanted.by === "tag" && (
            <form
              onSubmit={(event) => {
                event.preventDefault();
                set("tag", typed.trim());
              }}
            >
              <Input aria-label="Tag" placeholder="Key of a tag, as team" value={typed} onChange={(_, data) => setTyped(data.value)} onBlur={() => set("tag", typed.trim())} spellCheck={false} />
            </form>
          )}
          <Select aria-label="A line for each" value={wanted.by} onChange={(_, data) => set("by", data.value)}>
            {BY.map(([value, name]) => (
              <option key={value} value={value}>
                By {name.toLowerCase()}
              </option>
            ))}
          </Select>
        </div>
      }
    >
      {waits ? (
        <p className="faint">Name a tag: there is a line for each of its values. Machines are tagged by “strongroom machine tag”.</p>
      ) : (
        <Loaded query={asked} what="costs">{(report) => <Report report={report} wanted={wanted} />}</Loaded>
      )}
    </Section>
  );
}

function Report({ report, wanted }: { report: CostReport; wanted: CostWanted }) {
  if (report.lines.length === 0) return <NothingMeasured />;
  const free = report.total === 0;
  const value = (line: CostLine) => (free ? bytesOf(line) : line.cost);
  const most = Math.max(...report.lines.map(value));
  const rest = report.lines.slice(SHOWN);
  return (
    <>
      <ul className="bar-list">
        {report.lines.slice(0, SHOWN).map((line) => (
          <Bar
            key={line.key}
            name={<Name line={line} wanted={wanted} />}
            value={value(line)}
            most={most}
            said={free ? (line.storage.length > 0 ? size(bytesOf(line)) : daysOf(line)) : money(line.cost, report.currency)}
          />
        ))}
      </ul>
      {rest.length > 0 && (
        <p className="faint">
          {count(rest.length, "more line")}
          {!free && `, which come to ${money(rest.reduce((sum, line) => sum + line.cost, 0), report.currency)} together`}. “strongroom cost” lists all.
        </p>
      )}
      <details>
        <summary>In figures</summary>
        <div className="table-scroll" tabIndex={0} role="region" aria-label="Costs in figures">
          <table className="table">
            <thead>
              <tr>
                <th>{BY.find(([by]) => by === wanted.by)?.[1]}</th>
                <th>Under protection</th>
                <th>Stored on average</th>
                {!free && <th className="end">Protection</th>}
                {!free && <th className="end">Storage</th>}
                {!free && <th className="end">In all</th>}
              </tr>
            </thead>
            <tbody>
              {report.lines.slice(0, SHOWN).map((line) => (
                <tr key={line.key}>
                  <td>
                    <Name line={line} wanted={wanted} />
                  </td>
                  <td>{line.protected.map((one) => `${count(one.days, "day")} ${one.size}`).join(", ") || "-"}</td>
                  <td>{line.storage.map((one) => `${size(one.average_bytes)} ${tierName(one.tier, one.redundancy).toLowerCase()}`).join(", ") || "-"}</td>
                  {!free && <td className="end nowrap">{money(line.protection_cost, report.currency)}</td>}
                  {!free && <td className="end nowrap">{money(line.cost - line.protection_cost, report.currency)}</td>}
                  {!free && <td className="end nowrap">{money(line.cost, report.currency)}</td>}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </>
  );
}

const ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

/** With a way to what it names, where that has a page. */
function Name({ line, wanted }: { line: CostLine; wanted: CostWanted }) {
  if (wanted.by === "tier") {
    const stored = line.storage[0];
    return <span>{stored ? tierName(stored.tier, stored.redundancy) : "Protected machines"}</span>;
  }
  if (wanted.by === "vault" && line.vault) return <Link className="link" to={`/vaults/${line.vault}`}>{line.name}</Link>;
  // A machine's key is its item, or what else its vault calls it, and the vault's name.
  const subject = line.key.slice(0, line.key.indexOf("@"));
  if (wanted.by === "machine" && line.vault && ID.test(subject)) {
    return <Link className="link" to={`/vaults/${line.vault}/items/${subject}`}>{line.name}</Link>;
  }
  return <span title={line.name}>{line.name}</span>;
}
