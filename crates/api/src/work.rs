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

use jiff::Timestamp;
use model::cost::{Redundancy, StorageTier};
use model::job::{Failure, Generation, JobKind, Step};
use model::policy::{ConsistencyWish, DiskSelection, DrillOptions};
use model::{ClaimantId, HostId, JobId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    DiskTarget, JobError, JobProgress, MachineDisk, MachineState, NewMachine, RestoreFormat, Screenshot,
    StopMachine,
};

/// How long a claim holds without a word from its mover, in seconds. A mover reports three times as often.
pub const LEASE_SECONDS: u32 = 60;
/// How long the server lets a mover wait for an order at most, in seconds.
pub const CLAIM_WAIT_SECONDS_MAX: u32 = 25;

/// A mover that wants to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// What it is to be called: usually its host's name.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// The one-time token that an administrator made.
    pub token: String,
}

/// A mover that has joined.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// Its own token from now on.
    pub token: String,
    /// The host it stands for.
    pub host: HostId,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joined({})", self.host)
    }
}

/// A host that a mover is to speak with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssignedHost {
    /// Its id.
    pub id: HostId,
    /// `local`, or a libvirt URI.
    pub address: String,
}

/// The machines of a host, all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The host.
    pub host: HostId,
    /// Its machines.
    #[schema(max_items = 10000)]
    pub machines: Vec<SeenMachine>,
}

/// A machine as its hypervisor tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeenMachine {
    /// A uuid, or its name where it has none.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: MachineState,
    /// Its disks, if they could be told.
    pub disks: Vec<MachineDisk>,
    /// Why it cannot be backed up as it is: it has no monitor that anybody could speak with...
    #[serde(default)]
    pub obstacle: Option<String>,
    /// All else that is told.
    pub description: Value,
}

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

/// Another store of the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreAccess {
    /// Where it is.
    pub location: String,
    /// What the names of the variables begin with that hold its credentials; where there are none, the vault's count.
    pub credentials: Option<String>,
}

/// A point, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointOfItem {
    /// The item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
}

/// Copying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyWork {
    /// The second store, made if it is not there.
    pub to: StoreAccess,
    /// What is to be there, the oldest first.
    pub points: Vec<PointOfItem>,
    /// What is deleted there, softly: its days are over. No other is, whatever was deleted in the vault.
    pub let_go: Vec<PointId>,
    /// Give space back there: what was deleted longer ago than this is purged, in seconds. None: not this time.
    pub collect: Option<i64>,
    /// The time, by the server's clock.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The most that is fetched in a second.
    pub bytes_per_second: Option<u64>,
}

/// What came of copying.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CopyOutcome {
    /// What is in the second store now.
    pub copied: Vec<CopiedOfItem>,
    /// What the vault does not have.
    pub missing: Vec<PointId>,
    /// What is deleted in the second store now.
    pub let_go: Vec<PointId>,
    /// What copying added to the second store.
    pub stored_bytes: u64,
    /// What was given back there.
    pub freed_bytes: u64,
}

/// A point that is in the second store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CopiedOfItem {
    /// The item.
    pub item: Uuid,
    /// The machine's name.
    pub name: String,
    /// The point, as the second store has it; its id is the one the server knows.
    pub made: MadePoint,
}

/// Healing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealWork {
    /// The second store.
    pub from: StoreAccess,
    /// What the vault ought to have, the oldest first. What it lacks of them is copied back.
    pub points: Vec<PointOfItem>,
}

/// Points in the vault's archive store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InArchive {
    /// The store.
    pub store: StoreAccess,
    /// The points.
    pub points: Vec<PointId>,
}

/// Archiving: first what moves is copied and read back in the archive store, then it is dropped in the vault tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveWork {
    /// The archive store.
    pub to: StoreAccess,
    /// Whether it is made if it is not there: nothing is in it yet that the server knows of.
    pub make: bool,
    /// The item: what the machine's points are kept under.
    pub item: Uuid,
    /// What moves, the oldest first.
    pub moves: Vec<PointId>,
    /// What is there already, and is dropped in the vault tier as well.
    pub drops: Vec<PointId>,
    /// The time, by the server's clock.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The most that is fetched in a second.
    pub bytes_per_second: Option<u64>,
}

/// What came of archiving.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ArchiveOutcome {
    /// What the archive store has, whole.
    pub archived: Vec<ArchivedPoint>,
    /// What the vault tier does not have, or the archive store has purged.
    pub missing: Vec<PointId>,
    /// What is deleted in the vault tier now, softly.
    pub dropped: Vec<PointId>,
    /// What stays in the vault tier, since the archive store does not have it as it ought to.
    pub kept: Vec<PointId>,
    /// What archiving added to the archive store.
    pub stored_bytes: u64,
}

/// A point that is in the archive store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchivedPoint {
    /// The point, by the id the server knows.
    pub point: PointId,
    /// What it added there.
    pub stored_bytes: u64,
}

/// A point that is to come back from the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RehydrateWork {
    /// The archive store.
    pub from: StoreAccess,
    /// The item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
    /// The most that is fetched in a second.
    pub bytes_per_second: Option<u64>,
}

/// A machine that is to go back to a point, in its own place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplaceWork {
    /// The item: what the machine's points are kept under.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
    /// Where the machine is.
    pub host: AssignedHost,
    /// What its hypervisor knows it by.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// The replacement's id: every attempt, of this job or of one that finishes it, means the same.
    pub replacement: Uuid,
    /// How the machine is stopped if it runs.
    pub stop: Option<StopMachine>,
    /// Stands in the vault with the point of the present state; none: no such point is made, and the vault may be gone.
    pub safety: Option<Service>,
    /// The vault's second store, which the machine comes back from; none: the vault.
    #[serde(default)]
    pub from: Option<StoreAccess>,
    /// Only tell what would be done.
    pub plan: bool,
}

/// How a replacement stands: the `result` of its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToldReplacement {
    /// Its id.
    pub replacement: Uuid,
    /// Where it is written down, on the mover's host.
    pub journal: String,
    /// What is replaced.
    pub disks: Vec<ReplacedDisk>,
    /// Whether the machine ran when it was planned.
    pub was_running: bool,
    /// Files that are kept.
    pub kept: Vec<String>,
    /// The point of the present state, once it is made.
    pub safety: Option<MadePoint>,
}

/// A disk, or a file of firmware, that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplacedDisk {
    /// Its name in the point.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its size in the point.
    pub bytes: u64,
}

/// What the service says of a point, kept in the vault with it. A catalog is made again from these alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// The version of this shape: 1.
    pub version: u32,
    /// The job that made the point: no other point of the vault names it.
    pub job: JobId,
    /// The item.
    pub item: Uuid,
    /// The machine, as the catalog knew it.
    pub machine: model::MachineId,
    /// The machine's name.
    pub name: String,
    /// What its host's hypervisor knows it by.
    pub known_as: String,
    /// Why the point was made, with its slot and the days it stands for.
    pub origin: model::Origin,
    /// The policy, as it was.
    pub policy: Option<ServicePolicy>,
    /// What the vault promised then. None: made before this was written down.
    #[serde(default)]
    pub promised: Option<ServicePromise>,
}

/// What a vault promised when a point was made. Who takes it in keeps at least that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePromise {
    /// How long what was deleted can be brought back.
    pub soft_delete_days: u16,
    /// Whether nothing may be lost sooner than was promised.
    pub immutable: bool,
}

/// A policy, as it was when a point was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePolicy {
    /// Its id.
    pub id: model::PolicyId,
    /// Its name.
    pub name: String,
    /// What it said.
    pub document: model::policy::PolicyDocument,
}

/// Whose the bytes of a store are: what a mover has measured in a collection. Several reports of one job and store belong
/// together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageReport {
    /// As it claimed.
    pub claimant: ClaimantId,
    /// As the order says.
    pub generation: Generation,
    /// What the store is used for.
    pub tier: StorageTier,
    /// Which copy it holds.
    pub redundancy: Redundancy,
    /// What was found.
    #[schema(max_items = 2000)]
    pub usages: Vec<ReportedUsage>,
}

impl UsageReport {
    /// Usages in one report: far below what a request may hold.
    pub const USAGES_MAX: usize = 2000;
}

/// What was measured of a machine in a store, or of what is no machine's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportedUsage {
    /// What the vault calls the machine: the item, if the service made its points. `#unreferenced`, `#index`, `#other`
    /// for what is no machine's.
    #[schema(min_length = 1, max_length = 128)]
    pub subject: String,
    /// Its part of what is stored.
    pub share_bytes: u64,
    /// What it alone needs of that.
    pub alone_bytes: u64,
    /// What its disks hold; none for what is no machine's, or has no points but deleted ones.
    pub used_bytes: Option<u64>,
    /// Its points, but for deleted ones.
    pub points: u64,
}

/// What a mover says of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// As it claimed.
    pub claimant: ClaimantId,
    /// As the order says.
    pub generation: Generation,
    /// What happened.
    pub event: ReportEvent,
    /// How far it is; none leaves it as it was.
    #[serde(default)]
    pub progress: Option<JobProgress>,
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReportEvent {
    /// It goes on. The lease is made longer.
    GoesOn {},
    /// A step is done. With the last one the job is.
    StepDone {
        /// Which.
        step: Step,
        /// What the job has come to.
        result: Option<Value>,
    },
    /// The attempt failed.
    Failed {
        /// Why.
        error: JobError,
    },
    /// Given back unharmed: the mover shuts down.
    Released {},
    /// Ended as was wanted.
    Cancelled {},
}

impl ReportEvent {
    /// A failure.
    pub fn failed(failure: Failure, text: impl Into<String>) -> Self {
        Self::Failed { error: JobError { failure, text: text.into(), hint: None } }
    }
}

/// What the screen of a drill showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PictureReport {
    /// As it claimed.
    pub claimant: ClaimantId,
    /// As the order says.
    pub generation: Generation,
    /// The picture.
    pub screenshot: Screenshot,
}

/// What the server answers to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "instruction", rename_all = "snake_case")]
pub enum Instruction {
    /// Go on; the lease holds until then.
    GoOn {
        /// By the server's clock.
        #[schema(value_type = String, format = DateTime)]
        until: Timestamp,
    },
    /// Somebody wants it to end: leave things tidy and report so.
    Cancel {},
    /// The claim is no longer good: stop, and leave everything as it is.
    Lost {},
    /// The job is over.
    Over {},
}

/// What the vault has of a point that a backup has made: the `result` of a backup's step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MadePoint {
    /// Its id.
    pub point: PointId,
    /// The instant of its disks.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// `application`, `file_system` or `crash`.
    pub consistency: String,
    /// What was proved.
    pub evidence: Value,
    /// Its disks.
    pub disks: Vec<crate::PointDisk>,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
    /// Whether the snapshot tier has it.
    pub in_snapshot_tier: bool,
    /// Whether the vault has it.
    pub in_vault_tier: bool,
}
