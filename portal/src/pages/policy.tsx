// One policy: what it says, a year of it as a picture, and what a change would do before it does.
import { Button, Field, Input, Select } from "@fluentui/react-components";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useParams } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { items, useMe, vaults } from "../api/queries";
import type { Policy as PolicySeen, PolicyDocument } from "../api/types";
import { Changes } from "../parts/changes";
import { Confirm } from "../parts/confirm";
import { useAct } from "../parts/done";
import { Loaded, Page, Section } from "../parts/page";
import { Trouble } from "../parts/trouble";
import { count } from "../words";
import { first, keepWords, scheduleWords } from "./policy/document";
import { PolicyForm } from "./policy/form";
import { Preview } from "./policy/preview";

const CHANGED = ["policies", "policy", "items", "points", "forecast"];

export default function Policy() {
  const { vault = "", policy = "" } = useParams();
  return policy === "new" ? <NewOne vault={vault} /> : <Existing key={policy} vault={vault} id={policy} />;
}

function NewOne({ vault: given }: { vault: string }) {
  const me = useMe();
  const navigate = useNavigate();
  const places = useQuery(vaults);
  const [vault, setVault] = useState(given);
  const [name, setName] = useState("");
  const [document, setDocument] = useState<PolicyDocument>(first);
  const make = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/policies", { params: { path: { vault }, header: once() }, body: { name, document } })),
    told: (policy) => ({ title: `${policy.name} is made` }),
    changes: CHANGED,
    quiet: true,
    then: (policy) => void navigate(`/vaults/${policy.vault}/policies/${policy.id}`),
  });
  const mine = (places.data ?? []).filter((one) => may(me, "WritePolicy", one.id));
  return (
    <Page title="Make a policy" above={[["Policies", "/policies"]]}>
      <div className="two">
        <section className="section stack form" aria-label="The policy">
          {make.error && <Trouble error={make.error} />}
          <Field label="Name" required>
            <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={64} />
          </Field>
          {mine.length > 1 && (
            <Field label="Vault">
              <Select value={vault} onChange={(_, data) => setVault(data.value)}>
                {mine.map((one) => (
                  <option key={one.id} value={one.id}>
                    {one.name}
                  </option>
                ))}
              </Select>
            </Field>
          )}
          <PolicyForm document={document} change={setDocument} hasSnapshots={hasSnapshots(mine, vault)} />
          <div className="actions">
            <Button appearance="primary" disabled={!name.trim() || make.isPending} onClick={() => make.mutate()}>
              {make.isPending ? "Making..." : "Make it"}
            </Button>
          </div>
        </section>
        <Section title="A year with it">
          <Preview vault={vault} document={document} />
        </Section>
      </div>
    </Page>
  );
}

const hasSnapshots = (all: { id: string; settings: { snapshot_store?: string | null } }[], id: string) =>
  Boolean(all.find((one) => one.id === id)?.settings.snapshot_store);

function Existing({ vault, id }: { vault: string; id: string }) {
  const asked = useQuery({
    queryKey: ["policy", vault, id],
    refetchOnWindowFocus: false,
    queryFn: () => take(client.GET("/v1/vaults/{vault}/policies/{policy}", { params: { path: { vault, policy: id } } })),
  });
  const policy = asked.data;
  return (
    <Page
      title={policy?.name ?? "Policy"}
      above={[["Policies", "/policies"]]}
      about={policy && `Backs up ${scheduleWords(policy.document)}; keeps ${keepWords(policy.document)}.`}
      actions={policy && <Remove policy={policy} />}
    >
      <Loaded query={asked} what="the policy">
        {(policy) => <Edit key={policy.revision} policy={policy} />}
      </Loaded>
    </Page>
  );
}

function Edit({ policy }: { policy: PolicySeen }) {
  const me = useMe();
  const places = useQuery(vaults);
  const held = useQuery(items(policy.vault));
  const [name, setName] = useState(policy.name);
  const [document, setDocument] = useState(policy.document);
  const writes = may(me, "WritePolicy", policy.vault);
  const [asks, setAsks] = useState(false);
  const params = () => ({ path: { vault: policy.vault, policy: policy.id }, header: once() });
  const tried = useMutation({
    mutationFn: () =>
      take(client.POST("/v1/vaults/{vault}/policies/{policy}/dry-run", { params: params(), body: { name, document, revision: policy.revision } })),
    onSuccess: () => setAsks(true),
  });
  const lost = tried.data?.lost ?? 0;
  const save = useAct({
    does: () =>
      take(
        client.PUT("/v1/vaults/{vault}/policies/{policy}", {
          params: params(),
          body: { name, document, revision: policy.revision, accept_loss: lost > 0 },
        }),
      ),
    told: () => ({ title: `${name} is changed` }),
    changes: CHANGED,
    quiet: true,
    then: () => setAsks(false),
  });
  const changed = name !== policy.name || JSON.stringify(document) !== JSON.stringify(policy.document);
  const under = (held.data ?? []).filter((item) => item.policy === policy.id).length;
  return (
    <div className="two">
      {writes && (
        <section className="section stack form" aria-label="The policy">
          <Field label="Name" required>
            <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={64} />
          </Field>
          <PolicyForm document={document} change={setDocument} hasSnapshots={hasSnapshots(places.data ?? [], policy.vault)} />
          {tried.error && <Trouble error={tried.error} />}
          <div className="actions">
            <Button appearance="primary" disabled={!changed || !name.trim() || tried.isPending} onClick={() => tried.mutate()}>
              {tried.isPending ? "Counting..." : "See what would change"}
            </Button>
            {changed && (
              <Button
                onClick={() => {
                  setName(policy.name);
                  setDocument(policy.document);
                }}
              >
                As it was
              </Button>
            )}
          </div>
        </section>
      )}
      <Section title="A year with it">
        <Preview vault={policy.vault} document={document} />
        <p className="faint">{count(under, "machine")} under it.</p>
      </Section>
      <Confirm
        open={asks}
        close={() => setAsks(false)}
        title={`Change ${policy.name}`}
        action="Change it"
        danger={lost > 0}
        typed={lost > 0 ? policy.name : undefined}
        busy={save.isPending}
        error={save.error}
        disabled={tried.data?.allowed === false}
        act={() => save.mutate()}
      >
        <p>What becomes of the points of {count(under, "machine")}:</p>
        {tried.data && <Changes of={tried.data} />}
      </Confirm>
    </div>
  );
}

function Remove({ policy }: { policy: PolicySeen }) {
  const me = useMe();
  const navigate = useNavigate();
  const [asks, setAsks] = useState(false);
  const remove = useAct({
    does: () => take(client.DELETE("/v1/vaults/{vault}/policies/{policy}", { params: { path: { vault: policy.vault, policy: policy.id }, header: once() } })),
    told: () => ({ title: `${policy.name} is removed` }),
    changes: ["policies"],
    quiet: true,
    then: () => void navigate("/policies"),
  });
  if (!may(me, "WritePolicy", policy.vault)) return null;
  return (
    <>
      <Button onClick={() => setAsks(true)}>Remove</Button>
      <Confirm open={asks} close={() => setAsks(false)} title={`Remove ${policy.name}`} action="Remove it" danger typed={policy.name} busy={remove.isPending} error={remove.error} act={() => remove.mutate()}>
        <p>Only a policy that no machine is under can be removed. No point is touched by it.</p>
      </Confirm>
    </>
  );
}
