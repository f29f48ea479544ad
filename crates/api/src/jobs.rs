//! Jobs.

use jiff::Timestamp;
use model::job::{Failure, JobEvent, JobKind, Step};
use model::{JobId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// The answer to what takes long: a job that does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Watch it at `/v1/jobs/{job}` or `/v1/jobs/{job}/events`.
    pub job: JobId,
}

/// One run of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The vault it belongs to.
    pub vault: Option<VaultId>,
    /// The item it works on.
    #[schema(value_type = Option<Uuid>)]
    pub item: Option<Uuid>,
    /// The machine's name, or what else it works on.
    pub name: String,
    /// Where it is.
    pub state: JobState,
    /// Whether a schedule asked for it rather than somebody.
    pub scheduled: bool,
    /// Who asked for it, where somebody did and it is known.
    #[serde(default)]
    pub asked_by: Option<String>,
    /// Its parts.
    pub steps: Vec<JobStep>,
    /// How far it is.
    pub progress: JobProgress,
    /// Attempts that began.
    pub attempts: u32,
    /// Waiting to be tried again: until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt: Option<Timestamp>,
    /// Why it failed, or its last attempt.
    pub error: Option<JobError>,
    /// What came of it: `{"point": ID}` of a backup, `{"files": [...]}` of a restore.
    pub result: Option<Value>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobLogEntry {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened.
    pub event: JobEvent,
    /// What about it: who asked for it or wants it to end, the mover that began, the step that is done, what is warned
    /// of, why an attempt failed, how it ended. May be empty.
    pub text: String,
}

/// Where a job is, in Azure's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a mover.
    Queued,
    /// Waits to be tried again.
    Waiting,
    /// A mover works on it.
    InProgress,
    /// Somebody wants it to end.
    Cancelling,
    /// It went well.
    Completed,
    /// It went well, and there is something to tell.
    CompletedWithWarnings,
    /// It did not.
    Failed,
    /// Ended as somebody wanted.
    Cancelled,
}

impl JobState {
    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithWarnings | Self::Failed | Self::Cancelled)
    }
}

/// A part of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStep {
    /// Which.
    pub step: Step,
    /// In Azure's words: `Take snapshot`, `Transfer data to vault`.
    pub title: String,
    /// Where it is.
    pub state: StepState,
}

/// Where a part of a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its turn has not come.
    Pending,
    /// It is being done.
    InProgress,
    /// It is done.
    Done,
    /// The job ended in it.
    Failed,
}

/// How far a job is. Everything a mover tells, and nothing a server believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobProgress {
    /// What is being done, in words.
    pub doing: String,
    /// Bytes dealt with, of the disks that have had their turn.
    pub done_bytes: u64,
    /// Bytes in all; 0 while that is not known.
    pub total_bytes: u64,
    /// Its disks.
    pub disks: Vec<DiskProgress>,
    /// What somebody should know: why a point is less consistent than wished, a record of changes that lied.
    pub warnings: Vec<String>,
}

/// How far a disk is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DiskProgress {
    /// Its name.
    pub name: String,
    /// Bytes dealt with.
    pub done_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
    /// Whether only changes are read, or why everything is.
    pub tracking: String,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// As fine as what to do next differs.
    pub failure: Failure,
    /// What went wrong, with its causes.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A slot of a schedule that had no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkippedRun {
    /// When it was to be.
    #[schema(value_type = String, format = DateTime)]
    pub slot: Timestamp,
    /// `missed`: nobody was there to start it; `still_running`: the run before it was under way.
    pub why: String,
}
