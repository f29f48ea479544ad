//! Jobs, as people see them, cancel them and have them tried again.

use crate::copies::is_of_vault;
use crate::images::ImageRequest;
use crate::order::request_of;
use crate::request::Request;
use crate::snapshots::SnapshotRequest;
use crate::{Actor, Control, Error, Result};
use api::{Code, Job, JobLogEntry, JobProgress, JobState, JobStep, SkippedRun, StepState};
use catalog::{Cursor, JobFilter, JobRow, Told};
use jiff::Timestamp;
use model::access::Action;
use model::job::{Event, JobEvent, JobKind, JobState as State};
use model::retention::stands_for;
use model::schedule::Skipped;
use model::{JobId, Origin, VaultId};
use serde_json::json;
use uuid::Uuid;

impl Control {
    /// A job.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        Ok(told(self.job_row(id).await?))
    }

    /// What happened to a job, in order.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job_log(&self, id: JobId) -> Result<Vec<JobLogEntry>> {
        let row = self.job_row(id).await?;
        let written = self.catalog.job_log(id).await?;
        // That it was asked for stands with the job itself, and so does the end of one that is older than the log.
        let is_end_written = written.last().is_some_and(|line| line.event == JobEvent::Ended);
        let end = row.ended.filter(|_| !is_end_written).map(|at| (at, JobEvent::Ended, ended_as(&row)));
        let asked = (row.created, JobEvent::Asked, row.asked_by.clone().unwrap_or_default());
        let written = written.into_iter().map(|line| (line.at, line.event, line.text));
        let all = std::iter::once(asked).chain(written).chain(end);
        Ok(all.map(|(at, event, text)| JobLogEntry { at, event, text }).collect())
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// `Invalid` for a place that is not one of ours.
    pub async fn jobs(&self, filter: &JobFilter, after: Option<&str>, limit: u32) -> Result<api::Page<Job>> {
        let after: Option<Cursor> = match after.map(str::parse) {
            None => None,
            Some(Ok(place)) => Some(place),
            Some(Err(_)) => return Err(Error::invalid("after", "must be the `next` of the page before")),
        };
        let page = self.catalog.jobs(filter, after.as_ref(), limit).await?;
        let next = page.next.map(|place| place.to_string());
        Ok(api::Page { items: page.rows.into_iter().map(told).collect(), next })
    }

    /// Wants a job to end. One that waits ends at once, one that runs as soon as its mover has left things tidy.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is over.
    pub async fn cancel_job(&self, actor: &Actor, id: JobId) -> Result<Job> {
        self.job_row(id).await?;
        self.audit(actor, "job.cancel", &id.to_string(), &json!({})).await?;
        let by = Told { by: Some(actor.0.clone()), ..Told::default() };
        let changed = self.apply(id, Event::Cancel, by).await?;
        changed.map(told).map_err(|refusal| Error::new(Code::Conflict, refusal.to_string()))
    }

    /// Queues a job that asks for the same as one that failed, or was cancelled.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not over, went well, or something is under way that excludes it.
    pub async fn retry_job(&self, actor: &Actor, id: JobId) -> Result<JobId> {
        let row = self.job_row(id).await?;
        if !matches!(row.job.state, State::Failed | State::Cancelled) {
            let detail = format!("the job {id} has not failed: there is nothing to be tried again");
            return Err(Error::new(Code::Conflict, detail));
        }
        let vault = row.vault.ok_or_else(|| Error::not_found(format!("vault of the job {id}")))?;
        let subject = crate::order::item_of(&row)?;
        let request = match request_of(&row)? {
            Request::BackUp { origin: Origin::Scheduled { slot, .. }, full } => {
                // Another run may have stood for the same days since.
                let stands_for = stands_for(&slot, self.covered(subject).await?);
                Request::BackUp { origin: Origin::Scheduled { slot, stands_for }, full }
            }
            // The points stand as they did before it, and the request would find nothing to do.
            Request::UndeletePoints { .. } => return Err(undone("`strongroom undelete`")),
            Request::DeletePoints { purge_at: Some(_), .. } if row.job.state == State::Cancelled => {
                return Err(undone("`strongroom point delete` or `strongroom stop --delete-data`"));
            }
            Request::Snapshot(SnapshotRequest::Delete { .. } | SnapshotRequest::Undelete { .. }) => {
                return Err(undone("`strongroom snapshot delete` or `strongroom snapshot undelete`"));
            }
            Request::Image(ImageRequest::Delete { .. } | ImageRequest::Undelete { .. }) => {
                return Err(undone("`strongroom image delete` or `strongroom image undelete`"));
            }
            // Those that it has made go on to be its machines, and are not in the way.
            Request::Image(ImageRequest::Create { point, wish, same_as }) => {
                let same_as = Some(same_as.unwrap_or(id));
                Request::Image(ImageRequest::Create { point, wish, same_as })
            }
            // Whoever asks does not mean the window.
            Request::Drill { point, options, mover, from_copy, .. } => {
                Request::Drill { point, options, mover, until: None, from_copy }
            }
            other => other,
        };
        self.audit(actor, "job.retry", &id.to_string(), &json!({})).await?;
        self.queue_for(actor, vault, subject, &request).await
    }

    /// Slots of an item that had no run, the newest first.
    ///
    /// # Errors
    /// `NotFound` when the vault has no such item.
    pub async fn skipped_runs(&self, vault: VaultId, item: Uuid, limit: u32) -> Result<Vec<SkippedRun>> {
        let row = self.catalog.item(item).await;
        if !row.is_ok_and(|row| row.vault == vault) {
            return Err(Error::not_found(format!("item {item}")));
        }
        let shown = |one: Skipped| {
            let why = serde_json::to_value(one.why).expect("a word");
            SkippedRun { slot: one.slot.at, why: why.as_str().expect("a word").to_owned() }
        };
        Ok(self.catalog.skipped_runs(item, limit).await?.into_iter().map(shown).collect())
    }

    async fn job_row(&self, id: JobId) -> Result<JobRow> {
        match self.catalog.job(id).await {
            Err(error) if error.kind() == catalog::ErrorKind::NotFound => {
                Err(Error::not_found(format!("job {id}")))
            }
            found => Ok(found?),
        }
    }
}

/// What somebody must be allowed to do who has a job of this kind done again.
pub fn action_of(kind: JobKind) -> Action {
    match kind {
        JobKind::Backup => Action::BackUp,
        JobKind::Restore | JobKind::InstantRestore | JobKind::Replace | JobKind::Drill => Action::Restore,
        JobKind::Plan | JobKind::UndoReplace => Action::Restore,
        JobKind::DeleteData | JobKind::RemoveKept => Action::DeleteData,
        JobKind::Verify | JobKind::CompareSnapshots | JobKind::MeasureSnapshots => Action::Verify,
        JobKind::Snapshot => Action::BackUp,
        JobKind::ExportSnapshot | JobKind::CopySnapshot | JobKind::CopyImage => Action::Restore,
        JobKind::CaptureImage => Action::CaptureImage,
        JobKind::CreateMachines | JobKind::CreateMachinesAtOnce => Action::CreateMachines,
        JobKind::Undelete => Action::Undelete,
        JobKind::Rehydrate => Action::Restore,
        JobKind::Collect | JobKind::Copy | JobKind::Heal | JobKind::Archive => Action::UpdateVault,
    }
}

/// A job as the API tells it.
fn told(row: JobRow) -> Job {
    let next_attempt: Option<Timestamp> = match row.job.state {
        State::Waiting { until } => Some(until),
        _ => None,
    };
    let progress: JobProgress = serde_json::from_value(row.progress).unwrap_or_default();
    Job {
        id: row.id,
        kind: row.job.kind,
        vault: row.vault,
        // Those on snapshots and images work on no item.
        item: row.subject.parse().ok().filter(|_| {
            let is_unowned = [json!("snapshot"), json!("image")].contains(&row.request["request"]);
            !is_of_vault(row.job.kind) && !is_unowned
        }),
        name: row.name,
        state: state(&row.job.state),
        // Only people's wishes are for no slot; what expired nobody wished for.
        asked_by: row.asked_by,
        scheduled: row.slot.is_some() || row.request["expired"] == json!(true),
        steps: steps(&row.job),
        progress,
        attempts: row.job.attempts,
        next_attempt,
        error: row.error.and_then(|error| serde_json::from_value(error).ok()),
        result: row.result,
        created: row.created,
        ended: row.ended,
    }
}

fn state(state: &State) -> JobState {
    match state {
        State::Queued => JobState::Queued,
        State::Waiting { .. } => JobState::Waiting,
        State::InProgress { .. } => JobState::InProgress,
        State::Cancelling { .. } => JobState::Cancelling,
        State::Completed => JobState::Completed,
        State::CompletedWithWarnings => JobState::CompletedWithWarnings,
        State::Failed => JobState::Failed,
        State::Cancelled => JobState::Cancelled,
    }
}

fn steps(job: &model::job::Job) -> Vec<JobStep> {
    let of = |(place, step): (usize, &model::job::Step)| {
        let state = match job.state {
            _ if place < job.steps_done => StepState::Done,
            _ if place > job.steps_done => StepState::Pending,
            State::InProgress { .. } | State::Cancelling { .. } => StepState::InProgress,
            State::Failed | State::Cancelled => StepState::Failed,
            _ => StepState::Pending,
        };
        JobStep { step: *step, title: step.to_string(), state }
    };
    job.kind.steps().iter().enumerate().map(of).collect()
}

/// How a job ended, in words.
fn ended_as(row: &JobRow) -> String {
    let word = serde_json::to_value(state(&row.job.state)).expect("a word");
    word.as_str().expect("a word").replace('_', " ")
}

fn undone(ask: &str) -> Error {
    Error::new(Code::Conflict, "what the job had begun was undone").hint(format!("ask for it anew: {ask}"))
}
