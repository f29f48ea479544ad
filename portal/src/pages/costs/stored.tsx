// Whose the bytes of the vaults' stores are, as they were measured last.
import { Button } from "@fluentui/react-components";
import { useQueries } from "@tanstack/react-query";
import { Link } from "react-router";
import { may } from "../../access";
import { client, once, take } from "../../api/client";
import { usage, useMe } from "../../api/queries";
import type { StoreUsage, Vault } from "../../api/types";
import { Bar } from "../../parts/chart";
import { useAct } from "../../parts/done";
import { Section } from "../../parts/page";
import { Trouble } from "../../parts/trouble";
import { When } from "../../parts/when";
import { count, size, tierName } from "../../words";

/** Of each store, the largest. */
const SHOWN = 12;

export function Stored({ vaults }: { vaults: Vault[] }) {
  const asked = useQueries({ queries: vaults.map((vault) => usage(vault.id)) });
  return vaults.map((vault, index) => {
    const told = asked[index];
    return (
      <Section key={vault.id} title={`Stored in ${vault.name}`} actions={<Measure vault={vault} />}>
        {told?.error && <Trouble error={told.error} again={() => void told.refetch()} />}
        {told?.data?.length === 0 && (
          <p className="faint">It was not measured yet. A vault is measured once a day, after space that is due was given back.</p>
        )}
        {told?.data && told.data.length > 0 && (
          <div className="columns stores">
            {told.data.map((store) => (
              <Store key={store.tier + store.redundancy} vault={vault} store={store} />
            ))}
          </div>
        )}
      </Section>
    );
  });
}

function Measure({ vault }: { vault: Vault }) {
  const me = useMe();
  const act = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/measure", { params: { path: { vault: vault.id }, header: once() } })),
    told: ({ job }) => ({ title: `${vault.name} is measured`, to: `/jobs/${job}` }),
    changes: ["jobs"],
  });
  if (!may(me, "UpdateVault", vault.id)) return null;
  return (
    <Button size="small" disabled={act.isPending} onClick={() => act.mutate()} aria-label={`Measure ${vault.name} now`}>
      Measure now
    </Button>
  );
}

const ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

function Store({ vault, store }: { vault: Vault; store: StoreUsage }) {
  const parts = store.parts.filter((part) => part.share_bytes > 0);
  const most = Math.max(1, ...parts.map((part) => part.share_bytes));
  const rest = parts.slice(SHOWN);
  return (
    <div className="stack">
      <h3>
        {tierName(store.tier, store.redundancy)}: {size(store.stored_bytes)}
      </h3>
      <ul className="bar-list">
        {parts.slice(0, SHOWN).map((part) => (
          <Bar
            key={part.key}
            name={ID.test(part.key) ? <Link className="link" to={`/vaults/${vault.id}/items/${part.key}`}>{part.name}</Link> : <span title={part.name}>{part.name}</span>}
            value={part.share_bytes}
            most={most}
            tone={part.key.startsWith("#") ? "quiet" : undefined}
            said={size(part.share_bytes)}
          />
        ))}
      </ul>
      <p className="faint">
        {rest.length > 0 && `${count(rest.length, "more")} with ${size(rest.reduce((sum, part) => sum + part.share_bytes, 0))}. `}
        What several machines need is divided among them. Measured <When at={store.measured} />.
      </p>
    </div>
  );
}
