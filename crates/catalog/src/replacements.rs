//! Machines put back to a point in their own place, until what was kept of them is removed.

use crate::row::{document, instant, json, micros, parsed, text};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{JobId, PointId, VaultId};
use serde_json::Value;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// A replacement.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplacementRow {
    /// Its id.
    pub id: Uuid,
    /// The vault that the machine comes back from.
    pub vault: VaultId,
    /// The item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
    /// The last job that worked on it.
    pub job: JobId,
    /// The mover that reaches the disks.
    pub mover: String,
    /// Where it is, in one word.
    pub state: String,
    /// What the first job was asked to do.
    pub request: Value,
    /// What its mover told last.
    pub told: Value,
    /// When it was begun.
    pub created: Timestamp,
}

fn replacement(row: &AnyRow) -> sqlx::Result<ReplacementRow> {
    Ok(ReplacementRow {
        id: parsed(row, "id")?,
        vault: parsed(row, "vault_id")?,
        item: parsed(row, "item_id")?,
        point: parsed(row, "point_id")?,
        job: parsed(row, "job_id")?,
        mover: text(row, "mover")?,
        state: text(row, "state")?,
        request: json(row, "request")?,
        told: json(row, "told")?,
        created: instant(row, "created_at")?,
    })
}

impl Catalog {
    /// Notes how a replacement stands by what a job told. What an older job is heard to say afterwards changes nothing.
    pub async fn put_replacement(&self, row: &ReplacementRow) -> Result<()> {
        // Ids of jobs sort by time.
        let insert = "insert into replacements
                (id, vault_id, item_id, point_id, job_id, mover, state, request, told, created_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            on conflict (id) do update set job_id = excluded.job_id, state = excluded.state, told = excluded.told
            where replacements.job_id <= excluded.job_id";
        let query = sqlx::query(insert).bind(row.id.to_string()).bind(row.vault.to_string());
        let query = query.bind(row.item.to_string()).bind(row.point.to_string()).bind(row.job.to_string());
        let query = query.bind(&row.mover).bind(&row.state).bind(document(&row.request));
        let query = query.bind(document(&row.told)).bind(micros(row.created));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("note a replacement", e))
    }

    /// One replacement.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn replacement(&self, id: Uuid) -> Result<ReplacementRow> {
        let query = sqlx::query("select * from replacements where id = $1").bind(id.to_string());
        let found = query.try_map(|row| replacement(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the replacement {id}"), e))
    }

    /// The replacements of an item, oldest first. A machine has few: somebody removes what they kept.
    pub async fn replacements(&self, item: Uuid) -> Result<Vec<ReplacementRow>> {
        let select = "select * from replacements where item_id = $1 order by created_at, id";
        let query = sqlx::query(select).bind(item.to_string()).try_map(|row| replacement(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the replacements", e))
    }

    /// Forgets a replacement of which nothing is kept any more. One that is gone already is as good.
    pub async fn remove_replacement(&self, id: Uuid) -> Result<()> {
        let query = sqlx::query("delete from replacements where id = $1").bind(id.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("forget a replacement", e))
    }
}
