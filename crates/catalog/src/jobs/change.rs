//! Queueing jobs, and every change of one.

use super::log::{self, Before};
use super::{JobRow, NewJob, job};
use crate::row::{count, document, first_word, micros, spelt};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::JobId;
use model::job::{Event, Job, JobState, Refusal};
use serde_json::Value;
use sqlx::{Any, Executor, Transaction};

/// Writers of one job at the same moment: its holder and a person or two. Each round one of them succeeds.
const TRIES: u32 = 16;

/// What came of queueing a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Queued {
    /// It is queued.
    New,
    /// The slot has had its job.
    SlotIsTaken,
    /// This one is under way, and excludes it.
    Excluded(Box<JobRow>),
}

impl Catalog {
    /// Queues a job.
    pub async fn queue_job(&self, new: &NewJob, now: Timestamp) -> Result<Queued> {
        let sql = |e| Error::sql(format!("queue a job for {}", new.subject), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        let queued = queue_in(&mut transaction, new, now).await?;
        if queued == Queued::New {
            transaction.commit().await.map_err(sql)?;
        }
        Ok(queued)
    }

    /// Applies an event to a job, with what there is to show of it. Gives the job as it is then, or why the event
    /// changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Changed` when others change it without end.
    pub async fn change_job(
        &self,
        id: JobId,
        event: Event,
        told: Told,
        now: Timestamp,
    ) -> Result<std::result::Result<JobRow, Refusal>> {
        let context = "change a job";
        for _ in 0..TRIES {
            let mut row = self.job_to_change(id, context).await?;
            let before = Before::of(&row);
            match row.job.apply(event, now) {
                Err(refusal) => return Ok(Err(refusal)),
                Ok(job) => {
                    row.followed &= job.steps_done == row.job.steps_done;
                    row.job = job;
                }
            }
            if let Some(progress) = &told.progress {
                row.progress.clone_from(progress);
            }
            if told.result.is_some() {
                row.result.clone_from(&told.result);
            }
            if told.error.is_some() {
                row.error.clone_from(&told.error);
            }
            let lines = before.lines(&row, &told);
            let stored = match lines.is_empty() {
                true => row.store(&self.pool, now).await,
                false => self.store_and_write(&mut row, &lines, now).await,
            };
            match stored {
                Err(error) if error.kind() == ErrorKind::Changed => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(Ok(row)),
            }
        }
        Err(Error::new(ErrorKind::Changed, format!("{context}: {id} is changed by too many at once")))
    }

    /// Writes a job that was read and changed, and what is to be read of that afterwards.
    async fn store_and_write(&self, row: &mut JobRow, lines: &[log::Line], now: Timestamp) -> Result<()> {
        let sql = |e| Error::sql("change a job", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        row.store(&mut *transaction, now).await?;
        log::write(&mut transaction, row.id, lines, now).await?;
        transaction.commit().await.map_err(sql)
    }
}

/// Queues a job in a transaction, which is to be given up if it is not new.
pub(crate) async fn queue_in(
    transaction: &mut Transaction<'static, Any>,
    new: &NewJob,
    now: Timestamp,
) -> Result<Queued> {
    let sql = |e| Error::sql(format!("queue a job for {}", new.subject), e);
    // INVARIANT: whoever queues for this subject holds its row until it is done, so nobody else queues what
    // excludes it in between.
    let hold = "insert into subjects (subject, touched_at) values ($1, $2)
        on conflict (subject) do update set touched_at = excluded.touched_at";
    sqlx::query(hold).bind(&new.subject).bind(micros(now)).execute(&mut **transaction).await.map_err(sql)?;
    let select = "select * from jobs where subject = $1 and (ended_at is null or (kind = $2 and slot = $3))";
    let query = sqlx::query(select).bind(&new.subject).bind(spelt(&new.kind)).bind(&new.slot);
    let others = query.try_map(|row| job(&row)).fetch_all(&mut **transaction).await.map_err(sql)?;
    if new.slot.is_some() && others.iter().any(|other| other.slot == new.slot && other.job.kind == new.kind) {
        return Ok(Queued::SlotIsTaken);
    }
    if let Some(other) = others.into_iter().find(|other| new.kind.excludes(other.job.kind)) {
        return Ok(Queued::Excluded(Box::new(other)));
    }
    let insert =
        "insert into jobs (id, kind, vault_id, subject, name, mover, host_id, state, job, claimable_at,
            request, progress, sessions, followed, created_at, slot, asked_by, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '{}', '[]', 1, $12, $13, $14, 1)";
    let made = Job::new(new.kind);
    let query = sqlx::query(insert).bind(new.id.to_string()).bind(spelt(&new.kind));
    let query = query.bind(new.vault.map(|id| id.to_string())).bind(&new.subject).bind(&new.name);
    let query = query.bind(new.mover.as_deref().unwrap_or_default());
    let query = query.bind(new.host.map(|id| id.to_string()).unwrap_or_default());
    let query = query.bind(first_word(&made.state)).bind(document(&made)).bind(micros(new.ready));
    let query = query.bind(document(&new.request)).bind(micros(now)).bind(&new.slot);
    let query = query.bind(&new.asked_by);
    query.execute(&mut **transaction).await.map_err(sql)?;
    Ok(Queued::New)
}

impl JobRow {
    /// Writes a job that was read and changed, and counts its revision up.
    pub(super) async fn store<'e>(
        &mut self,
        database: impl Executor<'e, Database = Any>,
        now: Timestamp,
    ) -> Result<()> {
        let id = self.id;
        let context = || format!("change the job {id}");
        let ended = self.job.is_over().then(|| self.ended.unwrap_or(now));
        self.followed &= ended == self.ended;
        let update = "update jobs set state = $1, job = $2, claimable_at = $3, progress = $4, result = $5,
                error = $6, ended_at = $7, followed = $8, revision = revision + 1
            where id = $9 and revision = $10";
        let query = sqlx::query(update).bind(first_word(&self.job.state)).bind(document(&self.job));
        let query = query.bind(claimable(&self.job, now).map(micros)).bind(document(&self.progress));
        let query = query.bind(self.result.as_ref().map(document)).bind(self.error.as_ref().map(document));
        let query = query.bind(ended.map(micros)).bind(i64::from(self.followed));
        let query = query.bind(self.id.to_string()).bind(count(self.revision));
        let done = query.execute(database).await.map_err(|e| Error::sql(context(), e))?;
        if done.rows_affected() == 0 {
            return Err(Error::new(ErrorKind::Changed, context() + ": it was changed meanwhile"));
        }
        self.ended = ended;
        self.revision += 1;
        Ok(())
    }
}

/// What there is to show of a change.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// How far it is; none leaves it as it was.
    pub progress: Option<Value>,
    /// What came of it; none leaves it as it was.
    pub result: Option<Value>,
    /// Why an attempt failed; none leaves it as it was.
    pub error: Option<Value>,
    /// Who did it, where that is to be written down: the person that wants the job to end.
    pub by: Option<String>,
}

/// From when on a job may be claimed; none once it is over.
fn claimable(job: &Job, now: Timestamp) -> Option<Timestamp> {
    match job.state {
        JobState::Queued => Some(now),
        JobState::Waiting { until } => Some(until),
        JobState::InProgress { lease } | JobState::Cancelling { lease } => Some(lease.until),
        JobState::Completed | JobState::CompletedWithWarnings | JobState::Failed | JobState::Cancelled => {
            None
        }
    }
}
