//! Copies of points in a vault's second store: which there are, which are to come, and which the vault has left behind.

use crate::archive::IS_FAR;
use crate::page::{Cursor, Page, with_one_more};
use crate::row::{count, document, instant, instant_option, json, micros, number, parsed};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{PointId, VaultId};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// A copy of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyRow {
    /// Of which vault.
    pub vault: VaultId,
    /// The point.
    pub point: PointId,
    /// Whose.
    pub item: Uuid,
    /// The instant of its disks.
    pub taken: Timestamp,
    /// When the copy was told of.
    pub copied: Timestamp,
    /// Since when the vault itself has the point no more; none while it has.
    pub left: Option<Timestamp>,
    /// What it added to the second store.
    pub stored_bytes: u64,
    /// The machine's name, consistency, disks.
    pub detail: Value,
}

/// How far a vault's copying is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyFigures {
    /// Points that are copied.
    pub copied: u64,
    /// The newest of their instants.
    pub newest: Option<Timestamp>,
    /// Points that are to be copied.
    pub waiting: u64,
    /// The oldest of their instants.
    pub oldest_waiting: Option<Timestamp>,
}

/// Points that the vault has, be it in its archive, and nobody has deleted: `kept` is what this crate wrote, so it is
/// spelt in one way. A copy stays for as long as this is so.
const THERE: &str = r#"points.purge_at is null and points.kept like '%"vault":"there"%'"#;

/// Of these, those of a vault that have no copy.
const WAITING: &str = "from points join items on items.id = points.item_id where items.vault_id = $1
    and not exists (select 1 from copies where copies.vault_id = $1 and copies.point_id = points.id)";

fn copy(row: &AnyRow) -> sqlx::Result<CopyRow> {
    Ok(CopyRow {
        vault: parsed(row, "vault_id")?,
        point: parsed(row, "point_id")?,
        item: parsed(row, "item_id")?,
        taken: instant(row, "taken_at")?,
        copied: instant(row, "copied_at")?,
        left: instant_option(row, "left_at")?,
        stored_bytes: number(row, "stored_bytes")?,
        detail: json(row, "detail")?,
    })
}

impl Catalog {
    /// Notes copies. What is known of one already stays.
    pub async fn put_copies(&self, rows: &[CopyRow]) -> Result<()> {
        let sql = |e| Error::sql("note copies of points", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        for row in rows {
            let insert = "insert into copies
                    (vault_id, point_id, item_id, taken_at, copied_at, left_at, stored_bytes, detail)
                values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (vault_id, point_id) do nothing";
            let query = sqlx::query(insert).bind(row.vault.to_string()).bind(row.point.to_string());
            let query = query.bind(row.item.to_string()).bind(micros(row.taken)).bind(micros(row.copied));
            let query = query.bind(row.left.map(micros)).bind(count(row.stored_bytes));
            query.bind(document(&row.detail)).execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// A page of a vault's copies, newest first; of one item, or of all.
    pub async fn copies(
        &self,
        (vault, item): (VaultId, Option<Uuid>),
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<CopyRow>> {
        let (before, id) = Cursor::time_and_id(after)?;
        let select = "select * from copies where vault_id = $1 and ($2 = '' or item_id = $2)
            and (taken_at, point_id) < ($3, $4) order by taken_at desc, point_id desc limit $5";
        let item = item.map(|item| item.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(vault.to_string()).bind(item).bind(before).bind(id);
        let rows = query.bind(with_one_more(limit)).try_map(|row| copy(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the copies", e))?;
        Ok(Page::of(rows, limit, |row| Cursor::of_time(row.taken, row.point)))
    }

    /// One copy.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn copy(&self, vault: VaultId, point: PointId) -> Result<CopyRow> {
        let query = sqlx::query("select * from copies where vault_id = $1 and point_id = $2");
        let query = query.bind(vault.to_string()).bind(point.to_string());
        let found = query.try_map(|row| copy(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the copy of the point {point}"), e))
    }

    /// Points that the vault tier has and its second store has not, the oldest first, each with its item.
    pub async fn points_to_copy(&self, vault: VaultId, limit: u32) -> Result<Vec<(Uuid, PointId)>> {
        let select = format!(
            "select points.id as id, points.item_id as item_id {WAITING} and {THERE} and not {IS_FAR}
             order by points.instant, points.id limit $2"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(vault.to_string()).bind(i64::from(limit));
        let query = query.try_map(|row: AnyRow| Ok((parsed(&row, "item_id")?, parsed(&row, "id")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for points to copy", e))
    }

    /// Points that the vault tier ought to have and its second store has, the oldest first, each with its item.
    pub async fn copied_points(&self, vault: VaultId, limit: u32) -> Result<Vec<(Uuid, PointId)>> {
        let select = format!(
            "select points.id as id, points.item_id as item_id
             from points join copies on copies.point_id = points.id and copies.vault_id = $1
             where {THERE} and not {IS_FAR} order by points.instant, points.id limit $2"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(vault.to_string()).bind(i64::from(limit));
        let query = query.try_map(|row: AnyRow| Ok((parsed(&row, "item_id")?, parsed(&row, "id")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for points that have a copy", e))
    }

    /// How far a vault's copying is.
    pub async fn copy_figures(&self, vault: VaultId) -> Result<CopyFigures> {
        let sql = |e| Error::sql("count the copies", e);
        let figures = |row: AnyRow| {
            let number = number(&row, "number")?;
            let end: Option<i64> = row.try_get("last")?;
            let end = end.and_then(|micros| Timestamp::from_microsecond(micros).ok());
            Ok((number, end))
        };
        let made = "select count(*) as number, max(taken_at) as last from copies where vault_id = $1";
        let made = sqlx::query(made).bind(vault.to_string()).try_map(figures);
        let (copied, newest) = made.fetch_one(&self.pool).await.map_err(sql)?;
        let waiting = format!(
            "select count(*) as number, min(points.instant) as last {WAITING} and {THERE} and not {IS_FAR}"
        );
        let waiting = sqlx::query(sqlx::AssertSqlSafe(waiting)).bind(vault.to_string()).try_map(figures);
        let (waiting, oldest_waiting) = waiting.fetch_one(&self.pool).await.map_err(sql)?;
        Ok(CopyFigures { copied, newest, waiting, oldest_waiting })
    }

    /// Notes which copies the vault has left behind: their days count from now on. One whose point came back is not left.
    pub async fn note_left_copies(&self, vault: VaultId, now: Timestamp) -> Result<()> {
        let sql = |e| Error::sql("note which points are left in the copy alone", e);
        let is_there = format!("exists (select 1 from points where points.id = copies.point_id and {THERE})");
        let left = format!(
            "update copies set left_at = $2 where vault_id = $1 and left_at is null and not {is_there}"
        );
        let left = sqlx::query(sqlx::AssertSqlSafe(left)).bind(vault.to_string()).bind(micros(now));
        left.execute(&self.pool).await.map_err(sql)?;
        let back = format!(
            "update copies set left_at = null where vault_id = $1 and left_at is not null and {is_there}"
        );
        let back = sqlx::query(sqlx::AssertSqlSafe(back)).bind(vault.to_string());
        back.execute(&self.pool).await.map(drop).map_err(sql)
    }

    /// Copies that the vault has left behind by then, but never the newest of an item. The oldest first.
    pub async fn copies_to_let_go(&self, vault: VaultId, by: Timestamp, limit: u32) -> Result<Vec<PointId>> {
        let select = "select point_id from copies where vault_id = $1 and left_at <= $2
            and exists (select 1 from copies newer where newer.vault_id = copies.vault_id
                and newer.item_id = copies.item_id and newer.taken_at > copies.taken_at)
            order by left_at, point_id limit $3";
        let query = sqlx::query(select).bind(vault.to_string()).bind(micros(by)).bind(i64::from(limit));
        let query = query.try_map(|row: AnyRow| parsed(&row, "point_id"));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for copies to let go", e))
    }

    /// Forgets copies that are there no more.
    pub async fn remove_copies(&self, vault: VaultId, points: &[PointId]) -> Result<()> {
        let sql = |e| Error::sql("forget copies", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        for point in points {
            let query = sqlx::query("delete from copies where vault_id = $1 and point_id = $2");
            let query = query.bind(vault.to_string()).bind(point.to_string());
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// Forgets all copies of a vault: it has another second store, or none. What lies in the old one stays there.
    pub async fn forget_copies(&self, vault: VaultId) -> Result<()> {
        let query = sqlx::query("delete from copies where vault_id = $1").bind(vault.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("forget all copies", e))
    }
}
