//! What a mover says of an order, and is answered.

use crate::{JobError, JobProgress, Screenshot};
use jiff::Timestamp;
use model::cost::{Redundancy, StorageTier};
use model::job::{Failure, Generation, Step};
use model::{ClaimantId, PointId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

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
