//! Snapshots: points that no policy owns. What is here is found by, what is true stands in the vault.

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{count, document, instant, instant_option, json, like, micros, number, parsed, text};
use crate::vaults::one_revision_on;
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{MachineId, PointId, VaultId};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};
use std::collections::BTreeMap;

/// A snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotRow {
    /// Its id: that of its point in the vault.
    pub id: PointId,
    /// The vault.
    pub vault: VaultId,
    /// The machine, which may be gone.
    pub machine: MachineId,
    /// What somebody called it; may be empty.
    pub name: String,
    /// The instant of its disks.
    pub taken: Timestamp,
    /// Deleted: until when it can be brought back.
    pub purge_at: Option<Timestamp>,
    /// When it was last measured.
    pub measured: Option<Timestamp>,
    /// All else.
    pub document: Value,
    /// Which version of the row this is.
    pub revision: u64,
}

/// Which snapshots. Empty means all of the vault.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFilter {
    /// Of this machine.
    pub machine: Option<MachineId>,
    /// Their names fit this: `*` is anything, `?` one character; case does not matter.
    pub name: Option<String>,
}

fn snapshot(row: &AnyRow) -> sqlx::Result<SnapshotRow> {
    let measured = instant(row, "measured_at")?;
    Ok(SnapshotRow {
        id: parsed(row, "id")?,
        vault: parsed(row, "vault_id")?,
        machine: parsed(row, "machine_id")?,
        name: text(row, "name")?,
        taken: instant(row, "taken_at")?,
        purge_at: instant_option(row, "purge_at")?,
        measured: (measured > Timestamp::UNIX_EPOCH).then_some(measured),
        document: json(row, "document")?,
        revision: number(row, "revision")?,
    })
}

impl Catalog {
    /// Writes a new snapshot with the names of its disks. One that is known stays as it is.
    ///
    /// # Errors
    /// `Invalid` when its vault is not there.
    pub async fn add_snapshot(&self, new: &SnapshotRow, disks: &[String]) -> Result<()> {
        let sql = |e| Error::sql(format!("note the snapshot {}", new.id), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        add(&mut transaction, new, disks).await.map_err(sql)?;
        transaction.commit().await.map_err(sql)
    }

    /// One snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn snapshot(&self, id: PointId) -> Result<SnapshotRow> {
        let query = sqlx::query("select * from snapshots where id = $1").bind(id.to_string());
        let found = query.try_map(|row| snapshot(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the snapshot {id}"), e))
    }

    /// A page of a vault's snapshots, newest first; with those that were deleted and can be brought back.
    pub async fn snapshots(
        &self,
        vault: VaultId,
        filter: &SnapshotFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<SnapshotRow>> {
        let (before, id) = Cursor::time_and_id(after)?;
        let select = "select * from snapshots where vault_id = $1 and (taken_at, id) < ($2, $3)
            and ($4 = '' or machine_id = $4) and ($5 = '' or lower(name) like $5 escape '\\')
            order by taken_at desc, id desc limit $6";
        let machine = filter.machine.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(vault.to_string()).bind(before).bind(id).bind(machine);
        let query =
            query.bind(filter.name.as_deref().map(like).unwrap_or_default()).bind(with_one_more(limit));
        let rows = query.try_map(|row| snapshot(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the snapshots", e))?;
        Ok(Page::of(rows, limit, |row| Cursor::of_time(row.taken, row.id)))
    }

    /// How many snapshots each disk of a machine has in a vault, deleted ones that can be brought back included.
    pub async fn snapshots_by_disk(
        &self,
        vault: VaultId,
        machine: MachineId,
    ) -> Result<BTreeMap<String, u64>> {
        let select = "select disk, count(*) as snapshots from snapshot_disks
            where vault_id = $1 and machine_id = $2 group by disk";
        let query = sqlx::query(select).bind(vault.to_string()).bind(machine.to_string());
        let query = query.try_map(|row: AnyRow| Ok((text(&row, "disk")?, number(&row, "snapshots")?)));
        let rows = query.fetch_all(&self.pool).await;
        Ok(rows.map_err(|e| Error::sql("count the snapshots of disks", e))?.into_iter().collect())
    }

    /// How many snapshots a vault has, deleted ones that can be brought back included.
    pub async fn snapshots_in(&self, vault: VaultId) -> Result<u64> {
        let query = sqlx::query("select count(*) as snapshots from snapshots where vault_id = $1");
        let query = query.bind(vault.to_string()).try_map(|row: AnyRow| number(&row, "snapshots"));
        query.fetch_one(&self.pool).await.map_err(|e| Error::sql("count the snapshots", e))
    }

    /// The machines that a vault has snapshots of.
    pub async fn machines_with_snapshots(&self, vault: VaultId) -> Result<Vec<MachineId>> {
        let select = "select distinct machine_id from snapshot_disks where vault_id = $1 order by machine_id";
        let query = sqlx::query(select).bind(vault.to_string());
        let found = query.try_map(|row: AnyRow| parsed(&row, "machine_id")).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for machines with snapshots", e))
    }

    /// Says until when a snapshot can be brought back, or that it is not deleted.
    ///
    /// # Errors
    /// `Changed` when somebody changed it since it was read.
    pub async fn mark_snapshot(&self, row: &SnapshotRow, purge_at: Option<Timestamp>) -> Result<u64> {
        let context = || format!("change the snapshot {}", row.id);
        let update =
            "update snapshots set purge_at = $1, revision = revision + 1 where id = $2 and revision = $3";
        let query = sqlx::query(update).bind(purge_at.map(micros)).bind(row.id.to_string());
        let done = query.bind(count(row.revision)).execute(&self.pool).await;
        let done = done.map_err(|e| Error::sql(context(), e))?;
        one_revision_on(done.rows_affected(), row.revision, context)
    }

    /// Snapshots of a vault that were measured longest ago, or never.
    pub async fn snapshots_to_measure(&self, vault: VaultId, limit: u32) -> Result<Vec<PointId>> {
        let select = "select id from snapshots where vault_id = $1 order by measured_at, id limit $2";
        let query = sqlx::query(select).bind(vault.to_string()).bind(i64::from(limit));
        let found = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for snapshots to measure", e))
    }

    /// Notes what snapshots take up: of each its document, with that in it. What is gone meanwhile is passed over.
    pub async fn measure_snapshots(&self, measured: &[(PointId, Value)], at: Timestamp) -> Result<()> {
        let sql = |e| Error::sql("note what snapshots take up", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        let update = "update snapshots set document = $1, measured_at = $2 where id = $3";
        for (id, said) in measured {
            let query = sqlx::query(update).bind(document(said)).bind(micros(at)).bind(id.to_string());
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// Snapshots of a vault whose days to be brought back were over by then, by id.
    pub async fn snapshots_to_purge(&self, vault: VaultId, by: Timestamp) -> Result<Vec<PointId>> {
        let select = "select id from snapshots where vault_id = $1 and purge_at <= $2 order by id";
        let query = sqlx::query(select).bind(vault.to_string()).bind(micros(by));
        let found = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for snapshots to purge", e))
    }

    /// Forgets a snapshot that the vault has purged. One that is gone already is as good.
    pub async fn remove_snapshot(&self, id: PointId) -> Result<()> {
        let query = sqlx::query("delete from snapshots where id = $1").bind(id.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("forget a snapshot", e))
    }
}

async fn add(
    transaction: &mut Transaction<'static, Any>,
    new: &SnapshotRow,
    disks: &[String],
) -> sqlx::Result<()> {
    let insert =
        "insert into snapshots (id, vault_id, machine_id, name, taken_at, purge_at, measured_at, document,
            revision)
        values ($1, $2, $3, $4, $5, $6, 0, $7, 1) on conflict (id) do nothing";
    let query = sqlx::query(insert).bind(new.id.to_string()).bind(new.vault.to_string());
    let query = query.bind(new.machine.to_string()).bind(&new.name).bind(micros(new.taken));
    let query = query.bind(new.purge_at.map(micros)).bind(document(&new.document));
    query.execute(&mut **transaction).await?;
    let insert =
        "insert into snapshot_disks (snapshot_id, vault_id, machine_id, disk) values ($1, $2, $3, $4)
        on conflict (snapshot_id, disk) do nothing";
    for disk in disks {
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(new.vault.to_string());
        query.bind(new.machine.to_string()).bind(disk).execute(&mut **transaction).await?;
    }
    Ok(())
}
