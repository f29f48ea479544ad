//! Points, as the vaults have them: what is here is found by, what is true stands in the vault.

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{count, document, instant, instant_option, json, micros, number, parsed, text};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::Point;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A point of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct PointRow {
    /// What it is kept for and how long.
    pub point: Point,
    /// Whose.
    pub item: Uuid,
    /// How consistent it is, in one word.
    pub consistency: String,
    /// When it expires by the last plan; none while nothing lets it.
    pub expires: Option<Timestamp>,
    /// What it added to the vault.
    pub stored_bytes: u64,
    /// Evidence, disks, sizes: all that a person may want to see.
    pub detail: Value,
}

fn point(row: &AnyRow) -> sqlx::Result<PointRow> {
    Ok(PointRow {
        point: json(row, "kept")?,
        item: parsed(row, "item_id")?,
        consistency: text(row, "consistency")?,
        expires: instant_option(row, "expires_at")?,
        stored_bytes: number(row, "stored_bytes")?,
        detail: json(row, "detail")?,
    })
}

impl Catalog {
    /// Writes a point, new or known: taking a point in again changes nothing else.
    ///
    /// # Errors
    /// `Invalid` when its item is not there.
    pub async fn put_point(&self, row: &PointRow) -> Result<()> {
        let context = || format!("note the point {}", row.point.id);
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        // The item first, as everywhere: who holds one of two rows never waits for who holds the other.
        let newest = "update items set last_point_at = $1, revision = revision + 1
            where id = $2 and (last_point_at is null or last_point_at < $1)";
        let query = sqlx::query(newest).bind(micros(row.point.taken)).bind(row.item.to_string());
        query.execute(&mut *transaction).await.map_err(|e| Error::sql(context(), e))?;
        put(&mut transaction, row).await.map_err(|e| Error::sql(context(), e))?;
        count_anew(&mut transaction, row.item).await.map_err(|e| Error::sql(context(), e))?;
        transaction.commit().await.map_err(|e| Error::sql(context(), e))
    }

    /// Writes many points of a plan at once: all or none.
    pub async fn put_points(&self, rows: &[PointRow]) -> Result<()> {
        let context = "write the points of a plan";
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context, e))?;
        for row in rows {
            put(&mut transaction, row).await.map_err(|e| Error::sql(context, e))?;
        }
        // In one order for all who do this: two that wait for each other's rows would wait for ever.
        for item in rows.iter().map(|row| row.item).collect::<BTreeSet<_>>() {
            count_anew(&mut transaction, item).await.map_err(|e| Error::sql(context, e))?;
        }
        transaction.commit().await.map_err(|e| Error::sql(context, e))
    }

    /// A page of an item's points, newest first; with those that were deleted and can be brought back.
    pub async fn points(&self, item: Uuid, after: Option<&Cursor>, limit: u32) -> Result<Page<PointRow>> {
        let (before, id) = Cursor::time_and_id(after)?;
        let select = "select * from points where item_id = $1 and (instant, id) < ($2, $3)
            order by instant desc, id desc limit $4";
        let query = sqlx::query(select).bind(item.to_string()).bind(before).bind(id);
        let rows = query.bind(with_one_more(limit)).try_map(|row| point(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the points", e))?;
        Ok(Page::of(rows, limit, |row| Cursor::of_time(row.point.taken, row.point.id)))
    }

    /// One point.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn point(&self, id: model::PointId) -> Result<PointRow> {
        let query = sqlx::query("select * from points where id = $1").bind(id.to_string());
        let found = query.try_map(|row| point(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the point {id}"), e))
    }

    /// Items that have a point which may have expired by now: whose plan is to be made again.
    pub async fn items_with_expired_points(&self, now: Timestamp, limit: u32) -> Result<Vec<Uuid>> {
        let select = "select distinct item_id from points
            where purge_at is null and expires_at is not null and expires_at <= $1 limit $2";
        let query = sqlx::query(select).bind(micros(now)).bind(i64::from(limit));
        let items = query.try_map(|row: AnyRow| parsed(&row, "item_id")).fetch_all(&self.pool).await;
        items.map_err(|e| Error::sql("look for expired points", e))
    }

    /// Forgets a point that the vault has purged.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_point(&self, id: model::PointId) -> Result<()> {
        let context = || format!("forget the point {id}");
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        let query = sqlx::query("delete from points where id = $1 returning item_id").bind(id.to_string());
        let item = query.try_map(|row: AnyRow| parsed(&row, "item_id")).fetch_one(&mut *transaction).await;
        let item = item.map_err(|e| Error::sql(context(), e))?;
        count_anew(&mut transaction, item).await.map_err(|e| Error::sql(context(), e))?;
        transaction.commit().await.map_err(|e| Error::sql(context(), e))
    }

    /// How many points there are, of how many bytes, and the oldest's and newest's instants.
    pub async fn points_in_all(&self) -> Result<(u64, u64, Option<(Timestamp, Timestamp)>)> {
        // PostgreSQL's sum is a numeric; the cast makes it what both can give.
        let select = "select cast(coalesce(sum(points), 0) as bigint) as points,
            cast(coalesce(sum(stored_bytes), 0) as bigint) as bytes,
            coalesce(min(oldest_at), 0) as oldest, coalesce(max(newest_at), 0) as newest from point_totals";
        let query = sqlx::query(select).try_map(|row: AnyRow| {
            let points = number(&row, "points")?;
            let span = (instant(&row, "oldest")?, instant(&row, "newest")?);
            Ok((points, number(&row, "bytes")?, (points > 0).then_some(span)))
        });
        query.fetch_one(&self.pool).await.map_err(|e| Error::sql("count the points", e))
    }
}

async fn put(transaction: &mut Transaction<'static, Any>, row: &PointRow) -> sqlx::Result<()> {
    let upsert = "insert into points (id, item_id, instant, consistency, kept, expires_at, purge_at, stored_bytes, detail)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (id) do update set kept = excluded.kept, expires_at = excluded.expires_at,
            purge_at = excluded.purge_at, stored_bytes = excluded.stored_bytes, detail = excluded.detail";
    let query = sqlx::query(upsert).bind(row.point.id.to_string()).bind(row.item.to_string());
    let query = query.bind(micros(row.point.taken)).bind(&row.consistency).bind(document(&row.point));
    let query = query.bind(row.expires.map(micros)).bind(row.point.purge_at.map(micros));
    let query = query.bind(count(row.stored_bytes)).bind(document(&row.detail));
    query.execute(&mut **transaction).await.map(drop)
}

/// Counts the points of an item that a transaction has changed. To be done after the changes: whoever has the row of
/// the totals sees all that was committed before, so of two at once the later one counts both.
async fn count_anew(transaction: &mut Transaction<'static, Any>, item: Uuid) -> sqlx::Result<()> {
    let hold = "insert into point_totals (item_id, points, stored_bytes) values ($1, 0, 0)
        on conflict (item_id) do update set points = excluded.points";
    sqlx::query(hold).bind(item.to_string()).execute(&mut **transaction).await?;
    let write = "update point_totals set (points, stored_bytes, oldest_at, newest_at) =
        (select count(*), cast(coalesce(sum(stored_bytes), 0) as bigint), min(instant), max(instant)
            from points where item_id = $1)
        where item_id = $1";
    sqlx::query(write).bind(item.to_string()).execute(&mut **transaction).await.map(drop)
}
