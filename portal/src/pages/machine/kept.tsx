// Restores in the machine's own place that still keep something: what may be done next.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { may } from "../../access";
import { client, once, take } from "../../api/client";
import { useMe } from "../../api/queries";
import type { Item, Replacement } from "../../api/types";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { Section } from "../../parts/page";
import { State } from "../../parts/state";
import { count, instant, type Tone } from "../../words";

const STATE: Record<Replacement["state"], [string, Tone]> = {
  under_way: ["Under way", "busy"],
  unfinished: ["Stopped half way", "bad"],
  done: ["Done", "good"],
  undone: ["Taken back", "quiet"],
};

type Act = "finish" | "undo" | "remove";

export function Kept({ item }: { item: Item }) {
  const list = useQuery({
    queryKey: ["replacements", item.id],
    queryFn: () =>
      take(client.GET("/v1/vaults/{vault}/items/{item}/replacements", { params: { path: { vault: item.vault, item: item.id } } })),
    refetchInterval: 15_000,
  });
  if (!list.data || list.data.items.length === 0) return null;
  return (
    <Section title="Restores in its own place">
      <ul className="rows">
        {list.data.items.map((one) => (
          <One key={one.id} item={item} replacement={one} />
        ))}
      </ul>
    </Section>
  );
}

function One({ item, replacement: one }: { item: Item; replacement: Replacement }) {
  const me = useMe();
  const [open, setOpen] = useState<Act | null>(null);
  const params = () => ({ path: { vault: item.vault, item: item.id, replacement: one.id }, header: once() });
  const base = "/v1/vaults/{vault}/items/{item}/replacements/{replacement}";
  const act = useAct({
    does: (what: Act) => {
      if (what === "finish") return take(client.POST(`${base}/finish`, { params: params() }));
      if (what === "undo") return take(client.POST(`${base}/undo`, { params: params(), body: { stop: "shut_down" } }));
      return take(client.POST(`${base}/remove`, { params: params(), body: { files: one.kept } }));
    },
    told: ({ job }) => ({ title: "Asked for", to: `/jobs/${job}` }),
    changes: ["replacements", "jobs"],
    quiet: true,
    then: () => setOpen(null),
  });
  const offered: [string, Act][] = [];
  if (may(me, "Restore", item.vault)) {
    if (one.state === "unfinished") offered.push(["Go on", "finish"]);
    if (one.state === "unfinished" || one.state === "done") offered.push(["Take it back", "undo"]);
  }
  if (may(me, "DeleteData", item.vault) && (one.state === "done" || one.state === "undone")) offered.push(["Remove what it kept", "remove"]);
  const words: Record<Act, [string, string]> = {
    finish: ["Go on with the restore", "It goes on where it stopped, by what was written down of it."],
    undo: [
      "Take the restore back",
      `${item.name} is shut down, and its disks are as they were before the restore. What it wrote since is kept beside them.`,
    ],
    remove: [
      "Remove what the restore kept",
      `${count(one.kept.length, "file")} are removed: ${one.kept.join(", ")}. The restore can then not be taken back any more.`,
    ],
  };
  return (
    <li>
      <span className="row-name">
        {instant(one.created)}, {count(one.kept.length, "file")} kept
      </span>
      <State of={STATE[one.state]} />
      <span className="row-end actions">
        {offered.map(([name, what]) => (
          <Button key={what} size="small" onClick={() => setOpen(what)}>
            {name}
          </Button>
        ))}
      </span>
      {open && (
        <Confirm
          open
          close={() => {
            act.reset();
            setOpen(null);
          }}
          title={words[open][0]}
          action={words[open][0]}
          danger={open !== "finish"}
          typed={open === "finish" ? undefined : item.name}
          busy={act.isPending}
          error={act.error}
          act={() => act.mutate(open)}
        >
          <p>{words[open][1]}</p>
        </Confirm>
      )}
    </li>
  );
}
