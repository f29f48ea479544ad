//! Jobs: work that a person can see, done once however many servers there are.
//!
//! What a job may become is `model`'s to say ([`model::job::Job::apply`]). Here a job is a row with a revision: who
//! read an older one cannot write, so of two servers that apply an event to the same state one succeeds, and the
//! other reads again (`change.rs`). Who may claim, and how many run at once, is counted by one server at a time
//! (`claim.rs`). What happened is written down with it (`log.rs`). What follows from a report is done after it is stored, and marked as done (`follow.rs`).

mod change;
mod claim;
mod follow;
mod log;

pub(crate) use change::queue_in;
pub use change::{Queued, Told};
pub use claim::ClaimWish;
pub use follow::WaitingJobs;
pub use log::JobLogRow;

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{flag, instant, instant_option, json, micros, number, parsed, parsed_option, text};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::job::{Job, JobKind};
use model::{HostId, JobId, VaultId};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// A job that is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The vault it belongs to; only its readers may see it.
    pub vault: Option<VaultId>,
    /// What it works on. Jobs of one subject exclude each other as their kinds say.
    pub subject: String,
    /// What people call that.
    pub name: String,
    /// The mover that may claim it; none: any.
    pub mover: Option<String>,
    /// The host whose machine it works on.
    pub host: Option<HostId>,
    /// What exactly is to be done.
    pub request: Value,
    /// Not before: a scheduled run has its start within the window.
    pub ready: Timestamp,
    /// The slot of a schedule it is for: there is one job for each.
    pub slot: Option<String>,
    /// Who asked for it, by name; none: nobody did.
    pub asked_by: Option<String>,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// The vault it belongs to.
    pub vault: Option<VaultId>,
    /// What it works on.
    pub subject: String,
    /// What people call that.
    pub name: String,
    /// The mover that may claim it; none: any.
    pub mover: Option<String>,
    /// The host whose machine it works on.
    pub host: Option<HostId>,
    /// What exactly is to be done.
    pub request: Value,
    /// Where it is.
    pub job: Job,
    /// Bytes and disks, for people.
    pub progress: Value,
    /// What came of it: a point.
    pub result: Option<Value>,
    /// Why it failed, or its last attempt.
    pub error: Option<Value>,
    /// A session in the vault for each claim, the newest last.
    pub sessions: Vec<Uuid>,
    /// What the last claim that was told anything was told to do, where that was settled with the claim.
    pub ordered: Option<Value>,
    /// Whether all that follows from what was reported has been done.
    pub followed: bool,
    /// When it is to be looked at again, if what follows had to wait.
    pub follow_at: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last claimed.
    pub claimed: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// The slot it is for.
    pub slot: Option<String>,
    /// Who asked for it, by name; none: nobody did, or it is not known any more.
    pub asked_by: Option<String>,
    /// Which version of the row this is.
    pub revision: u64,
}

/// Which jobs. Empty means all.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of this vault.
    pub vault: Option<VaultId>,
    /// On this.
    pub subject: Option<String>,
    /// In this state, by its first word.
    pub state: Option<String>,
    /// Of this kind, by its word.
    pub kind: Option<String>,
    /// Of one of these vaults: all that whoever asks may see. None: of any, and of none.
    pub seen: Option<Vec<VaultId>>,
}

/// A document that may be missing.
fn json_option(row: &AnyRow, column: &str) -> sqlx::Result<Option<Value>> {
    let text: Option<String> = row.try_get(column)?;
    text.is_some().then(|| json(row, column)).transpose()
}

pub(crate) fn job(row: &AnyRow) -> sqlx::Result<JobRow> {
    let (mover, host) = (text(row, "mover")?, text(row, "host_id")?);
    Ok(JobRow {
        id: parsed(row, "id")?,
        vault: parsed_option(row, "vault_id")?,
        subject: text(row, "subject")?,
        name: text(row, "name")?,
        mover: (!mover.is_empty()).then_some(mover),
        host: (!host.is_empty()).then(|| parsed(row, "host_id")).transpose()?,
        request: json(row, "request")?,
        job: json(row, "job")?,
        progress: json(row, "progress")?,
        result: json_option(row, "result")?,
        error: json_option(row, "error")?,
        sessions: json(row, "sessions")?,
        ordered: json_option(row, "ordered")?,
        followed: flag(row, "followed")?,
        follow_at: instant_option(row, "follow_at")?,
        created: instant(row, "created_at")?,
        claimed: instant_option(row, "claimed_at")?,
        ended: instant_option(row, "ended_at")?,
        slot: row.try_get("slot")?,
        asked_by: row.try_get("asked_by")?,
        revision: number(row, "revision")?,
    })
}

/// Ids in one text: neither database takes a list as a parameter in the other's way.
pub(crate) fn listed(vaults: &[VaultId]) -> String {
    vaults.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl Catalog {
    /// One job.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, id: JobId) -> Result<JobRow> {
        let query = sqlx::query("select * from jobs where id = $1").bind(id.to_string());
        let found = query.try_map(|row| job(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the job {id}"), e))
    }

    /// When the next job may be claimed, if none is added: until then there is nothing to look for.
    pub async fn next_claimable(&self) -> Result<Option<Timestamp>> {
        let query =
            sqlx::query("select min(claimable_at) as claimable_at from jobs where claimable_at is not null");
        let next =
            query.try_map(|row: AnyRow| instant_option(&row, "claimable_at")).fetch_one(&self.pool).await;
        next.map_err(|e| Error::sql("look for the next job", e))
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter, after: Option<&Cursor>, limit: u32) -> Result<Page<JobRow>> {
        let (before, id) = Cursor::time_and_id(after)?;
        let select = "select * from jobs where (created_at, id) < ($1, $2)
            and ($3 = '' or vault_id = $3) and ($4 = '' or subject = $4)
            and ($5 = '' or state = $5) and ($6 = '' or kind = $6)
            and ($7 = '*' or $7 like '%' || coalesce(vault_id, '*') || '%')
            order by created_at desc, id desc limit $8";
        let text = |value: Option<String>| value.unwrap_or_default();
        let query = sqlx::query(select).bind(before).bind(id);
        let query =
            query.bind(text(filter.vault.map(|id| id.to_string()))).bind(text(filter.subject.clone()));
        let query = query.bind(text(filter.state.clone())).bind(text(filter.kind.clone()));
        let seen = filter.seen.as_ref().map_or_else(|| "*".to_owned(), |vaults| listed(vaults));
        let rows =
            query.bind(seen).bind(with_one_more(limit)).try_map(|row| job(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the jobs", e))?;
        Ok(Page::of(rows, limit, |row| Cursor::of_time(row.created, row.id)))
    }

    /// Forgets jobs that ended before. Gives how many.
    pub async fn forget_jobs(&self, before: Timestamp) -> Result<u64> {
        let query = sqlx::query("delete from jobs where ended_at < $1").bind(micros(before));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("forget old jobs", e))?;
        Ok(done.rows_affected())
    }

    /// One job that must be there for a change.
    pub(super) async fn job_to_change(&self, id: JobId, context: &str) -> Result<JobRow> {
        match self.job(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, format!("{context}: there is no job {id}")))
            }
            found => found,
        }
    }
}
