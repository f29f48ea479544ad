// A vault, made or taken in. Its keys are shown once: the page does not go on before they are kept.
import { Button, Checkbox, Field, Input, Radio, RadioGroup, Textarea } from "@fluentui/react-components";
import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router";
import { client, once, take } from "../api/client";
import type { VaultMade } from "../api/types";
import { useAct } from "../parts/done";
import { Page } from "../parts/page";
import { Shown } from "../parts/shown";
import { Trouble } from "../parts/trouble";

export default function NewVault() {
  const [name, setName] = useState("main");
  const [location, setLocation] = useState("");
  const [snapshots, setSnapshots] = useState("");
  const [days, setDays] = useState("14");
  const [adopts, setAdopts] = useState(false);
  const [key, setKey] = useState("");
  const [archive, setArchive] = useState("");
  const make = useAct({
    does: () => {
      const store = adopts && archive.trim() ? { archive: { location: archive.trim() } } : {};
      const settings = { soft_delete_days: Number(days), snapshot_store: snapshots.trim() || null, ...store };
      const body = { name, location, settings, ...(adopts ? { adopt: true, key } : {}) };
      return take(client.POST("/v1/vaults", { params: { header: once() }, body }));
    },
    changes: ["vaults", "overview", "items", "machines"],
    quiet: true,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate();
  };
  if (make.data) return <Made made={make.data} />;
  const good = name.trim() && location.trim() && Number(days) >= 14 && Number(days) <= 180 && (!adopts || key.trim());
  return (
    <Page title="Make a vault" above={[["Vaults", "/vaults"]]}>
      <form className="section stack form" onSubmit={submit}>
        {make.error && <Trouble error={make.error} />}
        <RadioGroup value={adopts ? "adopt" : "new"} onChange={(_, data) => setAdopts(data.value === "adopt")} aria-label="New or existing">
          <Radio value="new" label="A new vault" />
          <Radio value="adopt" label="Take in a vault that is there, with all its points" />
        </RadioGroup>
        <Field label="Name" required>
          <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={64} />
        </Field>
        <Field label="Where" required hint="A folder on the server, as /srv/vault; or s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX">
          <Input value={location} onChange={(_, data) => setLocation(data.value)} spellCheck={false} autoCapitalize="none" placeholder="/srv/vault" />
        </Field>
        {adopts && (
          <Field label="The text of a key file that opens it" required>
            <Textarea value={key} onChange={(_, data) => setKey(data.value)} rows={4} spellCheck={false} />
          </Field>
        )}
        {adopts && (
          <Field label="Archive store" hint="Where points were moved to that are kept for years. Empty: where the vault itself says it is.">
            <Input value={archive} onChange={(_, data) => setArchive(data.value)} spellCheck={false} autoCapitalize="none" placeholder="s3://BUCKET/PREFIX" />
          </Field>
        )}
        <Field label="Snapshot tier" hint="A folder beside the hosts for the last days' points: restored from fast. Empty: backups go to the vault directly.">
          <Input value={snapshots} onChange={(_, data) => setSnapshots(data.value)} spellCheck={false} autoCapitalize="none" />
        </Field>
        <Field label="Days that what was deleted can be brought back" hint="14 to 180">
          <Input value={days} onChange={(_, data) => setDays(data.value)} inputMode="numeric" className="number" />
        </Field>
        <div className="actions">
          <Button type="submit" appearance="primary" disabled={!good || make.isPending}>
            {make.isPending ? "Working..." : adopts ? "Take it in" : "Make it"}
          </Button>
        </div>
      </form>
    </Page>
  );
}

function Made({ made }: { made: VaultMade }) {
  const navigate = useNavigate();
  const [kept, setKept] = useState(false);
  const secret = Boolean(made.key ?? made.recovery_key);
  return (
    <Page title={secret ? "Keep these keys" : `${made.vault.name} is taken in`} above={[["Vaults", "/vaults"]]}>
      <div className="section stack">
        {secret && (
          <p>
            <strong>They are not shown again.</strong> Whoever has one of them and the vault can bring everything back, here or
            on an empty host. Without them, and without this server, nobody can: keep them elsewhere.
          </p>
        )}
        {made.key && <Shown title="The key file" text={made.key} note="Keep it as a file, away from the vault." />}
        {made.recovery_key && <Shown title="The recovery key" text={made.recovery_key} note="To be written down on paper." />}
        {[...(made.lost ?? []), ...(made.advice ?? [])].map((line) => (
          <p key={line}>{line}</p>
        ))}
        {secret && <Checkbox label="I have kept them elsewhere" checked={kept} onChange={(_, data) => setKept(data.checked === true)} />}
        <div className="actions">
          <Button appearance="primary" disabled={secret && !kept} onClick={() => void navigate("/protect")}>
            Protect machines
          </Button>
          <Button disabled={secret && !kept} onClick={() => void navigate(`/vaults/${made.vault.id}`)}>
            See the vault
          </Button>
        </div>
      </div>
    </Page>
  );
}
