// Machines of an image: what they are called, where they go.
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
import { client, once, take } from "../../api/client";
import { hosts } from "../../api/queries";
import type { Image } from "../../api/types";
import { useAct } from "../../parts/done";
import { Trouble } from "../../parts/trouble";

/** As the API allows. */
const MOST = 1000;

export function CreateMachines({ image, close }: { image: Image; close: () => void }) {
  const all = useQuery(hosts);
  const [name, setName] = useState(`${image.name}-{}`);
  const [number, setNumber] = useState("1");
  const [first, setFirst] = useState("1");
  const [host, setHost] = useState("");
  const [folder, setFolder] = useState("");
  const [start, setStart] = useState(true);
  // How their disks come to the host: three ways that exclude each other.
  const [disks, setDisks] = useState("shared");
  const meant = host || all.data?.[0]?.id || "";
  const ofLibvirt = all.data?.find((one) => one.id === meant)?.address !== "local";
  // Chosen before they were not to be started, or for another host, it does not count.
  const atOnce = disks === "at_once" && start && !ofLibvirt;
  const make = useAct({
    does: () =>
      take(
        client.POST("/v1/vaults/{vault}/images/{image}/machines", {
          params: { path: { vault: image.vault, image: image.id }, header: once() },
          body: { name, count: Number(number), first: Number(first), host: meant, folder, start, full: disks === "full", at_once: atOnce },
        }),
      ),
    told: (accepted) => ({ title: `Machines of ${image.name}:${image.version} are being made`, to: `/jobs/${accepted.job}` }),
    changes: ["images", "machines"],
    quiet: true,
    then: close,
  });
  const ready = name.trim() !== "" && folder.startsWith("/") && meant !== "";
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (ready && !make.isPending) make.mutate();
  };
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <form onSubmit={submit}>
          <DialogBody>
            <DialogTitle>
              Create machines of {image.name}:{image.version}
            </DialogTitle>
            <DialogContent className="stack">
              {make.error && <Trouble error={make.error} />}
              {!image.generalised && (
                <p role="note">This version is not known to be nobody's: the machines share what was found on it.</p>
              )}
              <Field label="Name" required hint="{} becomes the number; their guests are called so too">
                <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={63} spellCheck={false} />
              </Field>
              <Field label="How many" required>
                <Input type="number" min={1} max={MOST} value={number} onChange={(_, data) => setNumber(data.value)} />
              </Field>
              <Field label="First number">
                <Input type="number" min={0} value={first} onChange={(_, data) => setFirst(data.value)} />
              </Field>
              <Field label="Host" required>
                <Select value={meant} onChange={(_, data) => setHost(data.value)}>
                  {(all.data ?? []).map((one) => (
                    <option key={one.id} value={one.id}>
                      {one.name}
                    </option>
                  ))}
                </Select>
              </Field>
              <Field label="Folder on the host" required hint="Each gets a folder of its name in it, and the image a copy that they share">
                <Input value={folder} onChange={(_, data) => setFolder(data.value)} placeholder="/srv/web" spellCheck={false} autoCapitalize="none" />
              </Field>
              <Checkbox label="Start them" checked={start} onChange={(_, data) => setStart(data.checked === true)} />
              <Field label="Their disks">
                <RadioGroup value={disks === "at_once" && !atOnce ? "shared" : disks} onChange={(_, data) => setDisks(data.value)}>
                  <Radio value="shared" label="Share a copy of the image, which is brought to the host first" />
                  <Radio
                    value="at_once"
                    disabled={!start || ofLibvirt}
                    label="Share a copy that follows while they run: they start at once. Of QEMU's own machines only"
                  />
                  <Radio value="full" label="Copy all of the image for each, so that each stands alone" />
                </RadioGroup>
              </Field>
            </DialogContent>
            <DialogActions>
              <Button type="button" onClick={close}>
                Leave it
              </Button>
              <Button appearance="primary" type="submit" disabled={!ready || make.isPending}>
                {make.isPending ? "Working..." : "Create them"}
              </Button>
            </DialogActions>
          </DialogBody>
        </form>
      </DialogSurface>
    </Dialog>
  );
}
