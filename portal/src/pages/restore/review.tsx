// What will happen, in plain words, before it does.
import { Field, Input } from "@fluentui/react-components";
import type { Item, Machine, Point } from "../../api/types";
import { exactly, size } from "../../words";
import type { Choice } from "./choice";

interface Props {
  item: Item;
  point: Point;
  machine: Machine | undefined;
  choice: Choice;
  change: (part: Partial<Choice>) => void;
}

const NETWORK: Record<Choice["network"], string> = {
  isolated: "on a network that leads nowhere",
  disconnected: "connected to no network",
  keep: "on the networks of the old one",
};

export function Review({ item, point, machine, choice, change }: Props) {
  return (
    <>
      <h2>This will happen</h2>
      <ul className="plain review">
        {sentences(item, point, machine, choice).map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
      {choice.what === "replace" && (
        <Field label={<>Type <strong>{item.name}</strong> to go on</>}>
          <Input value={choice.typed} onChange={(_, data) => change({ typed: data.value })} autoComplete="off" spellCheck={false} />
        </Field>
      )}
    </>
  );
}

function sentences(item: Item, point: Point, machine: Machine | undefined, choice: Choice): string[] {
  const taken = exactly(point.taken);
  const runs = machine?.state === "running";
  const copied = choice.fromCopy ? ["It is read out of the second store: the vault itself is not needed for it."] : [];
  if (choice.what === "replace") {
    return [
      `${item.name} goes back to what it was on ${taken}. What was written to it since then is no longer on its disks.`,
      runs
        ? `It is ${choice.stop === "shut_down" ? "shut down" : "switched off as by a power cut"}, and started again afterwards: whoever uses it is interrupted.`
        : "It is off, and stays off.",
      ...(choice.fromCopy && choice.safety ? ["It is read out of the second store."] : copied),
      choice.safety
        ? `Before that its present state becomes a point${choice.fromCopy ? " of the vault" : ""}, which is kept for 30 days.`
        : "No point is made of its present state: what is on its disks now is only in the files that are kept.",
      "Its present disks are kept beside the restored ones. The restore can be taken back until somebody removes them.",
    ];
  }
  const wanted = point.disks.filter((disk) => choice.what !== "disks" || choice.disks.length === 0 || choice.disks.includes(disk.name));
  const names = wanted.map((disk) => disk.name).join(", ");
  const bytes = size(wanted.reduce((sum, disk) => sum + disk.bytes, 0));
  const stays = machine ? `${item.name} itself is not touched, and goes on as it is.` : `${item.name} is no longer there; nothing else is touched.`;
  if (choice.what === "disks") {
    return [`The disks ${names} as of ${taken} are written to ${choice.folder}, as ${choice.format}: up to ${bytes}.`, ...copied, stays];
  }
  return [
    `A new machine, ${choice.name}, is made of ${item.name} as of ${taken}. Its disks lie in ${choice.folder}: up to ${bytes}.`,
    ...copied,
    choice.what === "instant"
      ? "It is started at once, out of the point. Its data follow while it runs: until then it is slower, and the point must stay."
      : choice.start
        ? "It is started once its disks are there."
        : "It is not started.",
    `Its network cards are ${NETWORK[choice.network]}.`,
    choice.keepIdentity ? "It has the same uuid and addresses as the old one." : "It has a uuid and addresses of its own.",
    stays,
  ];
}
