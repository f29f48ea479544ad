//! What is to stand in a vault of itself, so that whoever takes the vault in has it. Numbered and believed as the notes of
//! items are (`notes.rs`); what it says follows from the vault's row, so nothing has to count that it changed.

use crate::row::{count, number, text};
use crate::{Catalog, Error, Result, VaultRow};
use model::VaultId;
use sqlx::any::AnyRow;

/// Stands for what a note says while somebody may be writing another.
const DOUBT: &str = "?";

/// What is to be noted of a vault, and under which number.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultNoteDraft {
    /// The vault, as it was when the number was drawn.
    pub vault: VaultRow,
    /// The number that was drawn.
    pub number: u64,
}

impl Catalog {
    /// What a vault's note of itself says; empty for none, nothing if that is not known for sure.
    pub async fn vault_said(&self, vault: VaultId) -> Result<Option<String>> {
        let query = sqlx::query("select said from vault_notes where vault_id = $1").bind(vault.to_string());
        let found = query.try_map(|row: AnyRow| text(&row, "said")).fetch_optional(&self.pool).await;
        let said = found.map_err(|e| Error::sql(format!("see what is noted of the vault {vault}"), e))?;
        Ok(Some(said.unwrap_or_default()).filter(|said| said != DOUBT))
    }

    /// Draws the next number for a vault's note of itself, with what the vault is then.
    pub async fn draft_vault_note(&self, id: VaultId) -> Result<VaultNoteDraft> {
        let sql = |e| Error::sql(format!("see what is to be noted of the vault {id}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        // INVARIANT: the row is held from here on, so a note of a higher number never knows less.
        let upsert = "insert into vault_notes (vault_id, number, said) values ($1, 1, $2)
            on conflict (vault_id) do update set number = vault_notes.number + 1, said = excluded.said
            returning number";
        let query = sqlx::query(upsert).bind(id.to_string()).bind(DOUBT);
        let query = query.try_map(|row: AnyRow| number(&row, "number"));
        let number = query.fetch_one(&mut *transaction).await.map_err(sql)?;
        let query = sqlx::query("select * from vaults where id = $1").bind(id.to_string());
        let found = query.try_map(|row| crate::vaults::vault(&row)).fetch_one(&mut *transaction).await;
        let vault = found.map_err(sql)?;
        transaction.commit().await.map_err(sql)?;
        Ok(VaultNoteDraft { vault, number })
    }

    /// Marks a vault's note of itself as written. Where somebody has drawn since, the vault's word is not known for sure.
    pub async fn mark_vault_note(&self, vault: VaultId, number: u64, said: &str) -> Result<()> {
        let update = "update vault_notes set said = $1 where vault_id = $2 and number = $3";
        let query = sqlx::query(update).bind(said).bind(vault.to_string()).bind(count(number));
        let marked = query.execute(&self.pool).await;
        marked.map(drop).map_err(|e| Error::sql(format!("mark the note of the vault {vault}"), e))
    }

    /// Goes on behind a number that the vault has already; what that note says is not known for sure.
    pub async fn skip_vault_notes(&self, vault: VaultId, last: u64) -> Result<()> {
        let upsert = "insert into vault_notes (vault_id, number, said) values ($1, $2, $3)
            on conflict (vault_id) do update set number = excluded.number, said = excluded.said
            where vault_notes.number < excluded.number";
        let query = sqlx::query(upsert).bind(vault.to_string()).bind(count(last)).bind(DOUBT);
        let skipped = query.execute(&self.pool).await;
        skipped.map(drop).map_err(|e| Error::sql(format!("number the notes of the vault {vault}"), e))
    }
}
