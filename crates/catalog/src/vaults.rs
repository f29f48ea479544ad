//! Vaults, as the server knows them: where they are and how they are to be treated.
//!
//! This file is how every table is kept: a struct for the row, `select` with its columns named once, `insert`, and
//! an `update` that names the revision it read.

use crate::row::{document, instant, instant_option, json, micros, number, parsed, text};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::VaultId;
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A vault.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultRow {
    /// As in the vault itself.
    pub id: VaultId,
    /// What people call it.
    pub name: String,
    /// A directory or URL.
    pub location: String,
    /// Soft delete, immutability, redundancy, tiers.
    pub settings: Value,
    /// When the server came to know it.
    pub created: Timestamp,
    /// Which version of the row this is.
    pub revision: u64,
}

pub(crate) fn vault(row: &AnyRow) -> sqlx::Result<VaultRow> {
    Ok(VaultRow {
        id: parsed(row, "id")?,
        name: text(row, "name")?,
        location: text(row, "location")?,
        settings: json(row, "settings")?,
        created: instant(row, "created_at")?,
        revision: number(row, "revision")?,
    })
}

impl Catalog {
    /// Adds a vault.
    ///
    /// # Errors
    /// `Exists` when the id or the name is taken.
    pub async fn add_vault(&self, new: &VaultRow) -> Result<()> {
        let insert = "insert into vaults (id, name, location, settings, created_at, revision)
            values ($1, $2, $3, $4, $5, 1)";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(&new.name).bind(&new.location);
        let query = query.bind(document(&new.settings)).bind(micros(new.created));
        let added = query.execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("add the vault {}", new.name), e))
    }

    /// All vaults, by name.
    pub async fn vaults(&self) -> Result<Vec<VaultRow>> {
        let query = sqlx::query("select * from vaults order by name, id").try_map(|row| vault(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the vaults", e))
    }

    /// One vault.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn vault(&self, id: VaultId) -> Result<VaultRow> {
        let query = sqlx::query("select * from vaults where id = $1").bind(id.to_string());
        let found = query.try_map(|row| vault(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the vault {id}"), e))
    }

    /// Writes a vault that was read and changed. Gives its new revision.
    ///
    /// # Errors
    /// `Changed` when somebody else did so meanwhile, or it is gone; `Exists` when its new name is taken.
    pub async fn update_vault(&self, changed: &VaultRow) -> Result<u64> {
        let context = || format!("change the vault {}", changed.name);
        let update = "update vaults set name = $1, location = $2, settings = $3, revision = revision + 1
            where id = $4 and revision = $5";
        let query = sqlx::query(update).bind(&changed.name).bind(&changed.location);
        let query = query.bind(document(&changed.settings)).bind(changed.id.to_string());
        let query = query.bind(crate::row::count(changed.revision));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql(context(), e))?;
        one_revision_on(done.rows_affected(), changed.revision, context)
    }

    /// How many items each vault has, deleted ones included. Vaults without are left out.
    pub async fn items_by_vault(&self) -> Result<BTreeMap<VaultId, u64>> {
        let select = "select vault_id, count(*) as items from items group by vault_id";
        let query = sqlx::query(select)
            .try_map(|row: AnyRow| Ok((parsed(&row, "vault_id")?, number(&row, "items")?)));
        let rows = query.fetch_all(&self.pool).await.map_err(|e| Error::sql("count the vaults' items", e))?;
        Ok(rows.into_iter().collect())
    }

    /// Notes that what is deleted by now was promised to stay for so many days, whatever the settings come to say.
    pub async fn promise(&self, id: VaultId, days: u16, until: Timestamp) -> Result<()> {
        let update = "update vaults set promised_days = $1, promised_until = $2 where id = $3";
        let query = sqlx::query(update).bind(i64::from(days)).bind(micros(until)).bind(id.to_string());
        let done = query.execute(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql(format!("note what the vault {id} has promised"), e))
    }

    /// The soft-delete days that were promised before the settings changed, and until when that matters.
    pub async fn promised(&self, id: VaultId) -> Result<Option<(u16, Timestamp)>> {
        let query = sqlx::query("select promised_days, promised_until from vaults where id = $1");
        let query = query.bind(id.to_string()).try_map(|row: AnyRow| {
            let days: Option<i64> = row.try_get("promised_days")?;
            let days = days.map(|days| u16::try_from(days).unwrap_or(u16::MAX));
            Ok(days.zip(instant_option(&row, "promised_until")?))
        });
        let found = query.fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the vault {id}"), e))
    }

    /// Forgets a vault, with its policies and the roles that were given in it. What lies in it stays where it is.
    ///
    /// # Errors
    /// `Invalid` while it has items, soft-deleted ones included; `NotFound`.
    pub async fn remove_vault(&self, id: VaultId) -> Result<()> {
        let context = || format!("remove the vault {id}");
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        for of_it in [
            "delete from policies where vault_id = $1",
            "delete from grants where vault_id = $1",
            "delete from copies where vault_id = $1",
            "delete from notes where vault_id = $1",
            "delete from usage where vault_id = $1",
            "delete from vault_keys where vault_id = $1",
            "delete from archive_plans where vault_id = $1",
            "delete from vault_notes where vault_id = $1",
            "delete from missing_archives where vault_id = $1",
        ] {
            let removed = sqlx::query(of_it).bind(id.to_string()).execute(&mut *transaction).await;
            removed.map_err(|e| Error::sql(context(), e))?;
        }
        let vaults = sqlx::query("delete from vaults where id = $1").bind(id.to_string());
        let done = vaults.execute(&mut *transaction).await.map_err(|e| Error::sql(context(), e))?;
        if done.rows_affected() == 0 {
            return Err(Error::new(ErrorKind::NotFound, context()));
        }
        transaction.commit().await.map_err(|e| Error::sql(context(), e))
    }
}

/// What a conditional update of one row came to.
pub(crate) fn one_revision_on(rows: u64, revision: u64, context: impl Fn() -> String) -> Result<u64> {
    match rows {
        1 => Ok(revision + 1),
        _ => Err(Error::new(ErrorKind::Changed, context() + ": it was changed meanwhile")),
    }
}
