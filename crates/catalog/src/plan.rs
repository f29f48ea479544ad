//! What is over: points to expire, points and items to purge.

use crate::items::item;
use crate::row::{micros, parsed};
use crate::{Catalog, Error, Item, Result};
use jiff::Timestamp;
use model::{PointId, VaultId};
use sqlx::any::AnyRow;
use uuid::Uuid;

impl Catalog {
    /// Points of a vault whose days to be brought back were over by then.
    pub async fn points_to_purge(&self, vault: VaultId, by: Timestamp) -> Result<Vec<PointId>> {
        let select = "select id from points
            where purge_at <= $1 and item_id in (select id from items where vault_id = $2)";
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
