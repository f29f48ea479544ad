// Who may do what: the server decides; here it is only known what not to offer. A test of the server compares this table
// with its own (crates/server/tests/it/portal.rs).
import type { Me, Role } from "./api/types";

const ROLES: Role[] = ["backup_reader", "backup_operator", "backup_contributor", "vault_owner"];

const LEAST_ROLE = {
  View: "backup_reader",
  Protect: "backup_operator",
  ChangeProtection: "backup_operator",
  BackUp: "backup_operator",
  Restore: "backup_operator",
  CreateMachines: "backup_operator",
  Verify: "backup_operator",
  CancelJob: "backup_operator",
  RegisterHost: "backup_operator",
  UnregisterHost: "backup_contributor",
  CaptureImage: "backup_contributor",
  StopAndKeep: "backup_contributor",
  DeleteData: "backup_contributor",
  Undelete: "backup_contributor",
  Pin: "backup_contributor",
  WritePolicy: "backup_contributor",
  CreateVault: "backup_contributor",
  UpdateVault: "backup_contributor",
  DeleteVault: "vault_owner",
  RotateKey: "vault_owner",
  GrantAccess: "vault_owner",
  ViewAudit: "vault_owner",
} satisfies Record<string, Role>;

export type Action = keyof typeof LEAST_ROLE;

/** In that vault; `null`: where no vault is concerned; `"any"`: in some vault. */
export function may(me: Me | undefined, action: Action, vault: string | null | "any"): boolean {
  const least = ROLES.indexOf(LEAST_ROLE[action]);
  return (me?.roles ?? []).some((grant) => {
    const holds = !grant.vault || vault === "any" || grant.vault === vault;
    return holds && ROLES.indexOf(grant.role) >= least;
  });
}

export const ROLE_WORDS: Record<Role, string> = {
  backup_reader: "Reader",
  backup_operator: "Operator",
  backup_contributor: "Contributor",
  vault_owner: "Owner",
};

export const ROLE_MEANS: Record<Role, string> = {
  backup_reader: "sees everything, changes nothing",
  backup_operator: "also backs up, restores and protects; takes nothing away",
  backup_contributor: "also makes policies and vaults, stops protection, deletes points",
  vault_owner: "also deletes vaults, gives them new data keys, gives roles, reads the audit log",
};
