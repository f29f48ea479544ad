//! Recovery points.

use jiff::Timestamp;
use model::{PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// A recovery point: a machine's disks and configuration at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// Its id, the same in every tier.
    pub id: PointId,
    /// The vault.
    pub vault: VaultId,
    /// The item.
    #[schema(value_type = Uuid)]
    pub item: Uuid,
    /// The instant of its disks.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// `application`, `file_system` or `crash`.
    pub consistency: String,
    /// Why it is not more consistent, and what was proved: evidence as the backup recorded it.
    pub evidence: Value,
    /// What it is kept for.
    pub kept_for: Vec<KeptFor>,
    /// When it expires, by the policy as it is now; none while nothing lets it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// `scheduled` or `on_demand`.
    pub origin: String,
    /// Whether the snapshot tier has it.
    pub in_snapshot_tier: bool,
    /// Whether the vault tier has it.
    pub in_vault_tier: bool,
    /// Kept until somebody says otherwise.
    pub pinned: bool,
    /// Deleted: until when it can be brought back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub purge_at: Option<Timestamp>,
    /// Its disks.
    pub disks: Vec<PointDisk>,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
}

/// One reason why a point is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptFor {
    /// In words: `daily`, `weekly`, `the newest point`...
    pub why: String,
    /// Until when; none: until something happens.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// A disk of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointDisk {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes read from the machine for it.
    pub read_bytes: u64,
}

/// A wish to keep a point, or the end of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Whether it is to be kept until somebody says otherwise.
    pub pinned: bool,
}

/// A restore of disks into a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// An absolute path on the mover's host; existing and empty, or to be made in an existing folder.
    pub folder: String,
    /// Names of disks; empty for all.
    #[serde(default)]
    pub disks: Vec<String>,
    /// What the images are to be.
    #[serde(default)]
    pub format: RestoreFormat,
    /// The mover that writes them; the one that backed the machine up if not said.
    #[serde(default)]
    pub mover: Option<String>,
}

/// What restored images are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreFormat {
    /// A raw image, sparse.
    #[default]
    Raw,
    /// A qcow2 image.
    Qcow2,
}
