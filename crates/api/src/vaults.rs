//! Vaults.

use crate::{ArchiveState, ArchiveStore, CopyState, CopyStore};
use jiff::Timestamp;
use model::{PolicyId, VaultId};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// A vault: the boundary of management, security and billing for recovery points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vault {
    /// As in the vault itself.
    pub id: VaultId,
    /// What people call it.
    pub name: String,
    /// A directory or URL.
    pub location: String,
    /// How it treats what it holds.
    pub settings: VaultSettings,
    /// Since when the server knows it.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Machines that have points in it or are to have.
    pub items: u64,
    /// How far its second store is behind, where it has one; told of one vault, not in lists.
    #[serde(default)]
    pub copies: Option<CopyState>,
    /// What is in its archive, where it has one; told of one vault, not in lists.
    #[serde(default)]
    pub archived: Option<ArchiveState>,
    /// Given back with a change: it is refused if somebody else changed the vault meanwhile.
    pub revision: u64,
}

/// How a vault treats what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VaultSettings {
    /// How long what was deleted can be brought back: 14 to 180 days.
    #[schema(minimum = 14, maximum = 180)]
    pub soft_delete_days: u16,
    /// Nothing may be lost sooner than was promised: no data is deleted, no retention is made shorter. May be turned
    /// on at any time; off only while the vault has no items, deleted ones included.
    pub immutable: bool,
    /// Where the snapshot tier is, a directory beside the hosts; without one, backups go to the vault directly. May be
    /// added at any time; moved or taken away only while the vault has no items, for their snapshots are there.
    pub snapshot_store: Option<String>,
    /// The most that transfers from the snapshot tier fetch in a second, of each mover, in MiB; as much as goes if not
    /// said.
    #[schema(minimum = 1, maximum = 1_048_576)]
    pub transfer_mib_per_second: Option<u32>,
    /// A second store, in another region. May be added, moved or taken away at any time: what lies in it stays there.
    pub copy: Option<CopyStore>,
    /// An archive store, for points that policies keep for months and years. May be added at any time; moved or taken away
    /// only while no point is in it.
    pub archive: Option<ArchiveStore>,
    /// Machines that are put under protection by themselves: those that no vault has anything of. The first rule that
    /// fits counts. At most 100; a new vault has no policies yet, so it gets its rules later.
    #[schema(max_items = 100)]
    pub auto_protect: Vec<AutoProtect>,
    /// No point expires, whatever its policy says. A vault that was taken in begins so: its catalog knew more than it
    /// does, so somebody is to look first. Turned off, what is over by then goes.
    pub keep_everything: bool,
}

impl Default for VaultSettings {
    fn default() -> Self {
        let soft_delete_days = model::protection::SOFT_DELETE_DAYS;
        Self {
            soft_delete_days,
            immutable: false,
            snapshot_store: None,
            transfer_mib_per_second: None,
            copy: None,
            archive: None,
            auto_protect: Vec::new(),
            keep_everything: false,
        }
    }
}

/// A rule by which machines come under protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoProtect {
    /// Their names fit this: `*` is anything, `?` one character; case does not matter. None: any name.
    #[serde(default)]
    pub name: Option<String>,
    /// They carry this tag, as `key` or `key=value`. None: whatever they carry.
    #[serde(default)]
    pub tag: Option<String>,
    /// What they get.
    pub policy: PolicyId,
}

/// A vault to be made, or one that exists to be taken in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVault {
    /// 1 to 64 characters; what people will call it.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// An absolute path of a directory on the server, `s3://BUCKET/PREFIX` or `azure://ACCOUNT/CONTAINER/PREFIX`.
    pub location: String,
    /// How it is to treat what it holds.
    #[serde(default)]
    pub settings: VaultSettings,
    /// Take in the vault that is there, with all its points: `key` must open it. Its archive store is found by the vault's
    /// own note and read too, unless `settings` names one; that must be readable then.
    #[serde(default)]
    pub adopt: bool,
    /// The text of a key file that opens the vault to be adopted.
    #[serde(default)]
    pub key: Option<String>,
}

impl fmt::Debug for NewVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewVault({} at {}, adopt {})", self.name, self.location, self.adopt)
    }
}

/// A vault that was made or taken in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultMade {
    /// The vault.
    pub vault: Vault,
    /// The text of the key file that opens it: to be kept elsewhere. Shown this once; the server keeps a copy. None
    /// when the vault was taken in.
    pub key: Option<String>,
    /// A second key that opens it, to be written down. Shown this once, and kept nowhere.
    pub recovery_key: Option<String>,
    /// When a vault was taken in: what could not be, or stands in no vault, in words.
    #[serde(default)]
    pub lost: Vec<String>,
    /// When a vault was taken in: what to look at now, and the commands for it, in words.
    #[serde(default)]
    pub advice: Vec<String>,
}

impl fmt::Debug for VaultMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultMade({:?})", self.vault)
    }
}

/// A vault that the server no longer knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultRemoved {
    /// As in the vault itself.
    pub id: VaultId,
    /// Where its data still are.
    pub location: String,
    /// What is left, and how to get it back or rid of it.
    pub note: String,
}

/// A change of a vault. What is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultChange {
    /// A new name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    /// All settings, anew.
    #[serde(default)]
    pub settings: Option<VaultSettings>,
    /// The revision that was read; without it, the newest is changed.
    #[serde(default)]
    pub revision: Option<u64>,
    /// Say that points may be gone at once: for `keep_everything` turned off while some are over.
    #[serde(default)]
    pub accept_loss: bool,
}
