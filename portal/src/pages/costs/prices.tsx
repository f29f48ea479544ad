// One's own prices: for machines by size, and for a gibibyte in each tier.
import { Field, Input } from "@fluentui/react-components";
import { useState } from "react";
import { client, once, take } from "../../api/client";
import type { Prices, Redundancy, StorageTier } from "../../api/types";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { tierName } from "../../words";

const CLASSES: [StorageTier, Redundancy][] = [
  ["snapshot", "local"],
  ["vault", "local"],
  ["vault", "geo"],
  ["archive", "local"],
  ["archive", "geo"],
];

const MACHINE: ["up_to_50_gib" | "up_to_500_gib" | "each_further_500_gib", string][] = [
  ["up_to_50_gib", "Up to 50 GiB"],
  ["up_to_500_gib", "Up to 500 GiB"],
  ["each_further_500_gib", "Each further 500 GiB"],
];

/** As somebody typed it; a comma is a point where people write so. */
const amount = (text: string): number => Number(text.trim().replace(",", ".") || "0");

export function ChangePrices({ prices, close }: { prices: Prices | null; close: () => void }) {
  const [currency, setCurrency] = useState(prices?.currency ?? "EUR");
  const [texts, setTexts] = useState<Record<string, string>>(() => textsOf(prices));
  const set = (key: string, text: string) => setTexts((before) => ({ ...before, [key]: text }));
  const faulty = (key: string) => !(amount(texts[key] ?? "") >= 0);
  const good = /^[0-9A-Za-z]{1,8}$/.test(currency) && Object.keys(texts).every((key) => !faulty(key));
  const act = useAct({
    does: () => take(client.PUT("/v1/prices", { params: { header: once() }, body: pricesOf(currency, texts, prices) })),
    told: () => ({ title: "The prices are changed" }),
    changes: ["prices", "cost"],
    quiet: true,
    then: close,
  });
  const field = (key: string, label: string) => (
    <Field key={key} label={label} validationState={faulty(key) ? "error" : "none"} validationMessage={faulty(key) ? "A price, 0 or more" : undefined}>
      <Input value={texts[key] ?? ""} onChange={(_, data) => set(key, data.value)} inputMode="decimal" placeholder="0" />
    </Field>
  );
  return (
    <Confirm open close={close} title="Prices" action="Save" busy={act.isPending} error={act.error} disabled={!good} act={() => act.mutate()}>
      <p>They hold for every month that is looked at. What has no price costs nothing.</p>
      <Field label="Currency" hint="As EUR: a word that is told beside every amount">
        <Input className="number" value={currency} onChange={(_, data) => setCurrency(data.value)} maxLength={8} spellCheck={false} />
      </Field>
      <h3>A protected machine, a month, by what its disks hold</h3>
      <div className="prices-grid">{MACHINE.map(([key, label]) => field(key, label))}</div>
      <h3>A stored GiB, a month</h3>
      <div className="prices-grid">{CLASSES.map(([tier, redundancy]) => field(`${tier} ${redundancy}`, tierName(tier, redundancy)))}</div>
    </Confirm>
  );
}

function textsOf(prices: Prices | null): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [key] of MACHINE) texts[key] = String(prices?.machine?.[key] ?? "");
  for (const [tier, redundancy] of CLASSES) {
    const known = prices?.storage?.find((one) => one.tier === tier && one.redundancy === redundancy);
    texts[`${tier} ${redundancy}`] = known ? String(known.gib_month) : "";
  }
  return texts;
}

function pricesOf(currency: string, texts: Record<string, string>, before: Prices | null): Prices {
  const of = (key: string) => amount(texts[key] ?? "");
  const listed = CLASSES.filter(([tier, redundancy]) => texts[`${tier} ${redundancy}`]?.trim());
  // What this page has no field for stays as it was.
  const others = (before?.storage ?? []).filter((one) => !CLASSES.some(([tier, redundancy]) => one.tier === tier && one.redundancy === redundancy));
  return {
    currency,
    machine: { up_to_50_gib: of("up_to_50_gib"), up_to_500_gib: of("up_to_500_gib"), each_further_500_gib: of("each_further_500_gib") },
    storage: [...listed.map(([tier, redundancy]) => ({ tier, redundancy, gib_month: of(`${tier} ${redundancy}`) })), ...others],
  };
}
