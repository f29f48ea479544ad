// Where it is to go.
import { Checkbox, Field, Input, Radio, RadioGroup, Select } from "@fluentui/react-components";
import type { Item, Machine, Point } from "../../api/types";
import { size } from "../../words";
import type { Choice, Network } from "./choice";

interface Props {
  item: Item;
  point: Point;
  machine: Machine | undefined;
  choice: Choice;
  change: (part: Partial<Choice>) => void;
}

export function Where({ item, point, machine, choice, change }: Props) {
  if (choice.what === "replace") return <InPlace item={item} machine={machine} choice={choice} change={change} />;
  const wanted = point.disks.filter((disk) => choice.what !== "disks" || choice.disks.length === 0 || choice.disks.includes(disk.name));
  const bytes = wanted.reduce((sum, disk) => sum + disk.bytes, 0);
  return (
    <>
      <h2>Where to?</h2>
      <Field
        label="Folder on the mover's host"
        required
        hint={`New, or there and empty. It needs room for up to ${size(bytes)}.${choice.what === "instant" ? " A short path: it holds sockets." : ""}`}
      >
        <Input
          value={choice.folder}
          onChange={(_, data) => change({ folder: data.value })}
          placeholder={`/srv/restored/${item.name}`}
          spellCheck={false}
          autoCapitalize="none"
        />
      </Field>
      {choice.what === "disks" ? (
        <Field label="As">
          <Select value={choice.format} onChange={(_, data) => change({ format: data.value as Choice["format"] })}>
            <option value="qcow2">qcow2: takes the room of what it holds</option>
            <option value="raw">raw: read by everything</option>
          </Select>
        </Field>
      ) : (
        <NewOne item={item} machine={machine} choice={choice} change={change} />
      )}
    </>
  );
}

function NewOne({ item, machine, choice, change }: Omit<Props, "point">) {
  return (
    <>
      <Field label="Name of the new machine" required>
        <Input value={choice.name} onChange={(_, data) => change({ name: data.value })} spellCheck={false} />
      </Field>
      <Field label="Its network cards are connected to">
        <RadioGroup value={choice.network} onChange={(_, data) => change({ network: data.value as Network })}>
          <Radio value="isolated" label="A network that leads nowhere: it disturbs nobody" />
          <Radio value="disconnected" label="Nothing" />
          <Radio value="keep" label={`The networks that ${item.name} was on`} />
        </RadioGroup>
      </Field>
      {choice.what === "machine" && (
        <Checkbox label="Start it once its disks are there" checked={choice.start} onChange={(_, data) => change({ start: data.checked === true })} />
      )}
      <Checkbox
        label="Give it the same identity: uuid and network addresses"
        checked={choice.keepIdentity}
        onChange={(_, data) => change({ keepIdentity: data.checked === true })}
      />
      {choice.keepIdentity && machine && (
        <p className="warn-text">{item.name} is still there: two machines of one identity disturb each other. Remove the old one first.</p>
      )}
    </>
  );
}

function InPlace({ item, machine, choice, change }: Omit<Props, "point">) {
  return (
    <>
      <h2>In its own place</h2>
      {machine?.state === "running" && (
        <Field label={`${item.name} runs, and must be stopped for it`}>
          <RadioGroup value={choice.stop} onChange={(_, data) => change({ stop: data.value as Choice["stop"] })}>
            <Radio value="shut_down" label="Its guest is asked to shut down" />
            <Radio value="power_off" label="Its power is cut: for a guest that no longer answers" />
          </RadioGroup>
        </Field>
      )}
      <Checkbox
        label="First make a point of its present state (kept for 30 days)"
        checked={choice.safety}
        onChange={(_, data) => change({ safety: data.checked === true })}
      />
      {choice.fromCopy && choice.safety && (
        <p className="faint">
          That point goes to the vault. If the vault is gone, nothing is begun: leave the point out then, the present disks
          are kept all the same.
        </p>
      )}
      <p className="faint">
        The disks are written beside the present ones and then take their names. The present ones stay as
        <code> DISK.before-restore-…</code>, until somebody removes them: the restore can be taken back.
      </p>
    </>
  );
}
