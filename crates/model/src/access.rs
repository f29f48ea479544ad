//! Access: who may do what, where. One question, [`may`], asked in one place of the server.

use crate::VaultId;
use serde::{Deserialize, Serialize};

/// A role: a set of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Role {
    /// Sees everything, changes nothing.
    BackupReader,
    /// Also runs backups and restores, and puts machines under protection; takes nothing away.
    BackupOperator,
    /// Also makes policies and vaults, stops protection, deletes points.
    BackupContributor,
    /// Also deletes vaults and gives roles to others.
    VaultOwner,
}

/// Where a role holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// In one vault.
    Vault {
        /// Which.
        vault: VaultId,
    },
    /// In every vault, now and later, and for what belongs to none: hosts, users, the server itself.
    Everything {},
}

/// A role, given somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What may be done.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

/// Something that can be done. What a route does, not what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// See machines, points, jobs, policies, alerts, reports.
    View,
    /// Put a machine under a policy for the first time, or resume.
    Protect,
    /// Put a machine under another policy, or choose its disks.
    ChangeProtection,
    /// Make a point on demand.
    BackUp,
    /// Restore, in whatever way: machines, disks, files, in place.
    Restore,
    /// Make machines of an image.
    CreateMachines,
    /// Make a machine an image: it is shut down, and forgets who it is if that is asked for.
    CaptureImage,
    /// Read points back.
    Verify,
    /// Cancel a job.
    CancelJob,
    /// Add a host or a mover.
    RegisterHost,
    /// Take a host or a mover away.
    UnregisterHost,
    /// End protection and keep the points.
    StopAndKeep,
    /// End protection and delete the points, or delete single ones.
    DeleteData,
    /// Bring deleted points back.
    Undelete,
    /// Pin a point, or unpin it.
    Pin,
    /// Make, change or delete a policy.
    WritePolicy,
    /// Make a vault.
    CreateVault,
    /// Change a vault's settings: soft deletion, immutability.
    UpdateVault,
    /// Delete a vault.
    DeleteVault,
    /// Give a vault a new data key.
    RotateKey,
    /// Give and take roles, and see who has which.
    GrantAccess,
    /// See the audit log.
    ViewAudit,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] =
        [Self::BackupReader, Self::BackupOperator, Self::BackupContributor, Self::VaultOwner];

    /// Whether the role includes the action. Each role includes those before it.
    pub fn includes(self, action: Action) -> bool {
        self >= action.least_role()
    }
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::View,
        Self::Protect,
        Self::ChangeProtection,
        Self::BackUp,
        Self::Restore,
        Self::CreateMachines,
        Self::CaptureImage,
        Self::Verify,
        Self::CancelJob,
        Self::RegisterHost,
        Self::UnregisterHost,
        Self::StopAndKeep,
        Self::DeleteData,
        Self::Undelete,
        Self::Pin,
        Self::WritePolicy,
        Self::CreateVault,
        Self::UpdateVault,
        Self::DeleteVault,
        Self::RotateKey,
        Self::GrantAccess,
        Self::ViewAudit,
    ];

    /// The weakest role that includes it.
    fn least_role(self) -> Role {
        match self {
            Self::View => Role::BackupReader,
            Self::Protect
            | Self::ChangeProtection
            | Self::BackUp
            | Self::Restore
            | Self::CreateMachines
            | Self::Verify
            | Self::CancelJob
            | Self::RegisterHost => Role::BackupOperator,
            Self::UnregisterHost
            | Self::CaptureImage
            | Self::StopAndKeep
            | Self::DeleteData
            | Self::Undelete
            | Self::Pin
            | Self::WritePolicy
            | Self::CreateVault
            | Self::UpdateVault => Role::BackupContributor,
            Self::DeleteVault | Self::RotateKey | Self::GrantAccess | Self::ViewAudit => Role::VaultOwner,
        }
    }
}

/// Whether somebody with these roles may do that in that vault; none: where no vault is concerned, as when hosts are
/// registered or vaults made.
pub fn may(grants: &[Grant], action: Action, vault: Option<VaultId>) -> bool {
    grants.iter().any(|grant| {
        let holds = match grant.scope {
            Scope::Everything {} => true,
            Scope::Vault { vault: its } => vault == Some(its),
        };
        holds && grant.role.includes(action)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const HERE: VaultId = VaultId(Uuid::from_u128(1));
    const THERE: VaultId = VaultId(Uuid::from_u128(2));

    /// Reader, Operator, Contributor, Owner. Written out, so that moving an action is a change of two places.
    const MATRIX: [(Action, &str); 22] = [
        (Action::View, "yes yes yes yes"),
        (Action::Protect, "- yes yes yes"),
        (Action::ChangeProtection, "- yes yes yes"),
        (Action::BackUp, "- yes yes yes"),
        (Action::Restore, "- yes yes yes"),
        (Action::CreateMachines, "- yes yes yes"),
        (Action::CaptureImage, "- - yes yes"),
        (Action::Verify, "- yes yes yes"),
        (Action::CancelJob, "- yes yes yes"),
        (Action::RegisterHost, "- yes yes yes"),
        (Action::UnregisterHost, "- - yes yes"),
        (Action::StopAndKeep, "- - yes yes"),
        (Action::DeleteData, "- - yes yes"),
        (Action::Undelete, "- - yes yes"),
        (Action::Pin, "- - yes yes"),
        (Action::WritePolicy, "- - yes yes"),
        (Action::CreateVault, "- - yes yes"),
        (Action::UpdateVault, "- - yes yes"),
        (Action::DeleteVault, "- - - yes"),
        (Action::RotateKey, "- - - yes"),
        (Action::GrantAccess, "- - - yes"),
        (Action::ViewAudit, "- - - yes"),
    ];

    #[test]
    fn every_role_and_every_action() {
        assert_eq!(MATRIX.map(|(action, _)| action), Action::ALL, "every action has its line");
        for (action, row) in MATRIX {
            for (role, cell) in Role::ALL.into_iter().zip(row.split(' ')) {
                let here = [Grant { role, scope: Scope::Vault { vault: HERE } }];
                let everywhere = [Grant { role, scope: Scope::Everything {} }];
                let expected = cell == "yes";
                assert_eq!(may(&here, action, Some(HERE)), expected, "{role:?} {action:?}");
                assert!(!may(&here, action, Some(THERE)) && !may(&here, action, None), "{role:?} {action:?}");
                for vault in [Some(HERE), Some(THERE), None] {
                    assert_eq!(may(&everywhere, action, vault), expected, "{role:?} {action:?} {vault:?}");
                }
            }
            assert!(!may(&[], action, Some(HERE)), "nobody {action:?}");
        }
    }

    #[test]
    fn grants_add_up_and_stay_apart() {
        let grants = [
            Grant { role: Role::BackupReader, scope: Scope::Everything {} },
            Grant { role: Role::VaultOwner, scope: Scope::Vault { vault: HERE } },
        ];
        assert!(may(&grants, Action::DeleteVault, Some(HERE)));
        assert!(!may(&grants, Action::DeleteVault, Some(THERE)));
        assert!(may(&grants, Action::View, Some(THERE)));
    }

    #[test]
    fn grants_are_stored_as_they_read() {
        let grant = Grant { role: Role::BackupOperator, scope: Scope::Everything {} };
        let stored = serde_json::json!({ "role": "backup_operator", "scope": { "scope": "everything" } });
        assert_eq!(serde_json::to_value(grant).unwrap(), stored);
        let strange = serde_json::json!({ "scope": "everything", "vault": HERE });
        assert!(serde_json::from_value::<Scope>(strange).is_err());
    }
}
