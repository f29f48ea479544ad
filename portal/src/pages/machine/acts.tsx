// What can be done with a machine: back up, restore, stop, resume, bring back, another policy.
import {
  Button,
  Checkbox,
  Field,
  Input,
  Menu,
  MenuItem,
  MenuList,
  MenuPopover,
  MenuTrigger,
  Radio,
  RadioGroup,
  Select,
} from "@fluentui/react-components";
import { ArrowUndoRegular, MoreHorizontalRegular, PlayCircleRegular } from "../../icons";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { may } from "../../access";
import { client, once, problemOf, take } from "../../api/client";
import { policies, useMe } from "../../api/queries";
import type { DryRun, Item, Point } from "../../api/types";
import { Changes } from "../../parts/changes";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { count, instant } from "../../words";

const CHANGES = ["item", "items", "points", "machine", "machines", "overview", "forecast", "jobs"];
/** As the server takes it. */
const KEEP_DAYS = 30;

type Open = "backup" | "stop" | "resume" | "undelete" | "policy" | null;

export function Acts({ item, points }: { item: Item; points: Point[] }) {
  const me = useMe();
  const navigate = useNavigate();
  const [open, setOpen] = useState<Open>(null);
  const can = (action: Parameters<typeof may>[1]) => may(me, action, item.vault);
  const held = item.state === "protected" || item.state === "awaits_first" || item.state === "in_error";
  const close = () => setOpen(null);
  const more: [string, Open][] = [];
  if (held && can("ChangeProtection")) more.push(["Change the policy", "policy"]);
  if (item.state === "stopped" && can("Protect")) more.push(["Resume protection", "resume"]);
  if ((held || item.state === "stopped") && can("StopAndKeep")) more.push([held ? "Stop protection" : "Delete its data", "stop"]);
  if (item.state === "deleted" && can("Undelete")) more.push(["Bring its data back", "undelete"]);
  const snapshot = can("BackUp") && item.state !== "deleted";
  const restorable = points.some((point) => !point.purge_at);
  return (
    <>
      {held && can("BackUp") && (
        <Button icon={<PlayCircleRegular />} onClick={() => setOpen("backup")}>
          Back up now
        </Button>
      )}
      {restorable && can("Restore") && (
        <Button
          appearance="primary"
          icon={<ArrowUndoRegular />}
          onClick={() => void navigate(`/vaults/${item.vault}/items/${item.id}/restore`)}
        >
          Restore
        </Button>
      )}
      {(more.length > 0 || snapshot) && (
        <Menu>
          <MenuTrigger disableButtonEnhancement>
            <Button icon={<MoreHorizontalRegular />} aria-label="More acts" />
          </MenuTrigger>
          <MenuPopover>
            <MenuList>
              {snapshot && (
                <MenuItem onClick={() => void navigate("/snapshots/new", { state: { machines: [item.machine] } })}>Take a snapshot</MenuItem>
              )}
              {more.map(([name, what]) => (
                <MenuItem key={name} onClick={() => setOpen(what)}>
                  {name}
                </MenuItem>
              ))}
            </MenuList>
          </MenuPopover>
        </Menu>
      )}
      <BackUp item={item} open={open === "backup"} close={close} />
      <Stop item={item} points={points} open={open === "stop"} close={close} />
      <Resume item={item} open={open === "resume"} close={close} />
      <ChangePolicy item={item} open={open === "policy"} close={close} />
      <Undelete item={item} open={open === "undelete"} close={close} />
    </>
  );
}

interface DialogProps {
  item: Item;
  open: boolean;
  close: () => void;
}

const where = (item: Item) => ({ path: { vault: item.vault, item: item.id }, header: once() });

function BackUp({ item, open, close }: DialogProps) {
  const [days, setDays] = useState(String(KEEP_DAYS));
  const [full, setFull] = useState(false);
  const act = useAct({
    does: () =>
      take(
        client.POST("/v1/vaults/{vault}/items/{item}/backup", { params: where(item), body: { full, keep_days: Number(days) } }),
      ),
    told: ({ job }) => ({ title: `The backup of ${item.name} is asked for`, to: `/jobs/${job}` }),
    changes: CHANGES,
    quiet: true,
    then: close,
  });
  const good = /^\d+$/.test(days) && Number(days) >= 1;
  return (
    <Confirm
      open={open}
      close={close}
      title={`Back ${item.name} up now`}
      action="Back up"
      busy={act.isPending}
      error={act.error}
      disabled={!good}
      act={() => act.mutate()}
    >
      <p>The machine runs on. Its disks are frozen at one instant, and what changed since the last point is stored.</p>
      <Field label="Keep the point for so many days" validationState={good ? "none" : "error"} validationMessage={good ? undefined : "A number of days, 1 or more"}>
        <Input value={days} onChange={(_, data) => setDays(data.value)} inputMode="numeric" />
      </Field>
      <Checkbox
        label="Read everything, even where it is known what changed"
        checked={full}
        onChange={(_, data) => setFull(data.checked === true)}
      />
    </Confirm>
  );
}

function Stop({ item, points, open, close }: DialogProps & { points: Point[] }) {
  const me = useMe();
  const stopped = item.state === "stopped";
  const [how, setHow] = useState(stopped ? "delete" : "forever");
  const [reason, setReason] = useState("");
  const act = useAct({
    does: () =>
      take(
        client.POST("/v1/vaults/{vault}/items/{item}/stop", {
          params: where(item),
          body:
            how === "delete"
              ? { data: "delete", reason: reason || null }
              : { data: "keep", keep: how === "forever" ? "forever" : "by_policy", reason: reason || null },
        }),
      ),
    told: () => ({ title: how === "delete" ? `The data of ${item.name} are deleted` : `Protection of ${item.name} is stopped` }),
    changes: CHANGES,
    quiet: true,
    then: close,
  });
  const deletes = how === "delete";
  const live = points.filter((point) => !point.purge_at).length;
  return (
    <Confirm
      open={open}
      close={close}
      title={stopped ? `Delete the data of ${item.name}` : `Stop the protection of ${item.name}`}
      action={deletes ? "Delete its data" : "Stop"}
      danger={deletes}
      typed={deletes ? item.name : undefined}
      busy={act.isPending}
      error={act.error}
      act={() => act.mutate()}
    >
      <p>{stopped ? "It is not backed up any more." : "No backup is made of it from now on."} What becomes of its {count(live, "point")}?</p>
      <RadioGroup value={how} onChange={(_, data) => setHow(data.value)} aria-label="What becomes of its points">
        {!stopped && <Radio value="forever" label="All stay until somebody says otherwise" />}
        {!stopped && <Radio value="by_policy" label="They expire as its policy says; the newest stays" />}
        {may(me, "DeleteData", item.vault) && <Radio value="delete" label="They are deleted" />}
      </RadioGroup>
      {deletes && (
        <p>
          All {count(live, "point")} of {item.name} are deleted. For the days of the vault&apos;s soft deletion they can be
          brought back; after that nobody can.
        </p>
      )}
      <Field label="Why" hint="Goes into the audit log">
        <Input value={reason} onChange={(_, data) => setReason(data.value)} />
      </Field>
    </Confirm>
  );
}

function PolicyChoice({ item, value, choose }: { item: Item; value: string; choose: (id: string) => void }) {
  const all = useQuery(policies(item.vault));
  return (
    <Field label="Policy">
      <Select value={value} onChange={(_, data) => choose(data.value)}>
        <option value="">Choose one</option>
        {all.data?.map((policy) => (
          <option key={policy.id} value={policy.id}>
            {policy.name}
            {policy.id === item.policy ? " (as it is)" : ""}
          </option>
        ))}
      </Select>
    </Field>
  );
}

function Resume({ item, open, close }: DialogProps) {
  const [policy, setPolicy] = useState("");
  const [accepts, setAccepts] = useState(false);
  const act = useAct({
    does: () =>
      take(
        client.POST("/v1/vaults/{vault}/items/{item}/resume", { params: where(item), body: { policy, accept_loss: accepts } }),
      ),
    told: () => ({ title: `${item.name} is protected again` }),
    changes: CHANGES,
    quiet: true,
    then: close,
  });
  const loses = act.error !== null && problemOf(act.error).code === "conflict";
  return (
    <Confirm
      open={open}
      close={close}
      title={`Protect ${item.name} again`}
      action="Resume"
      busy={act.isPending}
      error={act.error}
      disabled={!policy}
      act={() => act.mutate()}
    >
      <p>It is backed up by the policy again, and its points expire as that says.</p>
      <PolicyChoice item={item} value={policy} choose={setPolicy} />
      {loses && (
        <Checkbox
          label="Do so although points are lost by it"
          checked={accepts}
          onChange={(_, data) => setAccepts(data.checked === true)}
        />
      )}
    </Confirm>
  );
}

function ChangePolicy({ item, open, close }: DialogProps) {
  const [policy, setPolicy] = useState("");
  const change = (body: { dry_run?: boolean; accept_loss?: boolean }) =>
    take(client.PATCH("/v1/vaults/{vault}/items/{item}", { params: where(item), body: { ...body, policy } }));
  const tried = useMutation({ mutationFn: async () => (await change({ dry_run: true })) as DryRun });
  const act = useAct({
    does: () => change({ accept_loss: (tried.data?.lost ?? 0) > 0 }),
    told: () => ({ title: `${item.name} is under another policy` }),
    changes: CHANGES,
    quiet: true,
    then: close,
  });
  const lost = tried.data?.lost ?? 0;
  return (
    <Confirm
      open={open}
      close={close}
      title={`Another policy for ${item.name}`}
      action={tried.data ? "Change it" : "See what would change"}
      busy={act.isPending || tried.isPending}
      error={act.error ?? tried.error}
      disabled={!policy || policy === item.policy || tried.data?.allowed === false}
      danger={lost > 0}
      typed={lost > 0 ? item.name : undefined}
      act={() => (tried.data ? act.mutate() : tried.mutate())}
    >
      <PolicyChoice
        item={item}
        value={policy}
        choose={(id) => {
          setPolicy(id);
          tried.reset();
        }}
      />
      {tried.data && <Changes of={tried.data} />}
    </Confirm>
  );
}

function Undelete({ item, open, close }: DialogProps) {
  const act = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/items/{item}/undelete", { params: where(item) })),
    told: () => ({ title: `The data of ${item.name} come back`, body: "Its points are there as soon as a mover has brought them back." }),
    changes: CHANGES,
    quiet: true,
    then: close,
  });
  return (
    <Confirm open={open} close={close} title={`Bring the data of ${item.name} back`} action="Bring back" busy={act.isPending} error={act.error} act={() => act.mutate()}>
      <p>
        Its deleted points can be restored again, and stay until somebody says otherwise. It is not backed up by itself
        until its protection is resumed.
        {item.purge_at && ` This can be done until ${instant(item.purge_at)}.`}
      </p>
    </Confirm>
  );
}
