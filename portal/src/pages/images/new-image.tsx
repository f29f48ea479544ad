// A machine becomes the next version of an image: it is stopped for it, and may be made nobody's before.
import {
  Button,
  Checkbox,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Input,
  Radio,
  RadioGroup,
  Select,
} from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { may } from "../../access";
import { client, once, take } from "../../api/client";
import { machines, useMe } from "../../api/queries";
import type { Vault } from "../../api/types";
import { useAct } from "../../parts/done";
import { Trouble } from "../../parts/trouble";

type Stop = "shut_down" | "power_off" | "none";

export function NewImage({ vaults, close }: { vaults: Vault[]; close: () => void }) {
  const me = useMe();
  const all = useQuery(machines);
  const places = vaults.filter((vault) => may(me, "CaptureImage", vault.id));
  const [vault, setVault] = useState(places[0]?.id ?? "");
  const [name, setName] = useState("");
  const [machine, setMachine] = useState("");
  const [stop, setStop] = useState<Stop>("shut_down");
  const [generalize, setGeneralize] = useState(false);
  const [agreed, setAgreed] = useState(false);
  const make = useAct({
    does: () =>
      take(
        client.POST("/v1/vaults/{vault}/images", {
          params: { path: { vault }, header: once() },
          body: { name, machine, stop: stop === "none" ? null : stop, generalize },
        }),
      ),
    told: (accepted) => ({ title: `The image ${name} is being made`, to: `/jobs/${accepted.job}` }),
    changes: ["images"],
    quiet: true,
    then: close,
  });
  // What a guest forgets is gone for ever, so it is said yes to.
  const ready = name !== "" && machine !== "" && vault !== "" && (!generalize || agreed);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (ready && !make.isPending) make.mutate();
  };
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <form onSubmit={submit}>
          <DialogBody>
            <DialogTitle>Make an image</DialogTitle>
            <DialogContent className="stack">
              {make.error && <Trouble error={make.error} />}
              <Field label="Image" required hint="It gets one more version">
                <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={63} spellCheck={false} autoCapitalize="none" />
              </Field>
              <Field label="Of the machine" required>
                <Select value={machine} onChange={(_, data) => setMachine(data.value)}>
                  <option value="">Choose one</option>
                  {(all.data?.items ?? []).map((one) => (
                    <option key={one.id} value={one.id}>
                      {one.name}
                    </option>
                  ))}
                </Select>
              </Field>
              <Field label="In the vault" required>
                <Select value={vault} onChange={(_, data) => setVault(data.value)}>
                  {places.map((one) => (
                    <option key={one.id} value={one.id}>
                      {one.name}
                    </option>
                  ))}
                </Select>
              </Field>
              <Field label="If it runs">
                <RadioGroup value={stop} onChange={(_, data) => setStop(data.value as Stop)}>
                  <Radio value="shut_down" label="Ask its guest to shut down" />
                  <Radio value="power_off" label="Cut its power" />
                  <Radio value="none" label="Do nothing: it must be off" />
                </RadioGroup>
              </Field>
              <Checkbox
                label="Have its guest forget who it is first: host keys, machine id, what cloud-init remembers"
                checked={generalize}
                onChange={(_, data) => setGeneralize(data.checked === true)}
              />
              {generalize && (
                <Checkbox
                  label="That cannot be undone: the machine itself is as good as new afterwards"
                  checked={agreed}
                  onChange={(_, data) => setAgreed(data.checked === true)}
                />
              )}
            </DialogContent>
            <DialogActions>
              <Button type="button" onClick={close}>
                Leave it
              </Button>
              <Button appearance="primary" type="submit" disabled={!ready || make.isPending}>
                {make.isPending ? "Working..." : "Make it"}
              </Button>
            </DialogActions>
          </DialogBody>
        </form>
      </DialogSurface>
    </Dialog>
  );
}
