//! Recovery points.

use crate::PointDrill;
use jiff::Timestamp;
use model::{PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
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
    /// Whether the archive has it. What is in the archive alone is brought back before it is read.
    #[serde(default)]
    pub in_archive_tier: bool,
    /// Until when the vault tier holds what came back from the archive; none if it is no such point.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub held_until: Option<Timestamp>,
    /// Kept until somebody says otherwise.
    pub pinned: bool,
    /// Deleted: until when it can be brought back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub purge_at: Option<Timestamp>,
    /// Its disks.
    pub disks: Vec<PointDisk>,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
    /// What came of it when it was last tried out; none if it never was.
    #[serde(default)]
    pub drill: Option<PointDrill>,
    /// The same of its copy in the vault's second store.
    #[serde(default)]
    pub copy_drill: Option<PointDrill>,
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

/// A restore of disks into a folder, and of the machine if that is wished.
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
    /// A new machine that is to have the disks, all of them; none if not said: its description lies beside them.
    #[serde(default)]
    pub machine: Option<NewMachine>,
    /// Take them from the vault's second store, whether the vault has the point or not, or is there at all.
    #[serde(default)]
    pub from_copy: bool,
}

/// A new machine, of a point's disks and description. The old one stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMachine {
    /// What it is to be called.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// What its network cards are connected to.
    #[serde(default)]
    pub network: NewNetwork,
    /// Keep the uuid of the machine that was backed up, which must be gone: two machines of one uuid are one to
    /// libvirt, and to backups.
    #[serde(default)]
    pub keep_uuid: bool,
    /// Keep the addresses of its network cards.
    #[serde(default)]
    pub keep_macs: bool,
    /// Virtual processors; as many as it had if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4096)]
    pub cpus: Option<u32>,
    /// Memory in MiB; as much as it had if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_073_741_824)]
    pub memory_mib: Option<u64>,
    /// Start it.
    #[serde(default)]
    pub start: bool,
    /// Start it at once: its data follows while it runs. Its images are qcow2 then. The folder's path must be short,
    /// for it holds sockets.
    #[serde(default)]
    pub at_once: bool,
    /// The libvirt of the mover's host that is to have it, as a URI. If not said, a machine of libvirt's goes to
    /// `qemu:///system`, and one of QEMU's own gets a `start.sh`.
    #[serde(default)]
    pub libvirt: Option<String>,
}

/// What the network cards of a new machine are connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "to", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewNetwork {
    /// Nothing: the cards are there, and no frame leaves or comes.
    Disconnected {},
    /// What they were connected to.
    Keep {},
    /// A network that leads nowhere.
    Isolated {},
    /// Bridges, networks or interfaces by these names become those; others stay as they were.
    Remap {
        /// The old names, and the new ones.
        names: BTreeMap<String, String>,
    },
}

/// A copy that comes up beside the machine it was made of disturbs nobody.
impl Default for NewNetwork {
    fn default() -> Self {
        Self::Disconnected {}
    }
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
