// How well protected everything is: proofs, ages of points, jobs, and what is to come.
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { client, take } from "../api/client";
import { forecast, items, overview, vaults } from "../api/queries";
import type { Item, Vault } from "../api/types";
import { Bar } from "../parts/chart";
import { Loaded, Page, Section } from "../parts/page";
import { State } from "../parts/state";
import { useNow, When } from "../parts/when";
import { count, day, ITEM, JOB, number, size, type Tone } from "../words";

const HOUR_MS = 3_600_000;
/** How old the newest point is. */
const AGES: [string, number, Tone][] = [
  ["a day", 24, "good"],
  ["2 days", 48, "good"],
  ["a week", 168, "warn"],
  ["a month", 744, "bad"],
  ["longer", Infinity, "bad"],
];
const HOURS = 24;

export default function Reports() {
  const places = useQuery(vaults);
  const held = useQueries({
    queries: (places.data ?? []).map((vault) => items(vault.id)),
    combine: (asked) => asked.flatMap((one) => one.data ?? []),
  });
  return (
    <Page title="Reports">
      <div className="columns">
        <Ages items={held} />
        <States items={held} />
        <JobsOfTheDay />
        <ToCome />
      </div>
      {(places.data ?? []).map((vault) => (
        <Proofs key={vault.id} vault={vault} />
      ))}
    </Page>
  );
}

function Ages({ items: list }: { items: Item[] }) {
  const now = useNow();
  const live = list.filter((item) => item.state !== "deleted" && item.state !== "stopped");
  const hours = live.map((item) => (item.last_point ? (now - Date.parse(item.last_point)) / HOUR_MS : null));
  const rows = AGES.map(([name, most, tone], index) => {
    const least = AGES[index - 1]?.[1] ?? -Infinity;
    return { name: index === AGES.length - 1 ? "older" : `within ${name}`, tone, value: hours.filter((age) => age !== null && age <= most && age > least).length };
  });
  const none = hours.filter((age) => age === null).length;
  return (
    <Section title="Age of the newest point">
      {live.length === 0 ? (
        <p className="faint">No machine is protected yet.</p>
      ) : (
        <ul className="bar-list">
          {rows.map((row) => (
            <Bar key={row.name} {...row} most={live.length} />
          ))}
          <Bar name="no point yet" value={none} most={live.length} tone="bad" />
        </ul>
      )}
    </Section>
  );
}

function States({ items: list }: { items: Item[] }) {
  const all = useQuery(overview);
  const states = Object.keys(ITEM) as Item["state"][];
  const rows = states.map((state) => ({ state, value: list.filter((item) => item.state === state).length })).filter((row) => row.value > 0);
  return (
    <Section title="Machines by protection">
      <Loaded query={all} what="machines">
        {(now) => (
          <>
            <ul className="bar-list">
              {rows.map(({ state, value }) => (
                <Bar key={state} name={ITEM[state][0]} value={value} most={list.length + now.unprotected} tone={ITEM[state][1]} />
              ))}
              <Bar name="Not protected" value={now.unprotected} most={list.length + now.unprotected} tone="warn" />
            </ul>
            <p className="faint">
              {count(now.points, "point")}, which added {size(now.stored_bytes)} to their stores.
            </p>
          </>
        )}
      </Loaded>
    </Section>
  );
}

function JobsOfTheDay() {
  const all = useQuery(overview);
  return (
    <Section title="Jobs of the last 24 hours" actions={<Link className="link" to="/jobs">All jobs</Link>}>
      <Loaded query={all} what="jobs">
        {(now) => {
          const states = (Object.keys(JOB) as (keyof typeof JOB)[]).filter((state) => (now.jobs[state] ?? 0) > 0);
          const sum = states.reduce((total, state) => total + (now.jobs[state] ?? 0), 0);
          return states.length === 0 ? (
            <p className="faint">Nothing ran.</p>
          ) : (
            <ul className="bar-list">
              {states.map((state) => (
                <Bar key={state} name={JOB[state][0]} value={now.jobs[state] ?? 0} most={sum} tone={JOB[state][1]} />
              ))}
            </ul>
          );
        }}
      </Loaded>
    </Section>
  );
}

function ToCome() {
  const next = useQuery(forecast(HOURS));
  return (
    <Section title="The next 24 hours">
      <Loaded query={next} what="what will run">
        {(told) => {
          const now = Date.now();
          const hours = Array.from({ length: HOURS }, (_, hour) => told.runs.filter((run) => Math.floor((Date.parse(run.start) - now) / HOUR_MS) === hour).length);
          const most = Math.max(1, ...hours);
          return (
            <>
              <svg className="bars" viewBox={`0 0 ${HOURS * 14} 80`} role="img" aria-label={`Runs by hour: ${number(told.runs.length)} in all`} preserveAspectRatio="none">
                {hours.map((many, hour) => (
                  <rect key={hour} x={hour * 14} y={80 - Math.max(1, (many / most) * 80)} width="11" height={Math.max(1, (many / most) * 80)} rx="2">
                    <title>{`${count(many, "run")} in ${hour} to ${hour + 1} hours`}</title>
                  </rect>
                ))}
              </svg>
              <p className="faint">
                {count(told.runs.length, "run")}, {number(told.peak)} at once at most.
                {told.ends && (
                  <>
                    {" "}
                    The last ends <When at={told.ends} />, if runs take as long as they last did.
                  </>
                )}
              </p>
            </>
          );
        }}
      </Loaded>
    </Section>
  );
}

const VERDICT: Record<string, [string, Tone]> = { proved: ["Proved", "good"], booted_only: ["Booted", "warn"], failed: ["Failed", "bad"] };

/** Which machines were shown to come back, and how long ago. */
function Proofs({ vault }: { vault: Vault }) {
  const list = useQuery({
    queryKey: ["proofs", vault.id],
    queryFn: () => take(client.GET("/v1/vaults/{vault}/proofs", { params: { path: { vault: vault.id } } })),
  });
  return (
    <Section title={`Proved to come back: ${vault.name}`}>
      <Loaded query={list} what="proofs">
        {(page) =>
          page.items.length === 0 ? (
            <p className="faint">
              No policy asks for drills. A drill boots a point where it can harm nothing, and asks it whether it is good: “Try
              it out” does so for a single point.
            </p>
          ) : (
            <div className="table-scroll">
              <table className="table">
                <thead>
                  <tr>
                    <th>Machine</th>
                    <th>Newest proved point</th>
                    <th>Allowed</th>
                    <th>Last tried</th>
                    <th>It was</th>
                    {vault.settings.copy && <th>Newest proved copy</th>}
                  </tr>
                </thead>
                <tbody>
                  {page.items.map((proof) => (
                    <tr key={proof.item}>
                      <td>
                        <Link className="link strong" to={`/vaults/${vault.id}/items/${proof.item}`}>{proof.name}</Link>
                      </td>
                      <td>
                        {proof.is_overdue ? <State of={[proof.proved ? day(proof.proved) : "never", "bad"]} /> : <State of={[proof.proved ? day(proof.proved) : "never", "good"]} />}
                      </td>
                      <td>{count(proof.allowed_days, "day")} old</td>
                      <td>
                        <When at={proof.tried} none="never" />
                      </td>
                      <td>{proof.verdict ? <State of={VERDICT[proof.verdict] ?? [proof.verdict, "quiet"]} /> : "-"}</td>
                      {vault.settings.copy && <td>{proof.copy_proved ? day(proof.copy_proved) : "never"}</td>}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
    </Section>
  );
}
