//! Disk snapshots: points that no policy owns.

use crate::work::{AssignedHost, MadePoint, VaultAccess};
use jiff::Timestamp;
use model::policy::ConsistencyWish;
use model::{JobId, MachineId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// Disks that one request names at most: those of a rack of machines.
pub const SNAPSHOT_DISKS_MAX: usize = 256;
/// Ranges that one comparison tells at most; the next one goes on behind them.
pub const RANGES_MAX: usize = 10_000;
/// Snapshots that one job measures at most: those that were measured longest ago.
pub const MEASURED_MAX: u32 = 5_000;

/// A kept, read-only copy of one or more disks of a machine at one instant. It needs neither the machine nor its
/// disks, and no policy lets it expire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its id: that of its point in the vault.
    pub id: PointId,
    /// The vault.
    pub vault: VaultId,
    /// What somebody called it; may be empty.
    pub name: String,
    /// Snapshots of several machines at one instant have the same.
    #[schema(value_type = Option<Uuid>)]
    pub set: Option<Uuid>,
    /// The machine, which may be gone by now.
    pub machine: MachineId,
    /// Its name, as it was.
    pub machine_name: String,
    /// The instant of its disks.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// `application`, `file_system` or `crash`.
    pub consistency: String,
    /// Why it is not more consistent, and what was proved.
    pub evidence: Value,
    /// Its disks.
    pub disks: Vec<SnapshotDisk>,
    /// The size that its disks have: what a disk made of it takes at most.
    pub provisioned_bytes: u64,
    /// Bytes that making it added to the store.
    pub stored_bytes: u64,
    /// What it takes up in the store; none while it was not measured.
    pub used: Option<SnapshotUse>,
    /// The snapshot of another vault that it is a copy of.
    pub copy_of: Option<PointId>,
    /// Deleted: until when it can be brought back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub purge_at: Option<Timestamp>,
}

/// A disk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotDisk {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What a snapshot takes up, in sealed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotUse {
    /// What nothing else in the vault needs: deleting it gives so much back.
    pub unique_bytes: u64,
    /// What other snapshots or points need too.
    pub shared_bytes: u64,
    /// When that was so.
    #[schema(value_type = String, format = DateTime)]
    pub measured: Timestamp,
}

/// Disks that are to become snapshots, all at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSnapshots {
    /// Which. Machines of one mover; each of them becomes one snapshot.
    #[schema(min_items = 1, max_items = 256)]
    pub disks: Vec<SnapshotOf>,
    /// What to call it, or each of the set; 1 to 64 characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    /// What to ask of the guests.
    #[serde(default)]
    pub consistency: ConsistencyWish,
}

/// A machine's disk, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotOf {
    /// The machine, protected or not.
    pub machine: MachineId,
    /// The disk's name; none: all of the machine's.
    #[serde(default)]
    pub disk: Option<String>,
}

/// What an exported disk is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotFormat {
    /// A raw image, sparse.
    #[default]
    Raw,
    /// A qcow2 image.
    Qcow2,
    /// A fixed VHD of whole MiB, as Azure takes it.
    Vhd,
    /// A VHD that holds data alone.
    VhdDynamic,
}

/// A wish for a disk made of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportSnapshot {
    /// An absolute path on the mover's host, where nothing is yet.
    pub path: String,
    /// What it is to be.
    #[serde(default)]
    pub format: SnapshotFormat,
    /// Which disk; may be left out where there is one.
    #[serde(default)]
    pub disk: Option<String>,
    /// The mover that writes it; the server's own if not said.
    #[serde(default)]
    pub mover: Option<String>,
}

/// A wish for a copy in another vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopySnapshot {
    /// The other vault.
    pub to: VaultId,
}

/// A question what changed between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareSnapshots {
    /// The other snapshot: the state before.
    pub since: PointId,
    /// Which disk; may be left out where there is one.
    #[serde(default)]
    pub disk: Option<String>,
    /// Tell ranges from this offset on.
    #[serde(default)]
    pub from: u64,
}

/// What changed between two snapshots: the `result` of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Differences {
    /// The disk.
    pub disk: String,
    /// Its size.
    pub bytes: u64,
    /// What differs, in order, by whole blocks of 64 KiB: never less than what was written.
    pub ranges: Vec<ChangedRange>,
    /// Where to go on if there is more.
    pub next: Option<u64>,
}

/// A range of bytes that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedRange {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// What stands in the vault with a snapshot, so that a catalog can be made again from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptSnapshot {
    /// The version of this shape: 1.
    pub version: u32,
    /// The job that made it; none: it was made without a server.
    pub job: Option<JobId>,
    /// The machine, as the catalog knew it.
    pub machine: Option<MachineId>,
    /// What somebody called it; may be empty.
    pub name: String,
    /// The set.
    #[schema(value_type = Option<Uuid>)]
    pub set: Option<Uuid>,
    /// The snapshot of another vault that it is a copy of.
    #[serde(default)]
    pub copy_of: Option<PointId>,
    /// What the vault promised then.
    #[serde(default)]
    pub promised: Option<crate::work::ServicePromise>,
}

impl KeptSnapshot {
    /// Of a snapshot of which nothing is said.
    pub fn unknown() -> Self {
        let (job, machine, set, copy_of, promised) = Default::default();
        Self { version: 1, job, machine, name: String::new(), set, copy_of, promised }
    }

    /// As it stands in the vault. Nobody takes it for what is said of a policy's point.
    pub fn to_value(&self) -> Value {
        json!({ "snapshot": self })
    }

    /// Reads what stands there; none if that is something else.
    pub fn of(service: &Value) -> Option<Self> {
        serde_json::from_value(service.get("snapshot")?.clone()).ok()
    }
}

/// What a mover is to do with snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "snapshot", rename_all = "snake_case")]
pub enum SnapshotWork {
    /// Make some, at one instant.
    Take {
        /// A machine each.
        members: Vec<SnapshotMember>,
        /// What to ask of the guests.
        consistency: ConsistencyWish,
    },
    /// Write a disk as a file.
    Export {
        /// The snapshot.
        point: PointId,
        /// Which disk; none: the only one.
        disk: Option<String>,
        /// An absolute path.
        path: String,
        /// What it is to be.
        format: SnapshotFormat,
    },
    /// Copy one to another vault.
    Copy {
        /// The snapshot.
        point: PointId,
        /// The other vault.
        to: VaultAccess,
        /// Stands there with the copy.
        kept: KeptSnapshot,
    },
    /// Tell what changed.
    Compare {
        /// The state before.
        old: PointId,
        /// The state after.
        new: PointId,
        /// Which disk; none: the only one.
        disk: Option<String>,
        /// Tell ranges from this offset on.
        from: u64,
    },
    /// Tell what snapshots take up.
    Measure {
        /// Which.
        points: Vec<PointId>,
    },
}

/// A machine whose disks become a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotMember {
    /// The machine.
    pub machine: MachineId,
    /// Where it is.
    pub host: AssignedHost,
    /// What its hypervisor knows it by.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// Names of disks; empty for all.
    pub disks: Vec<String>,
    /// Stands in the vault with the snapshot.
    pub kept: KeptSnapshot,
}

/// A snapshot that was made, or copied: an entry of `snapshots` in the job's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MadeSnapshot {
    /// Its point.
    pub made: MadePoint,
    /// What stands in the vault with it.
    pub kept: KeptSnapshot,
    /// The machine's name.
    pub machine_name: String,
}

/// What a snapshot takes up: an entry of `measured` in the job's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeasuredSnapshot {
    /// The snapshot.
    pub point: PointId,
    /// What nothing else in the vault needs.
    pub unique_bytes: u64,
    /// What others need too.
    pub shared_bytes: u64,
}
