// Who may do what: people and services with their roles, here or everywhere.
import { Button, Dialog, DialogActions, DialogBody, DialogContent, DialogSurface, DialogTitle, Field, Input, Select } from "@fluentui/react-components";
import { AddRegular } from "../../icons";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { ROLE_MEANS, ROLE_WORDS } from "../../access";
import { client, once, pages, take } from "../../api/client";
import { useMe, vaults } from "../../api/queries";
import type { Role, RoleGrant, User, Vault } from "../../api/types";
import { useAct } from "../../parts/done";
import { Loaded, Section } from "../../parts/page";
import { State } from "../../parts/state";
import { Trouble } from "../../parts/trouble";

const MOST = 10_000;

/** All of them; with a vault, those who have a role that holds in it. */
export function People({ vault }: { vault?: Vault }) {
  const me = useMe();
  const [adds, setAdds] = useState(false);
  const [changed, setChanged] = useState<User | null>(null);
  const all = useQuery({
    queryKey: ["users"],
    queryFn: async () => (await pages((after) => take(client.GET("/v1/users", { params: { query: { after, limit: 1000 } } })), MOST)).items,
  });
  const shut = useAct({
    does: (user: User) => take(client.PATCH("/v1/users/{user}", { params: { path: { user: user.id }, header: once() }, body: { disabled: !user.disabled } })),
    told: (user) => ({ title: user.disabled ? `${user.name} is shut out` : `${user.name} may come in again` }),
    changes: ["users"],
  });
  return (
    <Section title={vault ? "Access" : "People and services"} actions={<Button icon={<AddRegular />} onClick={() => setAdds(true)}>Add somebody</Button>}>
      <Loaded query={all} what="people">
        {(list) => (
          <div className="table-scroll">
            <table className="table">
              <thead>
                <tr>
                  <th>Name</th>
                  <th>Comes by</th>
                  <th>Roles</th>
                  <th aria-label="Acts" />
                </tr>
              </thead>
              <tbody>
                {list.filter((user) => !vault || user.roles.some((grant) => !grant.vault || grant.vault === vault.id)).map((user) => (
                  <tr key={user.id}>
                    <td className="strong">
                      {user.name} {user.disabled && <State of={["Shut out", "warn"]} />}
                    </td>
                    <td>{user.single_sign_on ? "Single sign-on" : user.has_password ? "Password" : "Tokens"}</td>
                    <td>
                      <RolesInWords roles={user.roles} />
                    </td>
                    <td className="end">
                      {!user.single_sign_on && (
                        <Button size="small" appearance="subtle" onClick={() => setChanged(user)}>
                          Roles
                        </Button>
                      )}
                      {user.id !== me?.id && (
                        <Button size="small" appearance="subtle" disabled={shut.isPending} onClick={() => shut.mutate(user)}>
                          {user.disabled ? "Let in" : "Shut out"}
                        </Button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
      {adds && <AddUser vault={vault} close={() => setAdds(false)} />}
      {changed && <ChangeRoles user={changed} close={() => setChanged(null)} />}
    </Section>
  );
}

function RolesInWords({ roles }: { roles: RoleGrant[] }) {
  const known = useQuery(vaults);
  if (roles.length === 0) return <span className="faint">none</span>;
  const where = (grant: RoleGrant) => (grant.vault ? `in ${known.data?.find((one) => one.id === grant.vault)?.name ?? "a vault"}` : "everywhere");
  return <>{roles.map((grant) => `${ROLE_WORDS[grant.role]} ${where(grant)}`).join(", ")}</>;
}

interface GrantProps {
  role: Role;
  vault: string;
  set: (role: Role, vault: string) => void;
}

function GrantChoice({ role, vault, set }: GrantProps) {
  const known = useQuery(vaults);
  return (
    <div className="form-row">
      <Field label="Role" hint={ROLE_MEANS[role]}>
        <Select value={role} onChange={(_, data) => set(data.value as Role, vault)}>
          {(Object.keys(ROLE_WORDS) as Role[]).map((one) => (
            <option key={one} value={one}>
              {ROLE_WORDS[one]}
            </option>
          ))}
        </Select>
      </Field>
      <Field label="Where">
        <Select value={vault} onChange={(_, data) => set(role, data.value)}>
          <option value="">Everywhere</option>
          {known.data?.map((one) => (
            <option key={one.id} value={one.id}>
              In {one.name}
            </option>
          ))}
        </Select>
      </Field>
    </div>
  );
}

function AddUser({ vault, close }: { vault: Vault | undefined; close: () => void }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("backup_reader");
  const [where, setWhere] = useState(vault?.id ?? "");
  const add = useAct({
    does: () =>
      take(
        client.POST("/v1/users", {
          params: { header: once() },
          body: { name, password: password || null, roles: [{ role, vault: where || null }] },
        }),
      ),
    told: (user) => ({ title: `${user.name} may come in` }),
    changes: ["users"],
    quiet: true,
    then: close,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <form onSubmit={submit}>
          <DialogBody>
            <DialogTitle>Add somebody</DialogTitle>
            <DialogContent className="stack">
              {add.error && <Trouble error={add.error} />}
              <Field label="Name" required>
                <Input value={name} onChange={(_, data) => setName(data.value)} autoComplete="off" maxLength={64} />
              </Field>
              <Field label="Password" hint="12 characters at least. Empty for a service, which comes by tokens.">
                <Input type="password" value={password} onChange={(_, data) => setPassword(data.value)} autoComplete="new-password" />
              </Field>
              <GrantChoice
                role={role}
                vault={where}
                set={(nextRole, nextWhere) => {
                  setRole(nextRole);
                  setWhere(nextWhere);
                }}
              />
            </DialogContent>
            <DialogActions>
              <Button type="button" onClick={close}>Leave it</Button>
              <Button type="submit" appearance="primary" disabled={!name.trim() || add.isPending}>Add</Button>
            </DialogActions>
          </DialogBody>
        </form>
      </DialogSurface>
    </Dialog>
  );
}

function ChangeRoles({ user, close }: { user: User; close: () => void }) {
  const [roles, setRoles] = useState<RoleGrant[]>(user.roles);
  const save = useAct({
    does: () => take(client.PUT("/v1/users/{user}/roles", { params: { path: { user: user.id }, header: once() }, body: { roles } })),
    told: () => ({ title: `${user.name} has other roles now` }),
    changes: ["users", "me"],
    quiet: true,
    then: close,
  });
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <DialogBody>
          <DialogTitle>Roles of {user.name}</DialogTitle>
          <DialogContent className="stack">
            {save.error && <Trouble error={save.error} />}
            {roles.map((grant, index) => (
              <div key={index} className="grant">
                <GrantChoice
                  role={grant.role}
                  vault={grant.vault ?? ""}
                  set={(role, vault) => setRoles(roles.map((one, at) => (at === index ? { role, vault: vault || null } : one)))}
                />
                <Button size="small" appearance="subtle" onClick={() => setRoles(roles.filter((_, at) => at !== index))}>
                  Take away
                </Button>
              </div>
            ))}
            {roles.length === 0 && <p className="faint">Without a role nothing can be seen.</p>}
            <Button size="small" onClick={() => setRoles([...roles, { role: "backup_reader", vault: null }])}>
              Give another role
            </Button>
          </DialogContent>
          <DialogActions>
            <Button onClick={close}>Leave it</Button>
            <Button appearance="primary" disabled={save.isPending} onClick={() => save.mutate()}>Save</Button>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
