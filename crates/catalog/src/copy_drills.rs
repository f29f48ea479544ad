//! Copies in a vault's second store that were tried out: kept apart from the drills of points, so that no proof of one is
//! ever taken for a proof of the other.

use crate::drills::{DrillRow, drill, first_word};
use crate::row::{document, micros};
use crate::{Catalog, Error, Result};
use model::VaultId;
use uuid::Uuid;

impl Catalog {
    /// Writes a drill of a copy. Once written it stays as long as the copy.
    ///
    /// # Errors
    /// `Invalid` when there is no such copy.
    pub async fn put_copy_drill(&self, vault: VaultId, row: &DrillRow) -> Result<()> {
        let insert =
            "insert into copy_drills (id, vault_id, point_id, item_id, instant, ended_at, verdict, record)
            values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing";
        let query = sqlx::query(insert).bind(row.job.to_string()).bind(vault.to_string());
        let query = query.bind(row.point.to_string()).bind(row.item.to_string());
        let query = query.bind(micros(row.instant)).bind(micros(row.ended));
        let query = query.bind(first_word(&row.record.verdict)).bind(document(&row.record));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("note a drill of a copy", e))
    }

    /// The last drill of each of a vault's copies that were tried, by the points' instants; of one item, or of all.
    pub async fn copy_drills(&self, vault: VaultId, item: Option<Uuid>) -> Result<Vec<DrillRow>> {
        let select =
            "select d.*, cast(case when exists (select 1 from drill_pictures p where p.job_id = d.id)
                then 1 else 0 end as bigint) as has_picture
            from copy_drills d where d.vault_id = $1 and ($2 = '' or d.item_id = $2)
            and not exists (select 1 from copy_drills later where later.vault_id = d.vault_id
                and later.point_id = d.point_id and (later.ended_at, later.id) > (d.ended_at, d.id))
            order by d.instant, d.id";
        let item = item.map(|item| item.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(vault.to_string()).bind(item).try_map(|row| drill(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the drills of copies", e))
    }
}
