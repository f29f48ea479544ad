//! Policies of a vault.

use crate::row::{count, document, instant, json, micros, number, parsed, text};
use crate::vaults::one_revision_on;
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::policy::PolicyDocument;
use model::{PolicyId, VaultId};
use sqlx::any::AnyRow;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// Its id.
    pub id: PolicyId,
    /// The vault it belongs to.
    pub vault: VaultId,
    /// What people call it.
    pub name: String,
    /// What it says.
    pub document: PolicyDocument,
    /// When it was made.
    pub created: Timestamp,
    /// Which version of the row this is.
    pub revision: u64,
}

fn policy(row: &AnyRow) -> sqlx::Result<PolicyRow> {
    Ok(PolicyRow {
        id: parsed(row, "id")?,
        vault: parsed(row, "vault_id")?,
        name: text(row, "name")?,
        document: json(row, "document")?,
        created: instant(row, "created_at")?,
        revision: number(row, "revision")?,
    })
}

impl Catalog {
    /// Adds a policy.
    ///
    /// # Errors
    /// `Exists` when its name is taken in the vault; `Invalid` when there is no such vault.
    pub async fn add_policy(&self, new: &PolicyRow) -> Result<()> {
        let insert = "insert into policies (id, vault_id, name, document, created_at, revision)
            values ($1, $2, $3, $4, $5, 1)";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(new.vault.to_string()).bind(&new.name);
        let query = query.bind(document(&new.document)).bind(micros(new.created));
        let added = query.execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("add the policy {}", new.name), e))
    }

    /// The policies of a vault, by name.
    pub async fn policies(&self, vault: VaultId) -> Result<Vec<PolicyRow>> {
        let query = sqlx::query("select * from policies where vault_id = $1 order by name, id");
        let query = query.bind(vault.to_string()).try_map(|row| policy(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the policies", e))
    }

    /// One policy.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn policy(&self, id: PolicyId) -> Result<PolicyRow> {
        let query = sqlx::query("select * from policies where id = $1").bind(id.to_string());
        let found = query.try_map(|row| policy(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the policy {id}"), e))
    }

    /// Writes a policy that was read and changed. Gives its new revision.
    ///
    /// # Errors
    /// `Changed` when somebody else did so meanwhile, or it is gone; `Exists` when its new name is taken.
    pub async fn update_policy(&self, changed: &PolicyRow) -> Result<u64> {
        let context = || format!("change the policy {}", changed.name);
        let update = "update policies set name = $1, document = $2, revision = revision + 1
            where id = $3 and revision = $4";
        let query = sqlx::query(update).bind(&changed.name).bind(document(&changed.document));
        let query = query.bind(changed.id.to_string()).bind(count(changed.revision));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql(context(), e))?;
        one_revision_on(done.rows_affected(), changed.revision, context)
    }

    /// Removes a policy.
    ///
    /// # Errors
    /// `Invalid` while it protects anything; `NotFound`.
    pub async fn remove_policy(&self, id: PolicyId) -> Result<()> {
        let context = || format!("remove the policy {id}");
        let query = sqlx::query("delete from policies where id = $1").bind(id.to_string());
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql(context(), e))?;
        match done.rows_affected() {
            0 => Err(Error::new(ErrorKind::NotFound, context())),
            _ => Ok(()),
        }
    }
}
