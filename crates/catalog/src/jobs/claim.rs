//! Claims: who gets which job, under limits that hold over all servers.

use super::log::{self, Before};
use super::{JobRow, Told, job};
use crate::row::{count, document, micros, parsed};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use model::job::Event;
use model::schedule::Limits;
use model::{ClaimantId, JobId};
use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Transaction};
use uuid::Uuid;

/// Claims are looked for this many at once: the first is taken unless somebody changes it at that very moment.
const CANDIDATES: i64 = 16;
/// Drills that one mover makes at once: each takes a machine's memory and processors from its host.
const DRILLS_A_MOVER: i64 = 1;
/// The subject that stands for claiming: no job has it.
const CLAIMING: &str = "claims";

/// Who wants a job, and which it may get.
#[derive(Clone, Copy, Debug)]
pub struct ClaimWish<'a> {
    /// The run of a mover.
    pub claimant: ClaimantId,
    /// The mover's name.
    pub mover: &'a str,
    /// The session in the vault that the claim is to write under.
    pub session: Uuid,
    /// How long the claim holds without a word.
    pub lease: SignedDuration,
    /// How many jobs that load a host or a store may run at once.
    pub limits: Limits,
}

impl Catalog {
    /// Claims the job that could have been claimed for longest, of those that this mover may do and that there is
    /// room for. None when there is none. One whose holders went away too often has failed by being claimed once
    /// more: it is given as well, over, and there may be others.
    ///
    /// Backups and verifications wait for room; what somebody waits for does not, but takes room from them.
    pub async fn claim_job(&self, wish: &ClaimWish<'_>, now: Timestamp) -> Result<Option<JobRow>> {
        let sql = |e| Error::sql("claim a job", e);
        // Most looks find nothing: those hold nobody up.
        if candidates(&self.pool, wish, now).await.map_err(sql)?.is_empty() {
            return Ok(None);
        }
        loop {
            let mut transaction = self.begin().await.map_err(sql)?;
            // INVARIANT: whoever claims holds this row until its claim is written, so no two servers count the same
            // room and both take it.
            let hold = "insert into subjects (subject, touched_at) values ($1, $2)
                on conflict (subject) do update set touched_at = excluded.touched_at";
            let query = sqlx::query(hold).bind(CLAIMING).bind(micros(now));
            query.execute(&mut *transaction).await.map_err(sql)?;
            let mut lost = false;
            for id in candidates(&mut *transaction, wish, now).await.map_err(sql)? {
                match claim(&mut transaction, id, wish, now).await {
                    Ok(None) => {}
                    Ok(Some(row)) => {
                        transaction.commit().await.map_err(sql)?;
                        return Ok(Some(row));
                    }
                    Err(error) if error.kind() == ErrorKind::Changed => lost = true,
                    Err(error) => return Err(error),
                }
            }
            // Only who lost one to somebody's change has reason to believe that there are more.
            if !lost {
                return Ok(None);
            }
        }
    }
}

/// Jobs that could be claimed, the one that has been so for longest first.
async fn candidates<'e>(
    database: impl Executor<'e, Database = Any>,
    wish: &ClaimWish<'_>,
    now: Timestamp,
) -> sqlx::Result<Vec<JobId>> {
    // What runs under a lease that holds is counted: a holder that is gone takes no room from others.
    let select = "with running as (
            select host_id, coalesce(vault_id, '') as vault_id from jobs
            where state in ('in_progress', 'cancelling') and claimable_at > $1
                and kind in ('backup', 'restore', 'replace', 'verify'))
        select id from jobs where claimable_at <= $1 and mover in ('', $2)
            and (kind not in ('backup', 'verify') or (
                (select count(*) from running) < $3
                and host_id not in (select host_id from running where host_id <> ''
                    group by host_id having count(*) >= $4)
                and coalesce(vault_id, '') not in (select vault_id from running
                    group by vault_id having count(*) >= $5)))
            and (kind <> 'drill' or $7 > (select count(*) from jobs drills where drills.kind = 'drill'
                and drills.mover = $2 and drills.state in ('in_progress', 'cancelling')
                and drills.claimable_at > $1))
        order by claimable_at, id limit $6";
    let limit = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(select).bind(micros(now)).bind(wish.mover).bind(limit(wish.limits.overall));
    let query = query.bind(limit(wish.limits.per_host)).bind(limit(wish.limits.per_store));
    let query = query.bind(CANDIDATES).bind(DRILLS_A_MOVER);
    query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_all(database).await
}

/// Claims one job; none if it is not to be claimed after all.
async fn claim(
    transaction: &mut Transaction<'static, Any>,
    id: JobId,
    wish: &ClaimWish<'_>,
    now: Timestamp,
) -> Result<Option<JobRow>> {
    let sql = |e| Error::sql(format!("claim the job {id}"), e);
    let query = sqlx::query("select * from jobs where id = $1").bind(id.to_string());
    let found = query.try_map(|row| job(&row)).fetch_optional(&mut **transaction).await.map_err(sql)?;
    let Some(mut row) = found else { return Ok(None) };
    let until = now.saturating_add(wish.lease).unwrap_or(Timestamp::MAX);
    let before = Before::of(&row);
    let Ok(claimed) = row.job.apply(Event::Claim(wish.claimant, until), now) else { return Ok(None) };
    row.job = claimed;
    if !row.job.is_over() {
        row.sessions.push(wish.session);
        // What an earlier claim was told to do stays: it may have done it, and nobody has heard.
        row.claimed = Some(now);
    }
    row.store(&mut **transaction, now).await?;
    let note = "update jobs set sessions = $1, claimed_at = $2 where id = $3 and revision = $4";
    let query = sqlx::query(note).bind(document(&row.sessions)).bind(row.claimed.map(micros));
    let query = query.bind(id.to_string()).bind(count(row.revision));
    query.execute(&mut **transaction).await.map_err(sql)?;
    let by = Told { by: Some(wish.mover.to_owned()), ..Told::default() };
    log::write(transaction, id, &before.lines(&row, &by), now).await?;
    Ok(Some(row))
}
