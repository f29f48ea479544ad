// Many machines brought back as one: which, as what, where to, and what that means.
import { Checkbox, Field, Input, Radio, RadioGroup, SearchBox, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useNavigate } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { items as itemsOf, movers, useMe, vaults } from "../api/queries";
import type { Item, Vault } from "../api/types";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { Trouble } from "../parts/trouble";
import { When } from "../parts/when";
import { Wizard } from "../parts/wizard";
import { count, instant, number } from "../words";
import { faultOf, first, type ManyChoice, requestOf, sentences } from "./restore-many/choice";

/** Listed at once: more are found by the search. */
const LISTED = 200;
/** Turns that can be chosen here; a file of the command line's knows more. */
const TURNS = 9;

export default function RestoreMany() {
  const me = useMe();
  const places = useQuery(vaults);
  const mine = (places.data ?? []).filter((vault) => may(me, "Restore", vault.id));
  return (
    <Page title="Restore many machines" above={[["Machines", "/machines"]]}>
      <Loaded query={places} what="vaults">
        {() =>
          mine.length === 0 ? (
            <Empty title="There is no vault that you may restore from" action={<Link className="link" to="/vaults">See the vaults</Link>}>
              Whoever may restore machines of a vault may restore many of them at once.
            </Empty>
          ) : (
            <Chosen vaults={mine} />
          )
        }
      </Loaded>
    </Page>
  );
}

function Chosen({ vaults: mine }: { vaults: Vault[] }) {
  const location = useLocation();
  const given = (location.state as { items?: { vault: string; id: string }[] } | null)?.items ?? [];
  const [vault, setVault] = useState(() => mine.find((one) => given.some((item) => item.vault === one.id))?.id ?? mine[0]?.id ?? "");
  const held = useQuery(itemsOf(vault));
  const ids = given.filter((item) => item.vault === vault).map((item) => item.id);
  const elsewhere = given.length - ids.length;
  const choice = mine.length > 1 && (
    <Field label="Out of the vault" hint={elsewhere > 0 ? `${count(elsewhere, "chosen machine")} of other vaults: one restore is of one vault.` : undefined}>
      <Select value={vault} onChange={(_, data) => setVault(data.value)}>
        {mine.map((one) => (
          <option key={one.id} value={one.id}>
            {one.name}
          </option>
        ))}
      </Select>
    </Field>
  );
  return (
    <Loaded query={held} what="machines">
      {(list) => <Steps key={vault} vault={vault} isCopied={mine.find((one) => one.id === vault)?.settings.copy != null} items={list.filter((item) => item.last_point && item.state !== "deleted")} given={ids} above={choice} />}
    </Loaded>
  );
}

interface StepsProps {
  vault: string;
  isCopied: boolean;
  items: Item[];
  given: string[];
  above: React.ReactNode;
}

function Steps({ vault, isCopied, items, given, above }: StepsProps) {
  const navigate = useNavigate();
  const [choice, setChoice] = useState<ManyChoice>(() => first(given.filter((id) => items.some((item) => item.id === id))));
  const [step, setStep] = useState(0);
  const change = (part: Partial<ManyChoice>) => setChoice((before) => ({ ...before, ...part }));
  const picked = items.filter((item) => choice.turns.has(item.id));
  const act = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/restore-sets", { params: { path: { vault }, header: once() }, body: requestOf(choice) })),
    changes: ["jobs", "restore-sets"],
    quiet: true,
    then: (set) => void navigate(`/vaults/${vault}/restore-sets/${set.id}`),
  });
  return (
    <Wizard
      step={step}
      setStep={setStep}
      leave={() => void navigate("/machines")}
      steps={[
        {
          name: "Machines",
          body: (
            <>
              <h2>Which machines?</h2>
              {above}
              {isCopied && (
                <Field label="Out of" hint={choice.fromCopy ? "Good also when the vault is damaged, unreachable or gone." : undefined}>
                  <Select value={choice.fromCopy ? "copy" : "vault"} onChange={(_, data) => change({ fromCopy: data.value === "copy" })}>
                    <option value="vault">The vault</option>
                    <option value="copy">Its second store</option>
                  </Select>
                </Field>
              )}
              <Machines items={items} choice={choice} change={change} />
            </>
          ),
          fault: choice.turns.size === 0 ? "Choose at least one machine." : undefined,
        },
        { name: "What", body: <What choice={choice} change={change} />, fault: faultOf(choice, "what") },
        { name: "Where", body: <Where choice={choice} change={change} />, fault: faultOf(choice, "where") },
        {
          name: "Review",
          body: (
            <>
              <h2>This will happen</h2>
              <ul className="plain review">
                {sentences(choice, picked).map((sentence) => (
                  <li key={sentence}>{sentence}</li>
                ))}
              </ul>
              {act.error && <Trouble error={act.error} />}
            </>
          ),
          next: { name: act.isPending ? "Beginning..." : `Restore ${count(picked.length, "machine")}`, act: () => act.mutate(), busy: act.isPending },
        },
      ]}
    />
  );
}

interface PartProps {
  choice: ManyChoice;
  change: (part: Partial<ManyChoice>) => void;
}

function Machines({ items, choice, change }: PartProps & { items: Item[] }) {
  const [text, setText] = useState("");
  const found = items.filter((item) => item.name.toLowerCase().includes(text.toLowerCase()));
  const set = (id: string, turn: number | null) => {
    const turns = new Map(choice.turns);
    if (turn === null) turns.delete(id);
    else turns.set(id, turn);
    change({ turns });
  };
  if (items.length === 0) {
    return <Empty title="Nothing to restore">No machine has a recovery point in this vault.</Empty>;
  }
  return (
    <>
      <p className="faint">
        Those of turn 1 begin at once, those of turn 2 when all of turn 1 are over, and so on: as directories before databases
        before applications.
      </p>
      <div className="filters">
        <SearchBox className="search" placeholder="Search by name" aria-label="Search machines" value={text} onChange={(_, data) => setText(data.value)} />
        <span className="faint" role="status">{count(choice.turns.size, "machine")} chosen</span>
      </div>
      <ul className="choices" aria-label="Machines with recovery points">
        {found.slice(0, LISTED).map((item) => {
          const turn = choice.turns.get(item.id);
          return (
            <li key={item.id}>
              <Checkbox label={item.name} checked={turn !== undefined} onChange={() => set(item.id, turn === undefined ? 1 : null)} />
              <span className="choice-end">
                <span className="faint wide">
                  newest point <When at={item.last_point} />
                </span>
                {turn !== undefined && (
                  <Select size="small" aria-label={`Turn of ${item.name}`} value={String(turn)} onChange={(_, data) => set(item.id, Number(data.value))}>
                    {Array.from({ length: TURNS }, (_, index) => (
                      <option key={index} value={index + 1}>
                        turn {index + 1}
                      </option>
                    ))}
                  </Select>
                )}
              </span>
            </li>
          );
        })}
      </ul>
      {found.length > LISTED && <p className="faint">{number(found.length - LISTED)} more: the search finds them.</p>}
      <Field label="As of" hint="Of each machine the newest point that is not younger; empty: the newest.">
        <Input type="datetime-local" className="search" value={choice.before} onChange={(_, data) => change({ before: data.value })} />
      </Field>
      {choice.before && <p className="faint">Points up to {instant(choice.before)}, by your clock.</p>}
    </>
  );
}

function What({ choice, change }: PartProps) {
  return (
    <>
      <h2>What is to be brought back?</h2>
      <RadioGroup className="ways" aria-label="What is to be brought back" value={choice.what} onChange={(_, data) => change({ what: data.value as ManyChoice["what"] })}>
        <Radio value="machines" label={<span className="way"><strong>New machines</strong><span className="faint">Beside the old ones, which stay as they are.</span></span>} />
        <Radio value="disks" label={<span className="way"><strong>Disks as image files</strong><span className="faint">To be attached to something, or looked into.</span></span>} />
      </RadioGroup>
      {choice.what === "disks" ? (
        <Field label="As">
          <Select value={choice.format} onChange={(_, data) => change({ format: data.value as ManyChoice["format"] })}>
            <option value="qcow2">qcow2: takes the room of what it holds</option>
            <option value="raw">raw: read by everything</option>
          </Select>
        </Field>
      ) : (
        <>
          <div className="form-row">
            <Field label="Before each name">
              <Input value={choice.prefix} onChange={(_, data) => change({ prefix: data.value })} spellCheck={false} />
            </Field>
            <Field label="Behind each name">
              <Input value={choice.suffix} onChange={(_, data) => change({ suffix: data.value })} spellCheck={false} />
            </Field>
          </div>
          <Field label="Their network cards are connected to">
            <RadioGroup value={choice.network} onChange={(_, data) => change({ network: data.value as ManyChoice["network"] })}>
              <Radio value="isolated" label="A network that leads nowhere: they disturb nobody" />
              <Radio value="disconnected" label="Nothing" />
              <Radio value="keep" label="The networks that the old ones were on" />
            </RadioGroup>
          </Field>
          <Checkbox label="Start each once its disks are there" checked={choice.start} onChange={(_, data) => change({ start: data.checked === true })} />
        </>
      )}
    </>
  );
}

function Where({ choice, change }: PartProps) {
  const known = useQuery(movers);
  return (
    <>
      <h2>Where to?</h2>
      <Field label="Folder on the movers' hosts" required hint="It must be there. Each machine gets a folder of its name in it.">
        <Input value={choice.folder} onChange={(_, data) => change({ folder: data.value })} placeholder="/srv/restored" spellCheck={false} autoCapitalize="none" />
      </Field>
      {(known.data?.length ?? 0) > 1 && (
        <Field label="Written by">
          <Select value={choice.mover} onChange={(_, data) => change({ mover: data.value })}>
            <option value="">For each the mover that backed it up</option>
            {known.data?.map((mover) => (
              <option key={mover.name} value={mover.name}>
                {mover.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
      <Field label="So many at once" hint="1 to 1000">
        <Input className="number" inputMode="numeric" value={choice.atOnce} onChange={(_, data) => change({ atOnce: data.value })} />
      </Field>
      <Checkbox label="Begin nothing more once one has failed" checked={choice.stopOnFailure} onChange={(_, data) => change({ stopOnFailure: data.checked === true })} />
    </>
  );
}
