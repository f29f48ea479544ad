// A vault's second store: what is kept in another region, how far it is behind, and how the vault is put right from it.
import { Button, Field, Input, Menu, MenuItem, MenuList, MenuPopover, MenuTrigger, Select, Switch } from "@fluentui/react-components";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { may } from "../../access";
import { client, once, take } from "../../api/client";
import { movers, useMe } from "../../api/queries";
import type { CopiedPoint, CopyStore, Vault } from "../../api/types";
import { MoreHorizontalRegular } from "../../icons";
import { Confirm } from "../../parts/confirm";
import { useAct } from "../../parts/done";
import { Facts } from "../../parts/facts";
import { Loaded, Section } from "../../parts/page";
import { State } from "../../parts/state";
import { When } from "../../parts/when";
import { Proof } from "../machine/point";
import { count, instant, lasted, number, size } from "../../words";

/** Copies that are asked for at once. */
const PAGE = 12;
const HOUR_S = 3600;
/** As the server takes them if nobody says otherwise. */
const FIRST: CopyStore = { location: "", keep_days: 30, every_hours: 0, lag_hours_max: 24, mib_per_second: null, mover: null };

type Open = "change" | "heal" | "end" | null;

export function SecondStore({ vault }: { vault: Vault }) {
  const me = useMe();
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  const copy = vault.settings.copy;
  const writes = may(me, "UpdateVault", vault.id);
  const now = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/copy", { params: { path: { vault: vault.id }, header: once() } })),
    told: ({ job }) => ({ title: "What has no copy yet is copied", to: `/jobs/${job}` }),
    changes: ["jobs", "vaults"],
  });
  const more: [string, Open][] = [["Settings", "change"], ["Heal the vault from it", "heal"], ["Copy no more", "end"]];
  return (
    <Section
      title="Second store"
      actions={
        copy &&
        writes && (
          <div className="actions">
            <Button size="small" disabled={now.isPending} onClick={() => now.mutate()}>
              Copy now
            </Button>
            <Menu>
              <MenuTrigger disableButtonEnhancement>
                <Button size="small" icon={<MoreHorizontalRegular />} aria-label="More acts on the second store" />
              </MenuTrigger>
              <MenuPopover>
                <MenuList>
                  {more.map(([name, what]) => (
                    <MenuItem key={name} onClick={() => setOpen(what)}>
                      {name}
                    </MenuItem>
                  ))}
                </MenuList>
              </MenuPopover>
            </Menu>
          </div>
        )
      }
    >
      {copy ? (
        <>
          <Standing vault={vault} copy={copy} />
          <Copies vault={vault} />
        </>
      ) : (
        <>
          <p className="faint">
            Points are kept in one place. A second store, in another region and with credentials of its own, gets a copy of
            each: machines come back also when this vault is damaged, unreachable or gone.
          </p>
          {writes && (
            <div className="actions">
              <Button onClick={() => setOpen("change")}>Add a second store</Button>
            </div>
          )}
        </>
      )}
      {open === "change" && <Change vault={vault} close={close} />}
      {open === "heal" && <Heal vault={vault} close={close} />}
      {open === "end" && <End vault={vault} close={close} />}
    </Section>
  );
}

function Standing({ vault, copy }: { vault: Vault; copy: CopyStore }) {
  const state = vault.copies;
  const limit = copy.lag_hours_max ?? 24;
  const late = state != null && state.lag_seconds > limit * HOUR_S;
  const behind = !state
    ? null
    : state.waiting === 0
      ? <State of={["Every point has its copy", "good"]} />
      : <State of={[`${count(state.waiting, "point")} behind, ${lasted(state.lag_seconds * 1000)}`, late ? "bad" : "busy"]} />;
  return (
    <Facts
      of={[
        ["How it stands", behind ?? "not known yet"],
        ["Where", <code key="where">{copy.location}</code>],
        ["Copies", state ? number(state.copied) : "-"],
        ["Newest copy is of", <When key="newest" at={state?.newest} none="none yet" />],
        ["A copy stays", `${count(copy.keep_days ?? 30, "day")} longer than in the vault`],
        ["Copied", copy.every_hours ? `every ${count(copy.every_hours, "hour")}` : "after each backup"],
        ["An alert tells of", `more than ${count(limit, "hour")} behind`],
      ]}
    />
  );
}

function Copies({ vault }: { vault: Vault }) {
  const list = useInfiniteQuery({
    queryKey: ["copies", vault.id],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) =>
      take(client.GET("/v1/vaults/{vault}/copies", { params: { path: { vault: vault.id }, query: { after: pageParam, limit: PAGE } } })),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const copies = list.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Loaded query={list} what="copies">
      {() =>
        copies.length === 0 ? (
          <p className="faint">No copy is there yet: the first ones come with the next copying job.</p>
        ) : (
          <>
            <div className="table-scroll" tabIndex={0} role="region" aria-label="Copies in the second store">
              <table className="table">
                <thead>
                  <tr>
                    <th>Machine</th>
                    <th>Point of</th>
                    <th className="wide">Copied</th>
                    <th>In the vault</th>
                    <th className="wide">Proved</th>
                    <th className="wide end">Added</th>
                    <th aria-label="Acts" />
                  </tr>
                </thead>
                <tbody>
                  {copies.map((copy) => (
                    <One key={copy.point} vault={vault} copy={copy} />
                  ))}
                </tbody>
              </table>
            </div>
            {list.hasNextPage && (
              <div className="actions">
                <Button size="small" onClick={() => void list.fetchNextPage()} disabled={list.isFetchingNextPage}>
                  {list.isFetchingNextPage ? "Loading..." : "Show older ones"}
                </Button>
              </div>
            )}
          </>
        )
      }
    </Loaded>
  );
}

function One({ vault, copy }: { vault: Vault; copy: CopiedPoint }) {
  const me = useMe();
  const drill = useAct({
    does: () =>
      take(
        client.POST("/v1/vaults/{vault}/items/{item}/points/{point}/drill", {
          params: { path: { vault: vault.id, item: copy.item, point: copy.point }, header: once() },
          body: { from_copy: true },
        }),
      ),
    told: ({ job }) => ({ title: "The copy is tried out", to: `/jobs/${job}` }),
    changes: ["copies", "jobs"],
  });
  return (
    <tr>
      <td>
        <Link className="link strong" to={`/vaults/${vault.id}/items/${copy.item}`}>{copy.name}</Link>
      </td>
      <td className="nowrap">{instant(copy.taken)}</td>
      <td className="wide">
        <When at={copy.copied} />
      </td>
      <td>
        {copy.left ? (
          <State of={[copy.goes ? `No more; the copy goes ${instant(copy.goes)}` : "No more", "warn"]} />
        ) : (
          <State of={["Yes", "good"]} />
        )}
      </td>
      <td className="wide">
        <Proof drill={copy.drill} />
      </td>
      <td className="wide end nowrap">{size(copy.stored_bytes)}</td>
      <td className="end nowrap">
        {may(me, "Restore", vault.id) && (
          <Button size="small" appearance="subtle" disabled={drill.isPending} onClick={() => drill.mutate()} aria-label={`Try out the copy of ${copy.name} of ${instant(copy.taken)}`}>
            Try it out
          </Button>
        )}
        {may(me, "Restore", vault.id) && (
          <Link className="link nowrap" to={`/vaults/${vault.id}/items/${copy.item}/restore?from=copy&point=${copy.point}`} aria-label={`Restore ${copy.name} of ${instant(copy.taken)} from its copy`}>
            Restore
          </Link>
        )}
      </td>
    </tr>
  );
}

interface Props {
  vault: Vault;
  close: () => void;
}

const changed = (vault: Vault, copy: CopyStore | null) =>
  take(
    client.PATCH("/v1/vaults/{vault}", {
      params: { path: { vault: vault.id }, header: once() },
      body: { settings: { ...vault.settings, copy }, revision: vault.revision },
    }),
  );

function Change({ vault, close }: Props) {
  const known = useQuery(movers);
  const before = vault.settings.copy ?? null;
  const [copy, setCopy] = useState<CopyStore>(before ?? FIRST);
  const [limited, setLimited] = useState(copy.mib_per_second != null);
  const set = (part: Partial<CopyStore>) => setCopy({ ...copy, ...part });
  const act = useAct({
    does: () => changed(vault, { ...copy, location: copy.location.trim(), mib_per_second: limited ? copy.mib_per_second : null }),
    told: () => ({ title: before ? "The second store is changed" : `${vault.name} is copied from now on` }),
    changes: ["vaults", "copies", "jobs"],
    quiet: true,
    then: close,
  });
  const moves = before !== null && before.location !== copy.location.trim();
  const whole = (name: "keep_days" | "every_hours" | "lag_hours_max" | "mib_per_second", label: string, hint: string) => (
    <Field label={label} hint={hint}>
      <Input
        className="number"
        inputMode="numeric"
        value={String(copy[name] ?? "")}
        onChange={(_, data) => /^\d{0,5}$/.test(data.value) && set({ [name]: data.value === "" ? null : Number(data.value) } as Partial<CopyStore>)}
      />
    </Field>
  );
  const good = copy.location.trim() !== "" && copy.keep_days != null && copy.every_hours != null && copy.lag_hours_max != null && (!limited || Boolean(copy.mib_per_second));
  return (
    <Confirm
      open
      close={close}
      title={before ? `The second store of ${vault.name}` : `A second store for ${vault.name}`}
      action={before ? "Save" : "Add it"}
      busy={act.isPending}
      error={act.error}
      disabled={!good}
      typed={moves ? vault.name : undefined}
      act={() => act.mutate()}
    >
      <Field label="Where" required hint="s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX in another region, or a folder. Its credentials are the mover's variables COPY_AWS_… or COPY_AZURE_….">
        <Input value={copy.location} onChange={(_, data) => set({ location: data.value })} spellCheck={false} autoCapitalize="none" placeholder="s3://other-region/main" />
      </Field>
      {moves && (
        <p className="warn-text">
          All points are copied to the new place anew. What lies at {before.location} stays there, and the server does not
          see to it any more.
        </p>
      )}
      <div className="form-row">
        {whole("keep_days", "Days a copy stays longer", "7 to 9999, after the vault has its point no more")}
        {whole("every_hours", "Hours between copying", "0: after each backup")}
        {whole("lag_hours_max", "Hours behind that are too many", "An alert tells then")}
      </div>
      <Switch label="Copy no faster than I say" checked={limited} onChange={(_, data) => setLimited(data.checked)} />
      {limited && whole("mib_per_second", "MiB a second", "1 or more")}
      {(known.data?.length ?? 0) > 1 && (
        <Field label="Copied by" hint="A mover that reaches both stores">
          <Select value={copy.mover ?? ""} onChange={(_, data) => set({ mover: data.value || null })}>
            <option value="">Any that can</option>
            {known.data?.map((mover) => (
              <option key={mover.name} value={mover.name}>
                {mover.name}
              </option>
            ))}
          </Select>
        </Field>
      )}
    </Confirm>
  );
}

function Heal({ vault, close }: Props) {
  const act = useAct({
    does: () => take(client.POST("/v1/vaults/{vault}/heal", { params: { path: { vault: vault.id }, header: once() } })),
    told: ({ job }) => ({ title: `${vault.name} is put right from its second store`, to: `/jobs/${job}` }),
    changes: ["jobs"],
    quiet: true,
    then: close,
  });
  return (
    <Confirm open close={close} title={`Heal ${vault.name} from its second store`} action="Heal it" busy={act.isPending} error={act.error} act={() => act.mutate()}>
      <p>
        All of the vault is read. What is damaged in it is taken from the second store, points that it ought to have and lacks
        are copied back, and a vault of which nothing is left is made anew. Nothing is deleted; reading everything takes long.
      </p>
    </Confirm>
  );
}

function End({ vault, close }: Props) {
  const act = useAct({
    does: () => changed(vault, null),
    told: () => ({ title: `${vault.name} is copied no more` }),
    changes: ["vaults", "copies"],
    quiet: true,
    then: close,
  });
  return (
    <Confirm open close={close} title={`Copy ${vault.name} no more`} action="Copy no more" danger typed={vault.name} busy={act.isPending} error={act.error} act={() => act.mutate()}>
      <p>
        Points that are made from now on are in one place alone, and the server forgets which copies there are: it can neither
        restore from them nor heal the vault.
      </p>
      <p>
        What lies at <code>{vault.settings.copy?.location}</code> stays there. It is a vault like any other, and with the key of {vault.name}
        {" "}it can be taken in as one.
      </p>
    </Confirm>
  );
}
