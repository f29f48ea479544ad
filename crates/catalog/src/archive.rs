//! Points in vaults' archives: which there are, which the vault tier holds, and when a vault's archiving was planned last.
//!
//! What the archive has of a point is part of what it is kept for, and stands there alone: in `points.kept`.

use crate::row::{instant, json, micros, parsed};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{ArchiveCopy, Near, Point, PointId, VaultId};
use sqlx::any::AnyRow;
use uuid::Uuid;

/// What `kept` says of a point that the archive may have, one that it has, and one of which the vault tier has no copy to
/// be read. This crate wrote it, so it is spelt in one way.
const MAY_BE_THERE: &str = r#"points.kept like '%"archive":{"state":"%'"#;
const IS_THERE: &str = r#"points.kept like '%"archive":{"state":"there"%'"#;
const HELD: &str = r#"points.kept like '%"near":{"near":"held"%'"#;
const DROPPED: &str = r#"points.kept like '%"near":{"near":"dropped"%'"#;
/// Whether the vault tier has no copy that anybody counts on.
pub(crate) const IS_FAR: &str =
    r#"(points.kept like '%"near":{"near":"dropped"%' or points.kept like '%"near":{"near":"gone"%')"#;

impl Catalog {
    /// How many points a vault's archive has, and what they added to it.
    pub async fn archived(&self, vault: VaultId) -> Result<(u64, u64)> {
        let points = self.points_that(vault, IS_THERE, "count the points in the archive").await?;
        let stored = points.iter().map(|(_, point)| match point.archive {
            ArchiveCopy::There { stored_bytes, .. } => stored_bytes,
            ArchiveCopy::Never | ArchiveCopy::Expected => 0,
        });
        Ok((points.len() as u64, stored.sum()))
    }

    /// Whether a vault's archive has any point.
    pub async fn is_archive_used(&self, vault: VaultId) -> Result<bool> {
        let select = format!(
            "select 1 as one from points where {IS_THERE}
             and item_id in (select id from items where vault_id = $1) limit 1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(vault.to_string());
        let found = query.fetch_optional(&self.pool).await;
        Ok(found.map_err(|e| Error::sql("look for points in the archive", e))?.is_some())
    }

    /// Notes whether a vault's archive could not be read when the vault was taken in.
    pub async fn note_missing_archive(&self, vault: VaultId, is_missing: bool) -> Result<()> {
        let change = match is_missing {
            true => "insert into missing_archives (vault_id) values ($1) on conflict do nothing",
            false => "delete from missing_archives where vault_id = $1",
        };
        let noted = sqlx::query(change).bind(vault.to_string()).execute(&self.pool).await;
        noted.map(drop).map_err(|e| Error::sql("note whether an archive is missing", e))
    }

    /// Whether it could not be, and has not been read since.
    pub async fn is_archive_missing(&self, vault: VaultId) -> Result<bool> {
        let query = sqlx::query("select 1 as one from missing_archives where vault_id = $1");
        let found = query.bind(vault.to_string()).fetch_optional(&self.pool).await;
        Ok(found.map_err(|e| Error::sql("see whether an archive is missing", e))?.is_some())
    }

    /// Items of a vault with a point in the archive that the vault tier holds a copy of.
    pub async fn items_with_held_points(&self, vault: VaultId) -> Result<Vec<Uuid>> {
        let select = format!(
            "select distinct item_id from points where {HELD}
             and item_id in (select id from items where vault_id = $1) order by item_id"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(vault.to_string());
        let query = query.try_map(|row: AnyRow| parsed(&row, "item_id"));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for points that are held", e))
    }

    /// Points of a vault whose copies in the vault tier were dropped, and may be purged there by then; with their items.
    pub async fn dropped_to_purge(&self, vault: VaultId, by: Timestamp) -> Result<Vec<(Uuid, PointId)>> {
        let points = self.points_that(vault, DROPPED, "look for dropped points to purge").await?;
        let is_due = |point: &Point| {
            let near = point.archive.near();
            matches!(near, Some(Near::Dropped { purge_at }) if purge_at <= by)
        };
        Ok(points.into_iter().filter(|(_, one)| is_due(one)).map(|(item, one)| (item, one.id)).collect())
    }

    /// Points of a vault that the archive may have, of those that were deleted and may be purged by then.
    pub async fn archived_to_purge(&self, vault: VaultId, by: Timestamp) -> Result<Vec<PointId>> {
        let points = self.points_that(vault, MAY_BE_THERE, "look for archived points to purge").await?;
        let is_due = |point: &Point| point.purge_at.is_some_and(|purge_at| purge_at <= by);
        Ok(points.into_iter().filter(|(_, one)| is_due(one)).map(|(_, one)| one.id).collect())
    }

    async fn points_that(&self, vault: VaultId, are: &str, doing: &str) -> Result<Vec<(Uuid, Point)>> {
        let select = format!(
            "select item_id, kept from points where {are}
             and item_id in (select id from items where vault_id = $1) order by id"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(vault.to_string());
        let query = query.try_map(|row: AnyRow| Ok((parsed(&row, "item_id")?, json(&row, "kept")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql(doing, e))
    }

    /// Up to when a vault's archiving was planned.
    pub async fn archive_planned(&self, vault: VaultId) -> Result<Option<Timestamp>> {
        let query = sqlx::query("select planned_at from archive_plans where vault_id = $1");
        let query = query.bind(vault.to_string()).try_map(|row: AnyRow| instant(&row, "planned_at"));
        let found = query.fetch_optional(&self.pool).await;
        found.map_err(|e| Error::sql("read when archiving was planned", e))
    }

    /// Notes it. An earlier one than is noted changes nothing: another server was quicker.
    pub async fn note_archive_plan(&self, vault: VaultId, planned: Timestamp) -> Result<()> {
        let upsert = "insert into archive_plans (vault_id, planned_at) values ($1, $2)
            on conflict (vault_id) do update set planned_at = excluded.planned_at
            where archive_plans.planned_at < excluded.planned_at";
        let query = sqlx::query(upsert).bind(vault.to_string()).bind(micros(planned));
        query
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(|e| Error::sql("note that archiving was planned", e))
    }
}
