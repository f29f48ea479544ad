//! Holding a job.

use super::{Job, job};
use crate::row::{count, document, flag, micros};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use model::{HolderId, JobId};
use serde_json::Value;
use sqlx::any::AnyRow;

/// Two holders that reach for the same job: one gets it, the other looks again. With more tries than servers there
/// are, who gives up has seen that there is work for all of them.
const TRIES: u32 = 16;

/// A job that is ours until its lease ends. Whatever is written of the job is written through this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which job.
    pub job: JobId,
    /// Whose.
    pub owner: HolderId,
    /// The claim's number: a later one makes this one worthless.
    pub generation: u64,
}

impl Catalog {
    /// Claims the job that has been ready for longest: one that waits, or one whose holder's lease has ended.
    /// None when there is none.
    pub async fn claim_job(
        &self,
        owner: HolderId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<(Claim, Job)>> {
        let context = "claim a job";
        // Outside the inner select the condition stands once more: PostgreSQL looks at it again after waiting for
        // another's claim of the same row, at the select it does not.
        let update =
            "update jobs set state = 'running', owner = $1, lease_until = $2, generation = generation + 1,
                attempt = attempt + 1, started_at = coalesce(started_at, $3)
            where id = (select id from jobs
                where (state = 'queued' and ready_at <= $3) or (state = 'running' and lease_until < $3)
                order by ready_at, id limit 1)
            and ((state = 'queued' and ready_at <= $3) or (state = 'running' and lease_until < $3))
            returning *";
        for _ in 0..TRIES {
            let query = sqlx::query(update).bind(owner.to_string());
            let query =
                query.bind(micros(now.saturating_add(lease).unwrap_or(Timestamp::MAX))).bind(micros(now));
            let claimed = query.try_map(|row| job(&row)).fetch_optional(&self.pool).await;
            if let Some(job) = claimed.map_err(|e| Error::sql(context, e))? {
                let claim = Claim { job: job.new.id, owner, generation: job.generation };
                return Ok(Some((claim, job)));
            }
            if !self.is_any_ready(now).await? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn is_any_ready(&self, now: Timestamp) -> Result<bool> {
        let select = "select id from jobs
            where (state = 'queued' and ready_at <= $1) or (state = 'running' and lease_until < $1) limit 1";
        let found = sqlx::query(select).bind(micros(now)).fetch_optional(&self.pool).await;
        found.map(|row| row.is_some()).map_err(|e| Error::sql("look for jobs", e))
    }

    /// A holder's sign of life, with how far it has come. Gives whether the job was asked to end.
    ///
    /// # Errors
    /// `Changed` when the claim is no longer good: the work must stop, nothing of it may be written.
    pub async fn renew_job(
        &self,
        claim: &Claim,
        progress: &Value,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<bool> {
        let update = "update jobs set lease_until = $1, progress = $2
            where id = $3 and owner = $4 and generation = $5 and state = 'running' returning cancel";
        let query = sqlx::query(update).bind(micros(now.saturating_add(lease).unwrap_or(Timestamp::MAX)));
        let query = query.bind(document(progress)).bind(claim.job.to_string()).bind(claim.owner.to_string());
        let query = query.bind(count(claim.generation)).try_map(|row: AnyRow| flag(&row, "cancel"));
        let cancel = query.fetch_optional(&self.pool).await;
        let cancel = cancel.map_err(|e| Error::sql(format!("renew the job {}", claim.job), e))?;
        cancel.ok_or_else(|| lost(claim))
    }

    /// Ends a job.
    ///
    /// # Errors
    /// `Changed` when the claim is no longer good.
    pub async fn end_job(&self, claim: &Claim, state: &str, result: &Value, now: Timestamp) -> Result<()> {
        let update =
            "update jobs set state = $1, result = $2, ended_at = $3, owner = null, lease_until = null
            where id = $4 and owner = $5 and generation = $6 and state = 'running'";
        let query = sqlx::query(update).bind(state).bind(document(result)).bind(micros(now));
        let query = query.bind(claim.job.to_string()).bind(claim.owner.to_string());
        let done = query.bind(count(claim.generation)).execute(&self.pool).await;
        let done = done.map_err(|e| Error::sql(format!("end the job {}", claim.job), e))?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(lost(claim)) }
    }

    /// Gives a job back, to be tried again later.
    ///
    /// # Errors
    /// `Changed` when the claim is no longer good.
    pub async fn put_job_back(&self, claim: &Claim, reason: &Value, ready: Timestamp) -> Result<()> {
        let update =
            "update jobs set state = 'queued', result = $1, ready_at = $2, owner = null, lease_until = null
            where id = $3 and owner = $4 and generation = $5 and state = 'running'";
        let query = sqlx::query(update).bind(document(reason)).bind(micros(ready));
        let query = query.bind(claim.job.to_string()).bind(claim.owner.to_string());
        let done = query.bind(count(claim.generation)).execute(&self.pool).await;
        let done = done.map_err(|e| Error::sql(format!("give the job {} back", claim.job), e))?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(lost(claim)) }
    }
}

fn lost(claim: &Claim) -> Error {
    let text = format!("hold the job {}: its lease has ended, and another has it or it is over", claim.job);
    Error::new(ErrorKind::Changed, text)
}
