//! Figures for those who look at the whole.

use crate::jobs::listed;
use crate::row::{number, parsed, text};
use crate::{Catalog, Error, Result};
use model::{HostId, MachineId, VaultId};
use sqlx::any::AnyRow;

/// The vaults somebody may see, as a parameter; `*` for all.
fn parameter(seen: Option<&[VaultId]>) -> String {
    seen.map_or_else(|| "*".to_owned(), listed)
}

impl Catalog {
    /// How many items there are in each state, in these vaults, or in all.
    pub async fn items_seen_by_state(&self, seen: Option<&[VaultId]>) -> Result<Vec<(String, u64)>> {
        let select = "select state, count(*) as items from items
            where $1 = '*' or $1 like '%' || vault_id || '%' group by state order by state";
        let query = sqlx::query(select).bind(parameter(seen));
        let query = query.try_map(|row: AnyRow| Ok((text(&row, "state")?, number(&row, "items")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("count the items", e))
    }

    /// How many points there are in these vaults, or in all, and of how many bytes.
    pub async fn points_seen(&self, seen: Option<&[VaultId]>) -> Result<(u64, u64)> {
        let Some(seen) = seen else {
            return self.points_in_all().await.map(|(points, bytes, _)| (points, bytes));
        };
        // PostgreSQL's sum is a numeric; the cast makes it what both can give.
        let select = "select cast(coalesce(sum(points), 0) as bigint) as points,
            cast(coalesce(sum(stored_bytes), 0) as bigint) as bytes from point_totals
            where item_id in (select id from items where $1 like '%' || vault_id || '%')";
        let query = sqlx::query(select).bind(listed(seen));
        let query = query.try_map(|row: AnyRow| Ok((number(&row, "points")?, number(&row, "bytes")?)));
        query.fetch_one(&self.pool).await.map_err(|e| Error::sql("count the points", e))
    }

    /// How many machines no vault protects.
    pub async fn machines_unprotected(&self) -> Result<u64> {
        let select = "select count(*) as machines from machines where not exists (select 1 from items
            where items.machine_id = machines.id and items.state in ('awaits_first', 'protected', 'in_error'))";
        let query = sqlx::query(select).try_map(|row: AnyRow| number(&row, "machines"));
        query.fetch_one(&self.pool).await.map_err(|e| Error::sql("count the machines", e))
    }

    /// How many alerts are open, by severity; of these vaults and what is in them, or all.
    pub async fn open_alerts_by_severity(&self, seen: Option<&[VaultId]>) -> Result<Vec<(String, u64)>> {
        let select = "select severity, count(*) as alerts from alerts where resolved_at is null
                and ($1 = '*' or $1 like '%' || subject || '%' or exists (select 1 from items
                    where items.id = alerts.subject and $1 like '%' || items.vault_id || '%'))
            group by severity order by severity";
        let query = sqlx::query(select).bind(parameter(seen));
        let query = query.try_map(|row: AnyRow| Ok((text(&row, "severity")?, number(&row, "alerts")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("count the alerts", e))
    }

    /// Where each machine is.
    pub async fn hosts_of_machines(&self) -> Result<Vec<(MachineId, HostId)>> {
        let query = sqlx::query("select id, host_id from machines");
        let query = query.try_map(|row: AnyRow| Ok((parsed(&row, "id")?, parsed(&row, "host_id")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look where machines are", e))
    }
}
