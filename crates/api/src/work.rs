//! What a mover and a server say to each other. A mover asks; the server never calls a mover.
//!
//! ```text
//! mover                                   server
//!   join (one-time token) ───────────────►  a token of its own
//!   inventory of its hosts ──────────────►  machines
//!   claim (waits a little) ──────────────►  an order, under a lease with a generation
//!   report progress, steps, the end ─────►  go on / cancel / lost
//! ```
//! **Fencing.** The server draws a session id with every claim and keeps it with the job. A new claim's order names
//! the sessions of earlier claims: the mover aborts them in the vault's log before it begins its own, so a mover whose
//! lease lapsed can commit nothing afterwards, whatever it still believes. A point names its job: a claim that finds a
//! point of its own job in the vault reports that one and makes none.

use crate::{DiskTarget, NewMachine, RestoreFormat, StopMachine};
use jiff::Timestamp;
use model::job::{Generation, JobKind};
use model::policy::{ConsistencyWish, DiskSelection, DrillOptions};
use model::{ClaimantId, JobId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

mod joining;
mod replacing;
mod report;
mod service;
mod stores;

pub use joining::{AssignedHost, Inventory, Join, Joined, SeenMachine};
pub use replacing::{ReplaceWork, ReplacedDisk, ToldReplacement};
pub use report::{Instruction, MadePoint, PictureReport, Report, ReportEvent, ReportedUsage, UsageReport};
pub use service::{Service, ServicePolicy, ServicePromise};
pub use stores::{
    ArchiveOutcome, ArchiveWork, ArchivedPoint, CopiedOfItem, CopyOutcome, CopyWork, HealWork, InArchive,
    PointOfItem, RehydrateWork, StoreAccess,
};

/// How long a claim holds without a word from its mover, in seconds. A mover reports three times as often.
pub const LEASE_SECONDS: u32 = 60;
/// How long the server lets a mover wait for an order at most, in seconds.
pub const CLAIM_WAIT_SECONDS_MAX: u32 = 25;

/// A mover's wish for work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// This run of the mover: drawn anew with every start.
    pub claimant: ClaimantId,
    /// How long to wait for work if there is none, in seconds.
    #[serde(default)]
    #[schema(maximum = 25)]
    pub wait_seconds: u32,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    /// The job.
    pub job: JobId,
    /// What it is, for people.
    pub kind: JobKind,
    /// The number of the claim; goes with every report.
    pub generation: Generation,
    /// Steps that are done already: go on after them.
    pub steps_done: usize,
    /// What the job has come to so far: what the steps that are done have reported.
    pub result: Option<Value>,
    /// The vault.
    pub vault: VaultAccess,
    /// The session to write under, if anything is written.
    pub session: Uuid,
    /// Sessions of earlier claims: to be aborted first.
    pub fenced: Vec<Uuid>,
    /// What exactly.
    pub work: Work,
}

/// How a vault is opened.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultAccess {
    /// Its id.
    pub id: VaultId,
    /// Where it is. Credentials for a bucket are the mover's own.
    pub location: String,
    /// Where the snapshot tier is, if there is one.
    pub snapshot_store: Option<String>,
    /// What the names of the variables begin with that hold the credentials: `COPY_` for a second store's own.
    #[serde(default)]
    pub credentials: Option<String>,
    /// The most that transfers from the snapshot tier fetch in a second, in bytes.
    #[serde(default)]
    pub transfer_bytes_per_second: Option<u64>,
    /// The text of a key file that opens it.
    pub key: String,
}

impl fmt::Debug for VaultAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultAccess({}, {})", self.id, self.location)
    }
}

/// What a mover is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Make a point of a machine.
    BackUp(Box<BackUpWork>),
    /// Write disks of a point as images.
    Restore {
        /// The item: what the machine's points are kept under.
        item: Uuid,
        /// The point.
        point: PointId,
        /// An absolute path.
        folder: String,
        /// Names of disks; empty for all.
        disks: Vec<String>,
        /// What the images are to be.
        format: RestoreFormat,
        /// The machine that is to have them, if any.
        #[serde(default)]
        machine: Option<NewMachine>,
    },
    /// Write disks of a point into what is there, or tell how much that would be.
    RestoreInto {
        /// The item.
        item: Uuid,
        /// The point.
        point: PointId,
        /// Which disks, and into what.
        targets: Vec<DiskTarget>,
        /// Only tell.
        plan: bool,
    },
    /// Put a machine back to a point, in its own place; or tell what that would be.
    Replace(Box<ReplaceWork>),
    /// Take a replacement back.
    UndoReplace {
        /// What the machine's hypervisor knows it by.
        known_as: String,
        /// The replacement.
        replacement: Uuid,
        /// Where it is written down.
        journal: String,
        /// How the machine is stopped if it runs.
        stop: Option<StopMachine>,
    },
    /// Remove what a replacement kept, if it is these files.
    RemoveKept {
        /// The replacement.
        replacement: Uuid,
        /// Where it is written down.
        journal: String,
        /// What somebody was shown.
        files: Vec<String>,
    },
    /// Do something with snapshots.
    Snapshot(Box<crate::snapshots::SnapshotWork>),
    /// Do something with images.
    Image(Box<crate::images::ImageWork>),
    /// Read a point back.
    Verify {
        /// The item.
        item: Uuid,
        /// The point.
        point: PointId,
    },
    /// Try a point out: what it comes to is a [`DrillRecord`](model::drill::DrillRecord).
    Drill {
        /// The item.
        item: Uuid,
        /// The point.
        point: PointId,
        /// What is done.
        options: DrillOptions,
    },
    /// Delete points in the vault. Whether they may go was settled by who asks.
    DeletePoints {
        /// The item.
        item: Uuid,
        /// Which: in the vault, if it has them.
        points: Vec<PointId>,
        /// Of which the copy in the snapshot tier goes. A point may stand in both lists: first this one.
        #[serde(default)]
        snapshots: Vec<PointId>,
        /// Those of them that the archive may have go there as well.
        #[serde(default)]
        archive: Option<InArchive>,
    },
    /// Bring deleted points back.
    UndeletePoints {
        /// The item.
        item: Uuid,
        /// Which.
        points: Vec<PointId>,
        /// Of which the copy in the snapshot tier comes back too.
        #[serde(default)]
        snapshots: Vec<PointId>,
        /// Those of them that are in the archive come back there, and nowhere else.
        #[serde(default)]
        archive: Option<InArchive>,
    },
    /// Copy points to the vault's second store: the result is a [`CopyOutcome`].
    Copy(Box<CopyWork>),
    /// Put the vault right from its second store.
    Heal(Box<HealWork>),
    /// Move points to the archive store, and drop some in the vault tier: the result is an [`ArchiveOutcome`].
    Archive(Box<ArchiveWork>),
    /// Copy a point back from the archive store.
    Rehydrate(Box<RehydrateWork>),
    /// Purge what was deleted before, and give space back.
    Collect {
        /// Points deleted longer ago than this may go for good, in seconds.
        soft_delete_seconds: i64,
        /// The time, by the server's clock: a mover's decides nothing that cannot be taken back.
        #[schema(value_type = String, format = DateTime)]
        now: Timestamp,
        /// The points that nobody was promised any longer. No other is purged in the vault, whatever its log says. Those
        /// of them that are in no store any more are told in the result, as `gone`.
        purge: Vec<PointId>,
        /// Space is given back in the archive store, too: those of the points that may be purged there.
        #[serde(default)]
        archive: Option<InArchive>,
    },
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackUpWork {
    /// The item: what the machine's points are kept under.
    pub item: Uuid,
    /// Where the machine is.
    pub host: AssignedHost,
    /// What its hypervisor knows it by.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// What to ask of the guest.
    pub consistency: ConsistencyWish,
    /// Which disks.
    pub disks: DiskSelection,
    /// Read everything.
    pub full: bool,
    /// Whether the point gets to the vault; else it stays in the snapshot tier alone.
    pub transfer: bool,
    /// Stands in the vault with the point, so that a catalog can be made again from it: see `Service`.
    pub service: Service,
}
