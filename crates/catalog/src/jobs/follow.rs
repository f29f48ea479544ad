//! What follows from a report: done after it was stored, as often as it takes, and marked.

use super::{JobRow, job};
use crate::row::{count, document, micros, parsed, text};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use model::job::JobKind;
use model::{JobId, VaultId};
use serde_json::Value;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// Jobs of a vault that wait for one mover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingJobs {
    /// The vault.
    pub vault: VaultId,
    /// The mover.
    pub mover: String,
    /// How many.
    pub jobs: u64,
    /// Since when the first of them does.
    pub since: Timestamp,
}

impl Catalog {
    /// Jobs whose reports were stored, and what follows from them not done: the server that took them died, or it
    /// had to wait until now. Those that were looked at least lately come first.
    pub async fn jobs_to_follow(&self, now: Timestamp, limit: u32) -> Result<Vec<JobRow>> {
        let select = "select * from jobs where followed = 0 and coalesce(follow_at, 0) <= $1
            order by coalesce(follow_at, 0), created_at limit $2";
        let query = sqlx::query(select).bind(micros(now)).bind(i64::from(limit)).try_map(|row| job(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for jobs to follow", e))
    }

    /// Has a job looked at again, not before then.
    pub async fn follow_later(&self, row: &JobRow, at: Timestamp) -> Result<()> {
        let update = "update jobs set followed = 0, follow_at = $1 where id = $2 and revision = $3";
        let query = sqlx::query(update).bind(micros(at)).bind(row.id.to_string()).bind(count(row.revision));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("have a job followed later", e))
    }

    /// Marks that all that follows from a job as it was read is done. One that was changed since is looked at again.
    pub async fn job_followed(&self, row: &JobRow) -> Result<()> {
        let update = "update jobs set followed = 1 where id = $1 and revision = $2";
        let query = sqlx::query(update).bind(row.id.to_string()).bind(count(row.revision));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("mark a job as followed", e))
    }

    /// Notes what a claim is told to do.
    ///
    /// # Errors
    /// `Changed` when the claim is no longer the newest.
    pub async fn note_order(&self, row: &JobRow, ordered: &Value) -> Result<()> {
        let update = "update jobs set ordered = $1 where id = $2 and revision = $3";
        let query = sqlx::query(update).bind(document(ordered)).bind(row.id.to_string());
        let done = query.bind(count(row.revision)).execute(&self.pool).await;
        match done.map_err(|e| Error::sql("note an order", e))?.rows_affected() {
            0 => Err(Error::new(ErrorKind::Changed, "note an order: the job was changed meanwhile")),
            _ => Ok(()),
        }
    }

    /// Whether a job of this kind is under way for a subject.
    pub async fn is_under_way(&self, subject: &str, kind: JobKind) -> Result<bool> {
        let select = "select id from jobs where subject = $1 and kind = $2 and ended_at is null limit 1";
        let query = sqlx::query(select).bind(subject).bind(crate::row::spelt(&kind));
        let found = query.fetch_optional(&self.pool).await;
        found.map(|row| row.is_some()).map_err(|e| Error::sql("look for a job", e))
    }

    /// The job for a slot, if there was one.
    pub async fn job_of_slot(&self, subject: &str, kind: JobKind, slot: &str) -> Result<Option<JobId>> {
        let select = "select id from jobs where kind = $1 and subject = $2 and slot = $3";
        let query = sqlx::query(select).bind(crate::row::spelt(&kind)).bind(subject).bind(slot);
        let found = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_optional(&self.pool).await;
        found.map_err(|e| Error::sql("look for the job of a slot", e))
    }

    /// How long backups took that went well since then, from their claim to their end: by item, the oldest first.
    pub async fn backups_took(&self, since: Timestamp) -> Result<Vec<(Uuid, SignedDuration)>> {
        let select = "select subject, claimed_at, ended_at from jobs where ended_at >= $1 and kind = 'backup'
                and state in ('completed', 'completed_with_warnings') and claimed_at is not null
            order by ended_at, id";
        let query = sqlx::query(select).bind(micros(since)).try_map(|row: AnyRow| {
            let (from, to) =
                (crate::row::instant(&row, "claimed_at")?, crate::row::instant(&row, "ended_at")?);
            Ok((parsed(&row, "subject")?, to.duration_since(from)))
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look at past backups", e))
    }

    /// Jobs of vaults that one mover alone may claim and nobody has, though they were there and could have been since
    /// then: what was missed while nobody was there is younger than its time.
    pub async fn jobs_waiting(&self, since: Timestamp) -> Result<Vec<WaitingJobs>> {
        let select = "select vault_id, mover, count(*) as jobs,
            min(case when claimable_at > created_at then claimable_at else created_at end) as since from jobs
            where claimable_at <= $1 and created_at <= $1 and mover <> '' and vault_id is not null
            group by vault_id, mover order by vault_id, mover";
        let query = sqlx::query(select).bind(micros(since)).try_map(|row: AnyRow| {
            Ok(WaitingJobs {
                vault: parsed(&row, "vault_id")?,
                mover: text(&row, "mover")?,
                jobs: crate::row::number(&row, "jobs")?,
                since: crate::row::instant(&row, "since")?,
            })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for jobs that wait", e))
    }

    /// Backups that wait or are under way.
    pub async fn backups_under_way(&self) -> Result<Vec<JobRow>> {
        let select = "select * from jobs where claimable_at is not null and kind = 'backup'
            order by claimable_at, id";
        let query = sqlx::query(select).try_map(|row| job(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look at backups under way", e))
    }

    /// How many jobs made since then are in each state; of these vaults, or of all.
    pub async fn jobs_by_state(
        &self,
        since: Timestamp,
        seen: Option<&[VaultId]>,
    ) -> Result<Vec<(String, u64)>> {
        let select = "select state, count(*) as jobs from jobs where created_at >= $1
                and ($2 = '*' or $2 like '%' || coalesce(vault_id, '*') || '%')
            group by state order by state";
        let seen = seen.map_or_else(|| "*".to_owned(), super::listed);
        let query = sqlx::query(select).bind(micros(since)).bind(seen);
        let query =
            query.try_map(|row: AnyRow| Ok((text(&row, "state")?, crate::row::number(&row, "jobs")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("count the jobs", e))
    }
}
