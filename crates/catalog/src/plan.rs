//! What a plan reads of points and writes back.

use crate::items::item;
use crate::row::{count, document, instant_option, json, micros, parsed};
use crate::vaults::one_revision_on;
use crate::{Catalog, Error, Item, Result};
use jiff::Timestamp;
use model::{Point, PointId, VaultId};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};
use uuid::Uuid;

/// A point, as a plan sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PointToPlan {
    /// What it is kept for.
    pub point: Point,
    /// When a copy of it may expire, by the last plan.
    pub expires: Option<Timestamp>,
}

impl Catalog {
    /// All points of an item, the oldest first.
    pub async fn points_to_plan(&self, item: Uuid) -> Result<Vec<PointToPlan>> {
        let select = "select kept, expires_at from points where item_id = $1 order by instant, id";
        let query = sqlx::query(select).bind(item.to_string()).try_map(|row: AnyRow| {
            Ok(PointToPlan { point: json(&row, "kept")?, expires: instant_option(&row, "expires_at")? })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("read the points to plan", e))
    }

    /// Writes what a plan makes of some of an item's points: all of it or nothing. Gives the item's new revision.
    ///
    /// # Errors
    /// `Changed` when somebody changed the item or its points since the item was read: plan again.
    pub async fn write_plan(&self, item: &Item, changed: &[PointToPlan]) -> Result<u64> {
        let context = || format!("write the plan of {}", item.name);
        let sql = |e| Error::sql(context(), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        let update = "update items set revision = revision + 1 where id = $1 and revision = $2";
        let query = sqlx::query(update).bind(item.id.to_string()).bind(count(item.revision));
        let done = query.execute(&mut *transaction).await.map_err(sql)?;
        let revision = one_revision_on(done.rows_affected(), item.revision, context)?;
        for kept in changed {
            keep(&mut transaction, item.id, kept).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)?;
        Ok(revision)
    }

    /// Points of a vault whose days to be brought back were over by then, by id.
    pub async fn points_to_purge(&self, vault: VaultId, by: Timestamp) -> Result<Vec<PointId>> {
        let select = "select id from points
            where purge_at <= $1 and item_id in (select id from items where vault_id = $2)
            order by id";
        let query = sqlx::query(select).bind(micros(by)).bind(vault.to_string());
        let found = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for points to purge", e))
    }

    /// Deleted items whose days are over and that have no point left.
    pub async fn items_to_purge(&self, now: Timestamp, limit: u32) -> Result<Vec<Item>> {
        let select = "select * from items where purge_at <= $1
            and not exists (select 1 from points where points.item_id = items.id) limit $2";
        let query = sqlx::query(select).bind(micros(now)).bind(i64::from(limit));
        let found = query.try_map(|row| item(&row)).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for items to purge", e))
    }

    /// Items that have a point which may have expired by now, and for which nothing is being deleted: a page, by id.
    pub async fn items_to_expire(
        &self,
        now: Timestamp,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Uuid>> {
        let select = "select distinct item_id from points
            where purge_at is null and expires_at is not null and expires_at <= $1 and item_id > $2
                and not exists (select 1 from jobs where jobs.subject = points.item_id
                    and jobs.kind = 'delete_data' and jobs.ended_at is null)
            order by item_id limit $3";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(micros(now)).bind(after).bind(i64::from(limit));
        let items = query.try_map(|row: AnyRow| parsed(&row, "item_id")).fetch_all(&self.pool).await;
        items.map_err(|e| Error::sql("look for expired points", e))
    }
}

/// Writes what a point of this item is kept for.
pub(crate) async fn keep(
    transaction: &mut Transaction<'static, Any>,
    item: Uuid,
    kept: &PointToPlan,
) -> sqlx::Result<()> {
    let update = "update points set kept = $1, expires_at = $2, purge_at = $3 where id = $4 and item_id = $5";
    let query = sqlx::query(update).bind(document(&kept.point)).bind(kept.expires.map(micros));
    let query = query.bind(kept.point.purge_at.map(micros)).bind(kept.point.id.to_string());
    query.bind(item.to_string()).execute(&mut **transaction).await.map(drop)
}
