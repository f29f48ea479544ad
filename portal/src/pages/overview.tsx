// Whether everything is protected, at a glance: what is wrong comes first.
import { Button } from "@fluentui/react-components";
import { ShieldCheckmark48Regular, ShieldError48Regular, Warning48Regular } from "../icons";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "react-router";
import { may } from "../access";
import { alerts, forecast, items, overview, useMe, vaults } from "../api/queries";
import type { Alert, Item, TierStored, Vault } from "../api/types";
import { Shares } from "../parts/chart";
import { Empty } from "../parts/empty";
import { Loaded, Page, Section } from "../parts/page";
import { State } from "../parts/state";
import { When } from "../parts/when";
import { FirstSteps } from "../shell/first-steps";
import { useJobs } from "../shell/live";
import { count, ITEM, JOB, KIND, number, size, tierName, type Tone } from "../words";

/** Of each list: the rest is behind its link. */
const SHOWN = 6;
const HOURS = 24;

export default function Overview() {
  const all = useQuery(overview);
  const places = useQuery(vaults);
  return (
    <Page title="Overview">
      <Loaded query={all} what="how things stand">
        {(now) => (
          <>
            <Verdict items={now.items} alerts={now.alerts} unprotected={now.unprotected} />
            <div className="tiles">
              <Tile name="Protected machines" value={number(sum(now.items, "protected", "awaits_first", "in_error"))} to="/machines?standing=protected" />
              <Tile name="Not protected" value={number(now.unprotected)} to="/machines?standing=protectable" tone={now.unprotected > 0 ? "warn" : "good"} />
              <Tile name="Recovery points" value={number(now.points)} to="/reports" />
              <Tile name="Stored" value={size(now.stored_bytes)} to="/vaults" />
              <Tile name="Movers there" value={number(now.movers)} to="/hosts" tone={now.movers > 0 ? "good" : "bad"} />
            </div>
          </>
        )}
      </Loaded>
      <FirstSteps />
      <div className="columns">
        <Attention vaults={places.data ?? []} />
        <Alerts />
        <RecentJobs />
        <NextRuns />
        <Storage stored={all.data?.storage} />
      </div>
    </Page>
  );
}

const sum = (counts: Record<string, number>, ...states: string[]) => states.reduce((all, one) => all + (counts[one] ?? 0), 0);

/** One sentence that says it all. */
function Verdict({ items: states, alerts: open, unprotected }: { items: Record<string, number>; alerts: Record<string, number>; unprotected: number }) {
  const failing = states["in_error"] ?? 0;
  const urgent = sum(open, "critical", "error");
  const held = sum(states, "protected", "awaits_first", "in_error");
  if (failing > 0 || urgent > 0) {
    const parts = [failing > 0 && `the last backup of ${count(failing, "machine")} failed`, urgent > 0 && `${count(urgent, "alert")} open`];
    return <Banner tone="bad" title="Something needs you" text={`${parts.filter(Boolean).join(", and ")}.`} />;
  }
  if (held === 0) return <Banner tone="warn" title="Nothing is protected yet" text="Machines are protected once a policy of a vault holds them." />;
  if (unprotected > 0) {
    return <Banner tone="warn" title={`${count(unprotected, "machine")} without protection`} text={`${held === 1 ? "The protected one is" : `All ${count(held, "protected machine")} are`} well. Are the others meant to be left out?`} />;
  }
  return <Banner tone="good" title="Everything is protected" text={`${count(held, "machine")}, none of which failed its last backup.`} />;
}

function Banner({ tone, title, text }: { tone: "good" | "warn" | "bad"; title: string; text: string }) {
  const Mark = { good: ShieldCheckmark48Regular, warn: Warning48Regular, bad: ShieldError48Regular }[tone];
  return (
    <div className={`verdict verdict-${tone}`} role="status">
      <Mark aria-hidden />
      <div>
        <p className="verdict-title">{title}</p>
        <p>{text.charAt(0).toUpperCase() + text.slice(1)}</p>
      </div>
    </div>
  );
}

function Tile({ name, value, to, tone }: { name: string; value: string; to: string; tone?: Tone }) {
  return (
    <Link to={to} className={`tile ${tone ? `tile-${tone}` : ""}`}>
      <span className="tile-value">{value}</span>
      <span className="tile-name">{name}</span>
    </Link>
  );
}

/** Machines whose last backup failed, then those that wait for their first, then the ones with the oldest point. */
function Attention({ vaults: places }: { vaults: Vault[] }) {
  const failed = useQueries({ queries: places.map((vault) => items(vault.id, "in_error")) });
  const waiting = useQueries({ queries: places.map((vault) => items(vault.id, "awaits_first")) });
  const of = (asked: typeof failed) => asked.flatMap((one) => one.data ?? []);
  const shown: Item[] = [...of(failed), ...of(waiting)];
  return (
    <Section title="Needs attention" actions={shown.length > SHOWN && <Link className="link" to="/machines?only=attention">All {number(shown.length)}</Link>}>
      {shown.length === 0 ? (
        <p className="faint">No protected machine failed its last backup or waits for its first.</p>
      ) : (
        <ul className="rows">
          {shown.slice(0, SHOWN).map((item) => (
            <li key={item.id}>
              <Link className="link row-name" to={`/vaults/${item.vault}/items/${item.id}`}>
                {item.name}
              </Link>
              <State of={ITEM[item.state]} />
              <span className="faint row-end">
                last point <When at={item.last_point} none="never" />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

const SEVERITY: Record<Alert["severity"], [string, Tone]> = {
  critical: ["Critical", "bad"],
  error: ["Error", "bad"],
  warning: ["Warning", "warn"],
  informational: ["For information", "quiet"],
};

function Alerts() {
  const open = useQuery(alerts(false));
  return (
    <Section title="Alerts" actions={<Link className="link" to="/alerts">All alerts</Link>}>
      <Loaded query={open} what="alerts">
        {(list) =>
          list.length === 0 ? (
            <p className="faint">No alert is open.</p>
          ) : (
            <ul className="rows">
              {list.slice(0, SHOWN).map((alert) => (
                <li key={alert.id} className="row-tall">
                  <State of={SEVERITY[alert.severity]} />
                  <span className="clamp">{alert.text}</span>
                  <span className="faint row-end">
                    <When at={alert.raised} />
                  </span>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Section>
  );
}

function RecentJobs() {
  const { jobs } = useJobs();
  const recent = jobs.filter((job) => Date.parse(job.created) > Date.now() - HOURS * 3_600_000);
  return (
    <Section title="Jobs of the last day" actions={<Link className="link" to="/jobs">All jobs</Link>}>
      {recent.length === 0 ? (
        <p className="faint">Nothing ran in the last 24 hours.</p>
      ) : (
        <ul className="rows">
          {recent.slice(0, SHOWN).map((job) => (
            <li key={job.id}>
              <Link className="link row-name" to={`/jobs/${job.id}`}>
                {KIND[job.kind]}: {job.name}
              </Link>
              <State of={JOB[job.state]} />
              <span className="faint row-end">
                <When at={job.created} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

/** What lies where, as it was measured last. */
function Storage({ stored }: { stored: TierStored[] | undefined }) {
  if (!stored) return null;
  const sum = stored.reduce((total, one) => total + one.stored_bytes, 0);
  const oldest = stored.map((one) => one.measured).sort()[0];
  return (
    <Section title="Storage by tier" actions={<Link className="link" to="/costs">Costs</Link>}>
      {stored.length === 0 ? (
        <p className="faint">Nothing was measured yet. Every vault is measured once a day, and when somebody asks for it on the page of costs.</p>
      ) : (
        <>
          <Shares
            label="Stored bytes by tier"
            parts={stored.map((one) => ({ name: tierName(one.tier, one.redundancy), value: one.stored_bytes, said: size(one.stored_bytes) }))}
          />
          <p className="faint">
            {size(sum)} in all stores, measured <When at={oldest} />.
          </p>
        </>
      )}
    </Section>
  );
}

function NextRuns() {
  const next = useQuery(forecast(HOURS));
  const me = useMe();
  const navigate = useNavigate();
  return (
    <Section title="Next runs">
      <Loaded query={next} what="what will run">
        {(told) =>
          told.runs.length === 0 ? (
            <Empty
              title="Nothing is due in the next 24 hours"
              action={may(me, "Protect", "any") && <Button onClick={() => void navigate("/protect")}>Protect machines</Button>}
            >
              Runs stand here once machines are under a policy.
            </Empty>
          ) : (
            <>
              <ul className="rows">
                {told.runs.slice(0, SHOWN).map((run) => (
                  <li key={run.item + run.due}>
                    <span className="row-name">{run.name}</span>
                    <span className="faint row-end">
                      <When at={run.start} />
                    </span>
                  </li>
                ))}
              </ul>
              <p className="faint">
                {count(told.runs.length, "run")} in the next 24 hours, {number(told.peak)} at once at most.
              </p>
            </>
          )
        }
      </Loaded>
    </Section>
  );
}
