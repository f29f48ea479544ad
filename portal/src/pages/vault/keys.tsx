// A vault's keys: what opens it, what each is for, and a new data key for what is written from now on.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { may } from "../../access";
import { client, once, take } from "../../api/client";
import { useMe } from "../../api/queries";
import type { KeyHolder, Vault, VaultKeys } from "../../api/types";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { Loaded, Section } from "../../parts/page";
import { State } from "../../parts/state";
import { count, day } from "../../words";

const KIND: Record<string, string> = {
  "key-file": "Key file",
  passphrase: "Passphrase",
  "recovery-key": "Recovery key",
};

const FOR: Record<string, string> = {
  "key-file": "Whoever has the file opens the vault with it",
  passphrase: "Whoever knows it opens the vault with it",
  "recovery-key": "On paper, for the day when all other keys are lost",
};

export function Keys({ vault }: { vault: Vault }) {
  const me = useMe();
  const [asks, setAsks] = useState(false);
  const keys = useQuery({
    queryKey: ["keys", vault.id],
    queryFn: () => take(client.GET("/v1/vaults/{vault}/keys", { params: { path: { vault: vault.id } } })),
    // The store is asked each time, and it may be far.
    retry: false,
  });
  const rotates = keys.data?.epoch != null && may(me, "RotateKey", vault.id);
  return (
    <Section title="Keys" actions={rotates && <Button size="small" onClick={() => setAsks(true)}>New data key</Button>}>
      <Loaded query={keys} what="keys">
        {(keys) => (
          <>
            <Standing keys={keys} />
            <div className="table-scroll" tabIndex={0} role="region" aria-label="Keys that open the vault">
              <table className="table">
                <thead>
                  <tr>
                    <th>Key</th>
                    <th>What it is for</th>
                    <th className="wide">Added</th>
                    <th className="wide">Id</th>
                  </tr>
                </thead>
                <tbody>
                  {keys.holders.map((holder) => (
                    <One key={holder.id} holder={holder} />
                  ))}
                </tbody>
              </table>
            </div>
            <p className="faint">
              Any one of these opens everything in the vault. Keys are added and taken out where they are, with{" "}
              <code>strongroom rescue key</code> on a host that has one of them.
            </p>
          </>
        )}
      </Loaded>
      <Rotate vault={vault} open={asks} close={() => setAsks(false)} />
    </Section>
  );
}

function Standing({ keys }: { keys: VaultKeys }) {
  if (keys.epoch == null) return <State of={["This server's key is not among them: it can neither back up nor restore", "bad"]} />;
  const older = (keys.epochs ?? 1) - 1;
  return (
    <p>
      What is written now is sealed under data key {keys.epoch}.
      {older > 0 && ` ${count(older, "older data key")} ${older === 1 ? "opens" : "open"} what was written before.`}
    </p>
  );
}

function One({ holder }: { holder: KeyHolder }) {
  return (
    <tr>
      <td className="strong">
        {KIND[holder.kind] ?? holder.kind}
        {holder.label && ` (${holder.label})`}
      </td>
      <td>{holder.is_servers ? "This server and its movers back up and restore with it" : (FOR[holder.kind] ?? "Opens the vault")}</td>
      <td className="wide nowrap">{day(holder.added)}</td>
      <td className="wide">
        <code>{holder.id}</code>
      </td>
    </tr>
  );
}

function Rotate({ vault, open, close }: { vault: Vault; open: boolean; close: () => void }) {
  const act = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/keys/rotate", { params: { path: { vault: vault.id }, header: once() } })),
    told: () => ({ title: `${vault.name} has a new data key` }),
    changes: ["keys"],
    quiet: true,
    then: close,
  });
  return (
    <Confirm open={open} close={close} title={`A new data key for ${vault.name}`} action="Make it" busy={act.isPending} error={act.error} act={() => act.mutate()}>
      <p>
        What is written from now on is sealed under a new key. What is in the vault stays as it is, and every key in the list
        goes on opening all of it: nothing has to be printed or handed out anew, and backups that run are not disturbed.
      </p>
      <p>
        It helps when a key was in wrong hands: take that key out first, with <code>strongroom rescue key remove</code>. What
        it could open until now it may have read; what is written afterwards is closed to it. It cannot be taken back.
      </p>
    </Confirm>
  );
}
