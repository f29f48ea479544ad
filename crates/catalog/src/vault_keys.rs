//! Keys of vaults, sealed: what they are sealed under is not here.

use crate::row::{parsed, text};
use crate::{Catalog, Error, Result};
use model::VaultId;
use sqlx::any::AnyRow;

impl Catalog {
    /// The sealed key of a vault, if somebody has shared it.
    pub async fn sealed_key(&self, vault: VaultId) -> Result<Option<String>> {
        let query = sqlx::query("select sealed from vault_keys where vault_id = $1").bind(vault.to_string());
        let found = query.try_map(|row: AnyRow| text(&row, "sealed")).fetch_optional(&self.pool).await;
        found.map_err(|e| Error::sql(format!("look for the key of the vault {vault}"), e))
    }

    /// Some vault's sealed key, if there is any, and the vault.
    pub async fn any_sealed_key(&self) -> Result<Option<(VaultId, String)>> {
        let query = sqlx::query("select vault_id, sealed from vault_keys order by vault_id limit 1");
        let query = query.try_map(|row: AnyRow| Ok((parsed(&row, "vault_id")?, text(&row, "sealed")?)));
        let found = query.fetch_optional(&self.pool).await;
        found.map_err(|e| Error::sql("look for keys of vaults", e))
    }

    /// Shares a vault's sealed key in place of the one that the caller has seen. Says whether it stands: if not, somebody
    /// else was first.
    pub async fn share_sealed_key(&self, vault: VaultId, seen: Option<&str>, sealed: &str) -> Result<bool> {
        let (text, seen) = match seen {
            None => {
                ("insert into vault_keys (vault_id, sealed) values ($1, $2) on conflict do nothing", None)
            }
            Some(seen) => {
                ("update vault_keys set sealed = $2 where vault_id = $1 and sealed = $3", Some(seen))
            }
        };
        let query = sqlx::query(text).bind(vault.to_string()).bind(sealed);
        let query = if let Some(seen) = seen { query.bind(seen) } else { query };
        let done = query.execute(&self.pool).await;
        let done = done.map_err(|e| Error::sql(format!("share the key of the vault {vault}"), e))?;
        Ok(done.rows_affected() == 1)
    }
}
