// One vault: how it treats what it holds, what in it was deleted, and who may do what.
import { Button, Checkbox, Field, Input, Switch } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { may } from "../access";
import { client, once, problemOf, take } from "../api/client";
import { items, policies, useMe, vault as vaultQuery } from "../api/queries";
import type { Item, Vault as VaultSeen, VaultSettings } from "../api/types";
import { Confirm } from "../parts/confirm";
import { useAct } from "../parts/done";
import { Facts } from "../parts/facts";
import { Loaded, Page, Section } from "../parts/page";
import { State } from "../parts/state";
import { Trouble } from "../parts/trouble";
import { When } from "../parts/when";
import { count, day, ITEM, number } from "../words";
import { People } from "./access/people";
import { scheduleWords } from "./policy/document";
import { Keys } from "./vault/keys";
import { SecondStore } from "./vault/second-store";

/** Machines that are listed here; the list of machines has all. */
const SHOWN = 12;

export default function Vault() {
  const { vault: id = "" } = useParams();
  const me = useMe();
  const asked = useQuery(vaultQuery(id));
  const held = useQuery(items(id));
  const plans = useQuery(policies(id));
  const vault = asked.data;
  const deleted = (held.data ?? []).filter((item) => item.state === "deleted");
  return (
    <Page title={vault?.name ?? "Vault"} above={[["Vaults", "/vaults"]]} actions={vault && <Remove vault={vault} />}>
      <Loaded query={asked} what="the vault">
        {(vault) => (
          <>
            <Facts
              of={[
                ["Where", <code key="where">{vault.location}</code>],
                ["Snapshot tier", vault.settings.snapshot_store ? <code key="snapshots">{vault.settings.snapshot_store}</code> : "none"],
                ["Redundancy", vault.settings.copy ? "Geo: a second store has copies" : "Local: one place"],
                ["Machines", number(vault.items)],
                ["Since", day(vault.created)],
                ["Id", <code key="id">{vault.id}</code>],
              ]}
            />
            <div className="columns">
              <Machines items={(held.data ?? []).filter((item) => item.state !== "deleted")} />
              <Section title="Policies" actions={<Link className="link" to="/policies">All policies</Link>}>
                <Loaded query={plans} what="policies">
                  {(list) =>
                    list.length === 0 ? (
                      <p className="faint">None yet: one is made when machines are protected.</p>
                    ) : (
                      <ul className="rows">
                        {list.map((policy) => (
                          <li key={policy.id}>
                            <Link className="link row-name" to={`/vaults/${id}/policies/${policy.id}`}>{policy.name}</Link>
                            <span className="faint row-end">{scheduleWords(policy.document)}</span>
                          </li>
                        ))}
                      </ul>
                    )
                  }
                </Loaded>
              </Section>
              <Deleted items={deleted} />
              <Settings key={vault.revision} vault={vault} />
            </div>
            <SecondStore vault={vault} />
            <Keys vault={vault} />
            {may(me, "GrantAccess", null) && <People vault={vault} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Machines({ items: list }: { items: Item[] }) {
  return (
    <Section title="Machines" actions={list.length > SHOWN && <Link className="link" to="/machines?standing=protected">All {number(list.length)}</Link>}>
      {list.length === 0 ? (
        <p className="faint">No machine has points in it yet.</p>
      ) : (
        <ul className="rows">
          {list.slice(0, SHOWN).map((item) => (
            <li key={item.id}>
              <Link className="link row-name" to={`/vaults/${item.vault}/items/${item.id}`}>{item.name}</Link>
              <State of={ITEM[item.state]} />
              <span className="faint row-end"><When at={item.last_point} none="no point" /></span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function Deleted({ items: list }: { items: Item[] }) {
  const me = useMe();
  const undelete = useAct({
    does: (item: Item) =>
      take(client.POST("/v1/vaults/{vault}/items/{item}/undelete", { params: { path: { vault: item.vault, item: item.id }, header: once() } })),
    told: (item) => ({ title: `The data of ${item.name} come back`, to: `/vaults/${item.vault}/items/${item.id}` }),
    changes: ["items", "item", "points", "machines", "overview"],
  });
  return (
    <Section title="Deleted">
      {list.length === 0 ? (
        <p className="faint">Nothing that was deleted waits here. What is deleted stays for the days of the soft deletion, and is listed here until then.</p>
      ) : (
        <ul className="rows">
          {list.map((item) => (
            <li key={item.id}>
              <Link className="link row-name" to={`/vaults/${item.vault}/items/${item.id}`}>{item.name}</Link>
              <span className="faint">gone for good {item.purge_at ? <When at={item.purge_at} /> : "later"}</span>
              <span className="row-end">
                {may(me, "Undelete", item.vault) && (
                  <Button size="small" disabled={undelete.isPending} onClick={() => undelete.mutate(item)}>
                    Bring back
                  </Button>
                )}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Section>
  );
}

function Settings({ vault }: { vault: VaultSeen }) {
  const me = useMe();
  const [settings, setSettings] = useState<VaultSettings>(vault.settings);
  const [name, setName] = useState(vault.name);
  const [accepts, setAccepts] = useState(false);
  const writes = may(me, "UpdateVault", vault.id);
  const save = useAct({
    does: () =>
      take(
        client.PATCH("/v1/vaults/{vault}", {
          params: { path: { vault: vault.id }, header: once() },
          body: { name, settings, revision: vault.revision, accept_loss: accepts },
        }),
      ),
    told: () => ({ title: "The vault is changed" }),
    changes: ["vaults", "items"],
    quiet: true,
  });
  const set = (part: Partial<VaultSettings>) => setSettings({ ...settings, ...part });
  const changed = name !== vault.name || JSON.stringify(settings) !== JSON.stringify(vault.settings);
  const loses = save.error !== null && problemOf(save.error).code === "conflict";
  return (
    <Section title="Settings">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <fieldset disabled={!writes} className="stack bare">
          <Field label="Name">
            <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={64} disabled={!writes} />
          </Field>
          <Field label="Days that what was deleted can be brought back" hint="14 to 180">
            <Input
              className="number"
              inputMode="numeric"
              disabled={!writes}
              value={String(settings.soft_delete_days ?? 14)}
              onChange={(_, data) => /^\d{0,3}$/.test(data.value) && set({ soft_delete_days: Number(data.value) })}
            />
          </Field>
          <Switch
            label="Immutable: nothing may be lost sooner than was promised"
            disabled={!writes}
            checked={settings.immutable ?? false}
            onChange={(_, data) => set({ immutable: data.checked })}
          />
          <Switch
            label="Keep everything: no point expires, whatever its policy says"
            disabled={!writes}
            checked={settings.keep_everything ?? false}
            onChange={(_, data) => set({ keep_everything: data.checked })}
          />
        </fieldset>
        {save.error && <Trouble error={save.error} />}
        {loses && <Checkbox label="Do so although points are lost by it" checked={accepts} onChange={(_, data) => setAccepts(data.checked === true)} />}
        {writes && (
          <div className="actions">
            <Button type="submit" appearance="primary" disabled={!changed || save.isPending}>
              {save.isPending ? "Saving..." : "Save"}
            </Button>
          </div>
        )}
      </form>
    </Section>
  );
}

function Remove({ vault }: { vault: VaultSeen }) {
  const me = useMe();
  const navigate = useNavigate();
  const [asks, setAsks] = useState(false);
  const remove = useAct({
    does: () => take(client.DELETE("/v1/vaults/{vault}", { params: { path: { vault: vault.id }, header: once() } })),
    told: (gone) => ({ title: `${vault.name} is forgotten`, body: gone.note }),
    changes: ["overview", "vaults"],
    quiet: true,
    then: () => void navigate("/vaults"),
  });
  if (!may(me, "DeleteVault", vault.id)) return null;
  return (
    <>
      <Button onClick={() => setAsks(true)}>Forget this vault</Button>
      <Confirm open={asks} close={() => setAsks(false)} title={`Forget ${vault.name}`} action="Forget it" danger typed={vault.name} busy={remove.isPending} error={remove.error} act={() => remove.mutate()}>
        <p>
          The server no longer knows it. {vault.items > 0 && `It refuses while ${count(vault.items, "machine")} have something in it. `}
          Its data stay where they are, and with its key it can be taken in again.
        </p>
      </Confirm>
    </>
  );
}
