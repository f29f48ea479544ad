//! Claims and reports: what movers are told, and what they tell.
//!
//! A job changes by `model`'s events alone, each under the claim that the mover shows. What follows from a report is
//! done after it is stored (`follow.rs`), so that a stale one changes nothing at all.

use crate::order::Prepared;
use crate::{Control, Result};
use api::work::{
    CLAIM_WAIT_SECONDS_MAX, ClaimRequest, Instruction, LEASE_SECONDS, Order, Report, ReportEvent,
    VaultAccess, Work,
};
use api::{Code, JobError};
use catalog::{ClaimWish, ErrorKind, JobRow, Told};
use jiff::{SignedDuration, Timestamp};
use model::JobId;
use model::job::{Claim, Event, Failure, JobState, Refusal};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a claim holds.
const LEASE: SignedDuration = SignedDuration::from_secs(LEASE_SECONDS as i64);
/// Jobs that another server queues are found by looking so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Control {
    /// Gives a mover something to do, waiting for it as long as the mover wishes.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn claim(&self, mover: &str, request: &ClaimRequest) -> Result<Option<Order>> {
        let wait = request.wait_seconds.min(CLAIM_WAIT_SECONDS_MAX);
        let end = Instant::now() + Duration::from_secs(wait.into());
        let mut changed = self.jobs_changed();
        self.catalog.see_mover(mover, self.now()).await?;
        loop {
            changed.mark_unchanged();
            let order = self.claim_now(mover, request).await?;
            if order.is_some() || Instant::now() >= end {
                return Ok(order);
            }
            // Whether it was told or not: it looks again.
            let _ = timeout_at(end.min(Instant::now() + LOOK_EVERY), changed.changed()).await;
        }
    }

    /// Gives a mover something to do, if there is anything now.
    async fn claim_now(&self, mover: &str, request: &ClaimRequest) -> Result<Option<Order>> {
        loop {
            let (now, session) = (self.now(), self.draw());
            let (claimant, limits) = (request.claimant, self.settings.limits);
            let wish = ClaimWish { claimant, mover, session, lease: LEASE, limits };
            let Some(row) = self.catalog.claim_job(&wish, now).await? else { return Ok(None) };
            self.tell_jobs_changed();
            let Some(claim) = row.job.claimed() else {
                // Its holders went away once too often.
                self.follow_or_tell(&row).await;
                continue;
            };
            if let Some(order) = self.order(&row, claim, now).await? {
                return Ok(Some(order));
            }
        }
    }

    /// The order for a claim; none if the job is over without anybody's doing.
    async fn order(&self, row: &JobRow, claim: Claim, now: Timestamp) -> Result<Option<Order>> {
        let prepared = async { Result::Ok((self.prepare(row, now).await?, self.access(row).await?)) };
        match prepared.await {
            Ok((Prepared::Work(work, ordered), vault)) => {
                match self.catalog.note_order(row, &document(&ordered)).await {
                    Ok(()) => return Ok(Some(order(row, claim, vault, *work))),
                    // Somebody cancelled it at this very moment.
                    Err(error) if error.kind() == ErrorKind::Changed => {
                        self.end_order(row, Event::Release(claim), None).await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((Prepared::Done, _)) => {
                for step in &row.job.kind.steps()[row.job.steps_done..] {
                    self.end_order(row, Event::StepDone(claim, *step), None).await?;
                }
            }
            Ok((Prepared::Unwanted(why), _)) => {
                self.end_order(row, Event::Cancel, None).await?;
                self.end_order(row, Event::Cancelled(claim), Some((Failure::Invalid, why))).await?;
            }
            Err(error) => {
                let failure = match error.code() {
                    Code::Unavailable | Code::Changed => Failure::Unreachable,
                    _ => Failure::Invalid,
                };
                let event = Event::Fail(claim, failure, self.draw().as_u64_pair().1);
                self.end_order(row, event, Some((failure, error.to_string()))).await?;
            }
        }
        Ok(None)
    }

    /// Ends what no mover is to do. That somebody was quicker is as good.
    async fn end_order(&self, row: &JobRow, event: Event, why: Option<(Failure, String)>) -> Result<()> {
        let error = why.map(|(failure, text)| document(&JobError { failure, text, hint: None }));
        let _ = self.apply(row.id, event, Told { error, ..Told::default() }).await?;
        Ok(())
    }

    /// Takes a mover's report, and says how to go on.
    ///
    /// # Errors
    /// `Conflict` for a step that the job is not at; the catalog's.
    pub async fn report(&self, mover: &str, job: JobId, report: &Report) -> Result<Instruction> {
        let now = self.now();
        self.catalog.see_mover(mover, now).await?;
        let claim = Claim { claimant: report.claimant, generation: report.generation };
        let row = match self.catalog.job(job).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Instruction::Lost {}),
            found => found?,
        };
        let warns = report.progress.as_ref().is_some_and(|progress| !progress.warnings.is_empty());
        if warns && !row.job.has_warnings {
            // Refused like the report itself, if it is.
            let _ = self.catalog.change_job(job, Event::Warn(claim), Told::default(), now).await?;
        }
        let progress = report.progress.as_ref().map(document);
        let (event, told) = match &report.event {
            ReportEvent::GoesOn {} => (Event::Renew(claim, now + LEASE), Told::default()),
            ReportEvent::StepDone { step, result } => {
                (Event::StepDone(claim, *step), Told { result: result.clone(), ..Told::default() })
            }
            ReportEvent::Failed { error } => {
                let event = Event::Fail(claim, error.failure, self.draw().as_u64_pair().1);
                let error = self.with_way_out(&row, error).await;
                (event, Told { error: Some(document(&error)), ..Told::default() })
            }
            ReportEvent::Released {} => (Event::Release(claim), Told::default()),
            ReportEvent::Cancelled {} => (Event::Cancelled(claim), Told::default()),
        };
        match self.apply(job, event, Told { progress, ..told }).await? {
            Ok(row) => Ok(instruction(&row.job.state)),
            Err(Refusal::Over) => Ok(Instruction::Over {}),
            // The answer to the first report of this step was lost.
            Err(Refusal::NotThatStep(step)) if is_behind(&row, claim, step) => {
                Ok(instruction(&row.job.state))
            }
            Err(refusal @ (Refusal::NotThatStep(_) | Refusal::NotCancelling)) => {
                Err(crate::Error::new(Code::Conflict, refusal.to_string()))
            }
            Err(_) => Ok(Instruction::Lost {}),
        }
    }

    /// Applies an event, and does what follows from it.
    pub(crate) async fn apply(
        &self,
        job: JobId,
        event: Event,
        told: Told,
    ) -> Result<std::result::Result<JobRow, Refusal>> {
        let changed = self.catalog.change_job(job, event, told, self.now()).await?;
        if let Ok(row) = &changed {
            self.tell_jobs_changed();
            if !row.followed {
                self.follow_or_tell(row).await;
            }
        }
        Ok(changed)
    }

    /// Does what follows from a job. The report is stored: what fails here is done again by the engine.
    async fn follow_or_tell(&self, row: &JobRow) {
        if let Err(error) = self.follow(row).await {
            tracing::error!(job = %row.id, %error, "what follows from a job could not be done yet");
        }
    }
}

fn order(row: &JobRow, claim: Claim, vault: VaultAccess, work: Work) -> Order {
    let (session, fenced) = row.sessions.split_last().expect("a claim has added its own");
    Order {
        job: row.id,
        kind: row.job.kind,
        generation: claim.generation,
        steps_done: row.job.steps_done,
        result: row.result.clone(),
        vault,
        session: *session,
        fenced: fenced.to_vec(),
        work,
    }
}

fn document(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("plain data")
}

fn instruction(state: &JobState) -> Instruction {
    match state {
        JobState::InProgress { lease } => Instruction::GoOn { until: lease.until },
        JobState::Cancelling { .. } => Instruction::Cancel {},
        _ => Instruction::Over {},
    }
}

/// Whether the claim holds and its job is past that step.
fn is_behind(row: &JobRow, claim: Claim, step: model::job::Step) -> bool {
    let place = row.job.kind.steps().iter().position(|one| *one == step);
    row.job.claimed() == Some(claim) && place.is_some_and(|place| place < row.job.steps_done)
}
