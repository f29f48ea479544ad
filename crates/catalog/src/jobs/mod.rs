//! Jobs: work that a person can see, done once however many servers there are.
//!
//! A job that is ready is *claimed*: who claims it holds it until its lease ends, and renews the lease while it
//! lives. Each claim counts the job's generation up, and whatever a holder writes names the generation it holds:
//! one that was too slow, and whose job was claimed by another, can write nothing any more (`claim.rs`).

mod claim;

pub use claim::Claim;

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{
    document, flag, instant, instant_option, json, micros, number, parsed, parsed_option, text,
};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::{HolderId, JobId, VaultId};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A job that is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// `backup`, `restore`...
    pub kind: String,
    /// The vault it belongs to; only its readers may see it.
    pub vault: Option<VaultId>,
    /// What it works on: an item, a point, a vault.
    pub subject: String,
    /// What exactly is to be done.
    pub request: Value,
    /// Not before.
    pub ready: Timestamp,
    /// The slot of a schedule it is for: there is one job for each.
    pub slot: Option<String>,
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What it was made as.
    pub new: NewJob,
    /// `queued`, `running`, `completed`, `completed_with_warnings`, `failed` or `cancelled`.
    pub state: String,
    /// Steps and bytes.
    pub progress: Value,
    /// What came of it: a point, an error with its hint.
    pub result: Option<Value>,
    /// How many times it was claimed.
    pub attempt: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was first claimed.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether somebody wants it to end.
    pub cancel: bool,
    /// Who works on it.
    pub owner: Option<HolderId>,
    /// Until when, unless renewed.
    pub lease: Option<Timestamp>,
    /// How many claims there have been.
    pub generation: u64,
}

/// Which jobs. Empty means all.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of this vault.
    pub vault: Option<VaultId>,
    /// On this.
    pub subject: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
}

fn job(row: &AnyRow) -> sqlx::Result<Job> {
    let result: Option<String> = row.try_get("result")?;
    Ok(Job {
        new: NewJob {
            id: parsed(row, "id")?,
            kind: text(row, "kind")?,
            vault: parsed_option(row, "vault_id")?,
            subject: text(row, "subject")?,
            request: json(row, "request")?,
            ready: instant(row, "ready_at")?,
            slot: row.try_get("slot")?,
        },
        state: text(row, "state")?,
        progress: json(row, "progress")?,
        result: result.is_some().then(|| json(row, "result")).transpose()?,
        attempt: number(row, "attempt")?,
        created: instant(row, "created_at")?,
        started: instant_option(row, "started_at")?,
        ended: instant_option(row, "ended_at")?,
        cancel: flag(row, "cancel")?,
        owner: parsed_option(row, "owner")?,
        lease: instant_option(row, "lease_until")?,
        generation: number(row, "generation")?,
    })
}

impl Catalog {
    /// Queues a job. Gives whether it is new: for a slot that has its job already, nothing is done.
    ///
    /// # Errors
    /// `Exists` when the same work on the same subject is queued or running.
    pub async fn add_job(&self, new: &NewJob, now: Timestamp) -> Result<bool> {
        let context = || format!("queue the {} of {}", new.kind, new.subject);
        let insert =
            "insert into jobs (id, kind, vault_id, subject, state, request, progress, attempt, ready_at,
                created_at, cancel, generation, slot)
            values ($1, $2, $3, $4, 'queued', $5, '{}', 0, $6, $7, 0, 0, $8)
            on conflict (kind, subject, slot) where slot is not null do nothing";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(&new.kind);
        let query = query.bind(new.vault.map(|id| id.to_string())).bind(&new.subject);
        let query = query.bind(document(&new.request)).bind(micros(new.ready)).bind(micros(now));
        let done = query.bind(&new.slot).execute(&self.pool).await.map_err(|e| Error::sql(context(), e))?;
        Ok(done.rows_affected() == 1)
    }

    /// One job.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        let query = sqlx::query("select * from jobs where id = $1").bind(id.to_string());
        let found = query.try_map(|row| job(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the job {id}"), e))
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter, after: Option<&Cursor>, limit: u32) -> Result<Page<Job>> {
        let (key, id) = after.map(|c| (&*c.key, &*c.id)).unwrap_or(("", "~"));
        let before = match key {
            "" => i64::MAX,
            key => key.parse().map_err(|_| {
                Error::new(ErrorKind::Invalid, "read the place in a list of jobs: it is not one of ours")
            })?,
        };
        let select = "select * from jobs where (created_at, id) < ($1, $2)
            and ($3 = '' or vault_id = $3) and ($4 = '' or subject = $4)
            and ($5 = '' or state = $5) and ($6 = '' or kind = $6)
            order by created_at desc, id desc limit $7";
        let text = |value: Option<String>| value.unwrap_or_default();
        let query = sqlx::query(select).bind(before).bind(id);
        let query =
            query.bind(text(filter.vault.map(|id| id.to_string()))).bind(text(filter.subject.clone()));
        let query = query.bind(text(filter.state.clone())).bind(text(filter.kind.clone()));
        let rows = query.bind(with_one_more(limit)).try_map(|row| job(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the jobs", e))?;
        Ok(Page::of(rows, limit, |row| Cursor {
            key: micros(row.created).to_string(),
            id: row.new.id.to_string(),
        }))
    }

    /// Asks a job to end. One that waits ends at once; one that runs is told at its next sign of life. Gives
    /// whether there was anything to end.
    pub async fn cancel_job(&self, id: JobId, now: Timestamp) -> Result<bool> {
        let update = "update jobs set cancel = 1,
                ended_at = case when state = 'queued' then $1 else ended_at end,
                state = case when state = 'queued' then 'cancelled' else state end
            where id = $2 and state in ('queued', 'running')";
        let query = sqlx::query(update).bind(micros(now)).bind(id.to_string());
        let done = query.execute(&self.pool).await;
        let done = done.map_err(|e| Error::sql(format!("cancel the job {id}"), e))?;
        Ok(done.rows_affected() == 1)
    }

    /// Forgets jobs that ended before. Gives how many.
    pub async fn forget_jobs(&self, before: Timestamp) -> Result<u64> {
        let query = sqlx::query("delete from jobs where ended_at < $1").bind(micros(before));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("forget old jobs", e))?;
        Ok(done.rows_affected())
    }
}
