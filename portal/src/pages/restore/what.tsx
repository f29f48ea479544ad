// What is to be brought back: five ways, each with what it is good for.
import { Checkbox, Radio, RadioGroup } from "@fluentui/react-components";
import type { Item, Machine, Point } from "../../api/types";
import { size } from "../../words";
import type { Choice, What as Kind } from "./choice";

const WAYS: [Kind, string, string][] = [
  ["machine", "A new machine", "Beside the old one, which stays as it is. To look at what was, or to move over to it."],
  ["instant", "A new machine, at once", "It runs within seconds; its data follow while it runs. When it must go on now."],
  ["replace", "The machine, in its own place", "Its disks go back to the point, under the same name. What they hold now is kept beside them."],
  ["disks", "Disks as image files", "To be attached to something, or looked into."],
  ["files", "Single files", "Browse the disks of the point, and download what is needed."],
];

function whyNot(what: Kind, item: Item, machine: Machine | undefined): string | null {
  if (what === "replace" && !machine) return `${item.name} is no longer on its host.`;
  return null;
}

interface Props {
  item: Item;
  point: Point;
  machine: Machine | undefined;
  choice: Choice;
  change: (part: Partial<Choice>) => void;
}

export function What({ item, point, machine, choice, change }: Props) {
  const toggle = (name: string) =>
    change({ disks: choice.disks.includes(name) ? choice.disks.filter((one) => one !== name) : [...choice.disks, name] });
  return (
    <>
      <h2>What is to be brought back?</h2>
      <RadioGroup value={choice.what} onChange={(_, data) => change({ what: data.value as Kind })} aria-label="What is to be brought back" className="ways">
        {WAYS.map(([value, name, words]) => (
          <Radio
            key={value}
            value={value}
            disabled={whyNot(value, item, machine) !== null}
            label={
              <span className="way">
                <strong>{name}</strong>
                <span className="faint">{whyNot(value, item, machine) ?? words}</span>
              </span>
            }
          />
        ))}
      </RadioGroup>
      {choice.what === "disks" && (
        <fieldset className="disks">
          <legend>Disks</legend>
          {point.disks.map((disk) => (
            <Checkbox
              key={disk.name}
              label={`${disk.name} (${size(disk.bytes)})`}
              checked={choice.disks.length === 0 || choice.disks.includes(disk.name)}
              onChange={() =>
                choice.disks.length === 0
                  ? change({ disks: point.disks.map((one) => one.name).filter((name) => name !== disk.name) })
                  : toggle(disk.name)
              }
            />
          ))}
        </fieldset>
      )}
    </>
  );
}
