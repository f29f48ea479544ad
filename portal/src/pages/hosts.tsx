// Hosts that run machines, and the movers that reach them.
import { Button, Dialog, DialogActions, DialogBody, DialogContent, DialogSurface, DialogTitle, Field, Input, Radio, RadioGroup } from "@fluentui/react-components";
import { AddRegular, DeleteRegular, LinkAddRegular } from "../icons";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useSearchParams } from "react-router";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { hosts, movers, useMe } from "../api/queries";
import type { Host } from "../api/types";
import { Confirm } from "../parts/confirm";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { Loaded, Page, Section } from "../parts/page";
import { Shown } from "../parts/shown";
import { State } from "../parts/state";
import { Trouble } from "../parts/trouble";
import { useNow, When } from "../parts/when";

/** A mover asks for work more often than this. */
const AWAY_MS = 60_000;

export default function Hosts() {
  const all = useQuery(hosts);
  const me = useMe();
  const [search, setSearch] = useSearchParams();
  const [going, setGoing] = useState<Host | null>(null);
  const adds = search.has("add");
  const remove = useAct({
    does: (host: Host) => take(client.DELETE("/v1/hosts/{host}", { params: { path: { host: host.id }, header: once() } })),
    told: (_, host) => ({ title: `${host.name} is forgotten` }),
    changes: ["hosts", "machines"],
    quiet: true,
    then: () => setGoing(null),
  });
  const add = may(me, "RegisterHost", null) && (
    <Button icon={<AddRegular />} appearance="primary" onClick={() => setSearch({ add: "" })}>
      Add a host
    </Button>
  );
  return (
    <Page title="Hosts" about="Hosts run machines, which are found by themselves. A mover speaks with each: the server's own, or one that joined." actions={add}>
      <Loaded query={all} what="hosts">
        {(list) =>
          list.length === 0 ? (
            <Empty title="No host yet" action={add}>
              Begin with the host that this server runs on, if it runs machines. For others, make a token below and run{" "}
              <code>strongroom mover join</code> there.
            </Empty>
          ) : (
            <div className="table-scroll">
              <table className="table">
                <thead>
                  <tr>
                    <th>Name</th>
                    <th>Address</th>
                    <th>Mover</th>
                    <th>Machines told of</th>
                    <th aria-label="Acts" />
                  </tr>
                </thead>
                <tbody>
                  {list.map((host) => (
                    <tr key={host.id}>
                      <td className="strong">{host.name}</td>
                      <td>
                        <code>{host.address}</code>
                      </td>
                      <td>{host.mover}</td>
                      <td>
                        <When at={host.seen} none="not yet" />
                      </td>
                      <td className="end">
                        {may(me, "UnregisterHost", null) && (
                          <Button appearance="subtle" icon={<DeleteRegular />} aria-label={`Forget ${host.name}`} onClick={() => setGoing(host)} />
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      {may(me, "View", null) && <Movers />}
      <AddHost open={adds} close={() => setSearch({}, { replace: true })} />
      <Confirm
        open={going !== null}
        close={() => {
          remove.reset();
          setGoing(null);
        }}
        title={`Forget ${going?.name}?`}
        action="Forget it"
        danger
        typed={going?.name}
        busy={remove.isPending}
        error={remove.error}
        act={() => going && remove.mutate(going)}
      >
        <p>Its machines are no longer listed. None of them may be protected. Nothing on the host changes, and adding it again finds them again.</p>
      </Confirm>
    </Page>
  );
}

function AddHost({ open, close }: { open: boolean; close: () => void }) {
  const [name, setName] = useState("");
  const [kind, setKind] = useState("local");
  const [address, setAddress] = useState("qemu:///system");
  const add = useAct({
    does: () =>
      take(client.POST("/v1/hosts", { body: { name, address: kind === "local" ? "local" : address }, params: { header: once() } })),
    told: (host) => ({ title: `${host.name} is added`, body: "Its machines are listed as soon as its mover has told of them.", to: "/machines" }),
    changes: ["hosts", "machines"],
    quiet: true,
    then: () => {
      setName("");
      close();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Dialog open={open} onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <form onSubmit={submit}>
          <DialogBody>
            <DialogTitle>Add a host</DialogTitle>
            <DialogContent className="stack">
              {add.error && <Trouble error={add.error} />}
              <Field label="Name" required hint="What people call it">
                <Input value={name} onChange={(_, data) => setName(data.value)} maxLength={64} />
              </Field>
              <Field label="Its machines">
                <RadioGroup value={kind} onChange={(_, data) => setKind(data.value)}>
                  <Radio value="local" label="All of the host that this server runs on" />
                  <Radio value="libvirt" label="Those of a libvirt that this server can reach" />
                </RadioGroup>
              </Field>
              {kind === "libvirt" && (
                <Field label="libvirt's address" hint="As virsh --connect takes it">
                  <Input value={address} onChange={(_, data) => setAddress(data.value)} spellCheck={false} />
                </Field>
              )}
            </DialogContent>
            <DialogActions>
              <Button type="button" onClick={close}>Leave it</Button>
              <Button type="submit" appearance="primary" disabled={!name.trim() || add.isPending}>
                {add.isPending ? "Adding..." : "Add"}
              </Button>
            </DialogActions>
          </DialogBody>
        </form>
      </DialogSurface>
    </Dialog>
  );
}

function Movers() {
  const all = useQuery({ ...movers, refetchInterval: 20_000 });
  const me = useMe();
  const now = useNow();
  const make = useAct({ does: () => take(client.POST("/v1/movers/tokens", { params: { header: once() } })) });
  const origin = window.location.origin;
  return (
    <Section
      title="Movers"
      actions={
        may(me, "RegisterHost", null) && (
          <Button icon={<LinkAddRegular />} onClick={() => make.mutate()} disabled={make.isPending}>
            Let another host join
          </Button>
        )
      }
    >
      {make.data && (
        <Shown
          title="Run this on the other host, as root, within the time that the token is good"
          text={`strongroom mover join ${origin} --token ${make.data.token} --fingerprint SHA256`}
          note="The token is shown this once, and is good once. Put the fingerprint of the server's certificate in the place of SHA256: strongroom server init told it, and the browser shows it as SHA-256."
        />
      )}
      <Loaded query={all} what="movers">
        {(list) => (
          <ul className="rows">
            {list.map((mover) => {
              const away = !mover.seen || now - Date.parse(mover.seen) > AWAY_MS;
              return (
                <li key={mover.name}>
                  <span className="row-name strong">{mover.name}</span>
                  <State of={away ? ["Not heard of", "bad"] : ["There", "good"]} />
                  <span className="faint row-end">
                    heard of <When at={mover.seen} none="never" />
                  </span>
                </li>
              );
            })}
          </ul>
        )}
      </Loaded>
    </Section>
  );
}
