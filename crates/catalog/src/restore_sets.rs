//! Many machines restored as one: which of their jobs there are is settled by one server at a time.

use crate::jobs::{NewJob, Queued, job, queue_in};
use crate::page::{Cursor, Page, with_one_more};
use crate::row::{count, document, instant, instant_option, json, micros, number, parsed, spelt, word};
use crate::{Catalog, Error, ErrorKind, JobRow, Result};
use jiff::Timestamp;
use model::VaultId;
use model::restores::RestoreSetState;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Executor};
use uuid::Uuid;

/// A set.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreSetRow {
    /// Its id.
    pub id: Uuid,
    /// The vault.
    pub vault: VaultId,
    /// Where it is.
    pub state: RestoreSetState,
    /// What it is made of. Does not change.
    pub document: Value,
    /// When it was made.
    pub created: Timestamp,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Which version of the row this is.
    pub revision: u64,
}

/// A set that is not over, and those of its jobs that were begun.
pub type OpenRestoreSet = (RestoreSetRow, Vec<JobRow>);

/// Held by whoever decides what begins: all sets share the room that there is.
const ROOM: &str = "restore-sets";

/// What is to become of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetStep {
    /// Jobs that begin.
    pub begin: Vec<NewJob>,
    /// Where it is then.
    pub state: RestoreSetState,
}

fn set(row: &AnyRow) -> sqlx::Result<RestoreSetRow> {
    Ok(RestoreSetRow {
        id: parsed(row, "id")?,
        vault: parsed(row, "vault_id")?,
        state: word(row, "state")?,
        document: json(row, "document")?,
        created: instant(row, "created_at")?,
        ended: instant_option(row, "ended_at")?,
        revision: number(row, "revision")?,
    })
}

impl Catalog {
    /// Adds a set, of which nothing has begun.
    pub async fn add_restore_set(&self, new: &RestoreSetRow) -> Result<()> {
        let insert = "insert into restore_sets (id, vault_id, state, document, created_at, revision)
            values ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(new.vault.to_string());
        let query = query.bind(spelt(&new.state)).bind(document(&new.document));
        let query = query.bind(micros(new.created)).bind(count(new.revision));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("add a restore of many", e))
    }

    /// One set.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn restore_set(&self, id: Uuid) -> Result<RestoreSetRow> {
        let found = one(&self.pool, id).await;
        found.map_err(|e| Error::sql(format!("find the restore of many {id}"), e))
    }

    /// A page of a vault's sets, newest first.
    pub async fn restore_sets(
        &self,
        vault: VaultId,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<RestoreSetRow>> {
        let (before, id) = Cursor::time_and_id(after)?;
        let select = "select * from restore_sets where vault_id = $1 and (created_at, id) < ($2, $3)
            order by created_at desc, id desc limit $4";
        let query = sqlx::query(select).bind(vault.to_string()).bind(before).bind(id);
        let rows = query.bind(with_one_more(limit)).try_map(|row| set(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the restores of many", e))?;
        Ok(Page::of(rows, limit, |row| Cursor::of_time(row.created, row.id)))
    }

    /// Sets that are not over, the oldest first.
    pub async fn open_restore_sets(&self) -> Result<Vec<RestoreSetRow>> {
        let select = "select * from restore_sets where ended_at is null order by created_at, id";
        let query = sqlx::query(select).try_map(|row| set(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for restores of many", e))
    }

    /// All sets that are not over but one, with their jobs.
    pub async fn other_restore_sets(&self, but: Uuid) -> Result<Vec<OpenRestoreSet>> {
        let sql = |e| Error::sql("look at restores of many", e);
        let mut connection = self.pool.acquire().await.map_err(sql)?;
        others(&mut connection, but).await.map_err(sql)
    }

    /// The jobs of a set that were begun.
    pub async fn jobs_of_set(&self, id: Uuid) -> Result<Vec<JobRow>> {
        jobs(&self.pool, id).await.map_err(|e| Error::sql("look at a restore of many", e))
    }

    /// Wants a set to end: nothing of it begins from now on.
    ///
    /// # Errors
    /// `Changed` when it is over.
    pub async fn cancel_restore_set(&self, id: Uuid) -> Result<()> {
        let update = "update restore_sets set state = $1, revision = revision + 1
            where id = $2 and ended_at is null";
        let query = sqlx::query(update).bind(spelt(&RestoreSetState::Cancelling)).bind(id.to_string());
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("cancel a restore of many", e))?;
        match done.rows_affected() {
            0 => Err(Error::new(ErrorKind::Changed, "cancel a restore of many: it is over")),
            _ => Ok(()),
        }
    }

    /// Does what `decide` says of a set as it stands, all or nothing; it is told how all other open sets stand. Jobs that
    /// something else excludes for now do not begin; the next look finds them waiting. Gives how many have begun; none of a
    /// set that is over.
    pub async fn step_restore_set(
        &self,
        id: Uuid,
        now: Timestamp,
        decide: impl FnOnce(&RestoreSetRow, &[JobRow], &[OpenRestoreSet]) -> SetStep + Send,
    ) -> Result<usize> {
        let sql = |e| Error::sql(format!("go on with the restore of many {id}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        // INVARIANT: whoever decides holds one row for all sets until the jobs are written, so no two servers count the
        // same room and both take it; and the set's own, so nothing begins of a set that was cancelled.
        let room = "insert into subjects (subject, touched_at) values ($1, $2)
            on conflict (subject) do update set touched_at = excluded.touched_at";
        let room = sqlx::query(room).bind(ROOM).bind(micros(now));
        room.execute(&mut *transaction).await.map_err(sql)?;
        let hold = "update restore_sets set revision = revision + 1 where id = $1 and ended_at is null";
        let held = sqlx::query(hold).bind(id.to_string()).execute(&mut *transaction).await.map_err(sql)?;
        if held.rows_affected() == 0 {
            return Ok(0);
        }
        let row = one(&mut *transaction, id).await.map_err(sql)?;
        let jobs = jobs(&mut *transaction, id).await.map_err(sql)?;
        let others = others(&mut transaction, id).await.map_err(sql)?;
        let SetStep { mut begin, state } = decide(&row, &jobs, &others);
        // Each holds its subject's row from here on: in one order, so that two sets never wait for each other.
        begin.sort_by(|one, other| one.subject.cmp(&other.subject));
        let mut begun = 0;
        for new in &begin {
            if queue_in(&mut transaction, new, now).await? == Queued::New {
                let note = "update jobs set set_id = $1 where id = $2";
                let query = sqlx::query(note).bind(id.to_string()).bind(new.id.to_string());
                query.execute(&mut *transaction).await.map_err(sql)?;
                begun += 1;
            }
        }
        let update = "update restore_sets set state = $1, ended_at = $2 where id = $3";
        let query = sqlx::query(update).bind(spelt(&state)).bind(state.is_over().then(|| micros(now)));
        query.bind(id.to_string()).execute(&mut *transaction).await.map_err(sql)?;
        transaction.commit().await.map_err(sql)?;
        Ok(begun)
    }

    /// Forgets sets that were over before. Gives how many.
    pub async fn forget_restore_sets(&self, before: Timestamp) -> Result<u64> {
        let query = sqlx::query("delete from restore_sets where ended_at < $1").bind(micros(before));
        let done =
            query.execute(&self.pool).await.map_err(|e| Error::sql("forget old restores of many", e))?;
        Ok(done.rows_affected())
    }
}

async fn one<'e>(database: impl Executor<'e, Database = Any>, id: Uuid) -> sqlx::Result<RestoreSetRow> {
    let query = sqlx::query("select * from restore_sets where id = $1").bind(id.to_string());
    query.try_map(|row| set(&row)).fetch_one(database).await
}

async fn jobs<'e>(database: impl Executor<'e, Database = Any>, id: Uuid) -> sqlx::Result<Vec<JobRow>> {
    let query = sqlx::query("select * from jobs where set_id = $1 order by id").bind(id.to_string());
    query.try_map(|row| job(&row)).fetch_all(database).await
}

/// All sets that are not over but one, with their jobs.
async fn others(connection: &mut AnyConnection, but: Uuid) -> sqlx::Result<Vec<OpenRestoreSet>> {
    let select = "select * from restore_sets where ended_at is null and id <> $1 order by created_at, id";
    let query = sqlx::query(select).bind(but.to_string()).try_map(|row| set(&row));
    let rows = query.fetch_all(&mut *connection).await?;
    let mut others = Vec::with_capacity(rows.len());
    for row in rows {
        let jobs = jobs(&mut *connection, row.id).await?;
        others.push((row, jobs));
    }
    Ok(others)
}
