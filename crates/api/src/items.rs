//! Items: machines under a vault's protection, or that were.

use crate::DryRun;
use jiff::Timestamp;
use model::protection::KeepWish;
use model::{MachineId, PolicyId, VaultId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A machine in a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub id: Uuid,
    /// The vault.
    pub vault: VaultId,
    /// The machine.
    pub machine: MachineId,
    /// The machine's name, also when it is gone.
    pub name: String,
    /// Where it stands.
    pub state: ItemState,
    /// The policy by which it is backed up, or by which its points expire.
    pub policy: Option<PolicyId>,
    /// When its newest point was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_point: Option<Timestamp>,
    /// When its next backup is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_backup: Option<Timestamp>,
    /// Deleted: until when it can be brought back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub purge_at: Option<Timestamp>,
    /// Since when it is here.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Given back with a change.
    pub revision: u64,
}

/// Where a machine stands in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Its policy holds; there is no point yet.
    AwaitsFirst,
    /// Its policy holds, and its last backup went well.
    Protected,
    /// Its policy holds, and its last backup failed.
    InError,
    /// No backups; its points stay.
    Stopped,
    /// No backups; its points are deleted and can be brought back.
    Deleted,
    /// Nothing is left of it.
    Unprotected,
}

/// Machines to be protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Protect {
    /// Which: 1 to 1000.
    #[schema(min_items = 1, max_items = 1000)]
    pub machines: Vec<MachineId>,
    /// By which policy of the vault.
    pub policy: PolicyId,
    /// Back them up now as well, rather than at the policy's next slot.
    #[serde(default)]
    pub back_up_now: bool,
}

/// A change of one item. What is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeItem {
    /// Another policy of the vault.
    #[serde(default)]
    pub policy: Option<PolicyId>,
    /// Make the change although points are lost by it.
    #[serde(default)]
    pub accept_loss: bool,
    /// Change nothing; tell what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to a change of an item: the item as it is now, or of a dry run what would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ItemChanged {
    /// It was changed.
    Item(Item),
    /// Nothing was.
    DryRun(DryRun),
}

/// Many items to be put under another policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkChange {
    /// Which: 1 to 1000.
    #[schema(value_type = Vec<Uuid>, min_items = 1, max_items = 1000)]
    pub items: Vec<Uuid>,
    /// Under which policy.
    pub policy: PolicyId,
    /// Make the change although points are lost by it.
    #[serde(default)]
    pub accept_loss: bool,
}

/// What came of one of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkOutcome {
    /// The machine or item that was named.
    #[schema(value_type = Uuid)]
    pub id: Uuid,
    /// The item as it is now.
    pub item: Option<Item>,
    /// Why not.
    pub problem: Option<crate::Problem>,
}

/// An end of protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What becomes of the points.
    pub data: StopHow,
    /// How long they stay, if they do.
    #[serde(default)]
    pub keep: Option<KeepWish>,
    /// Why; goes into the audit log.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// What becomes of the points when protection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopHow {
    /// They stay.
    Keep,
    /// They are deleted, and can be brought back for as long as the vault says.
    Delete,
}

/// Protection again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// By which policy of the vault.
    pub policy: PolicyId,
    /// Do so although points are lost by it.
    #[serde(default)]
    pub accept_loss: bool,
}

/// A backup on demand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackUp {
    /// How long its point stays: 1 to 36135 days; 30 if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 36135)]
    pub keep_days: Option<u16>,
    /// Read everything, even where it is known what changed.
    #[serde(default)]
    pub full: bool,
}
