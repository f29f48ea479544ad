//! The keys of a vault: who can open it, and a new data key for what is written from now on.
//!
//! The server looks into the store itself, as it does for notes. Holders are added and removed where their keys are, with
//! `strongroom rescue key`: a new key must not pass through a server that keeps none of it.
//!
//! CRASH: a rotation is one object that is there or not. Another rotation after one whose answer was lost costs an
//! epoch, and nothing else.

use crate::{Actor, Control, Error, Result, store};
use api::{Code, KeyHolder, VaultKeys};
use catalog::VaultRow;
use model::VaultId;
use serde_json::json;
use std::time::Duration;
use vault::{ErrorKind, Holder, Holders, KeyFile, KeyProvider, Store};

/// A page waits for it, and a request is answered within 60 s whatever happens.
const REACHED_WITHIN: Duration = Duration::from_secs(20);

impl Control {
    /// Who can open a vault, and its data keys.
    ///
    /// # Errors
    /// `Unavailable` when the vault's store is out of reach, or holds no vault that can be read.
    pub async fn vault_keys(&self, id: VaultId) -> Result<VaultKeys> {
        let row = self.vault_row(id).await?;
        let key = self.key_file(id).await?;
        let listed = async {
            let store = reach(&row).await?;
            match Box::pin(Holders::open(store.clone(), &key)).await {
                Ok(holders) => Ok(keys_of(&holders, &key)),
                // Its key was removed: who can open the vault is written in plain.
                Err(error) if error.kind() == ErrorKind::Key => {
                    let listed = Box::pin(Holders::list(&store)).await;
                    let (keyring, holders) = listed.map_err(|error| unread(&row, &error))?;
                    let holders = holders.iter().map(|holder| shown(holder, &key)).collect();
                    Ok(VaultKeys { keyring, epoch: None, epochs: None, holders })
                }
                Err(error) => Err(unread(&row, &error)),
            }
        };
        in_time(&row, listed).await
    }

    /// Gives a vault a new data key. If somebody else does so at the same time, theirs is as good.
    ///
    /// # Errors
    /// As [`Control::vault_keys`]; `Conflict` when the server's key does not open the vault, or it has as many data
    /// keys as it may.
    pub async fn rotate_vault_key(&self, actor: &Actor, id: VaultId) -> Result<VaultKeys> {
        let row = self.vault_row(id).await?;
        let key = self.key_file(id).await?;
        let opening = async {
            let opened = Box::pin(Holders::open(reach(&row).await?, &key)).await;
            opened.map_err(|error| unread(&row, &error))
        };
        let mut holders = in_time(&row, opening).await?;
        let detail = json!({ "name": row.name, "epoch_before": holders.epoch() });
        self.audit(actor, "vault.rotate_key", &id.to_string(), &detail).await?;
        Box::pin(holders.rotate()).await.map_err(|error| unread(&row, &error))?;
        Ok(keys_of(&holders, &key))
    }
}

async fn reach(row: &VaultRow) -> Result<Store> {
    let address = store::address(&row.location).map_err(|rule| {
        Error::new(Code::Internal, format!("the location of the vault {}: {rule}", row.name))
    })?;
    let opened = store::open(&address).await;
    // Of a vault that is made, the place is wrong; of one that is there, it is out of reach.
    opened.map_err(|error| out_of_reach(row, &why(&error)))
}

async fn in_time<T>(row: &VaultRow, doing: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| out_of_reach(row, &format!("no answer within {} s", REACHED_WITHIN.as_secs()));
    tokio::time::timeout(REACHED_WITHIN, doing).await.map_err(late)?
}

/// What a vault's refusal means, where the vault is known.
fn unread(row: &VaultRow, error: &vault::Error) -> Error {
    match error.kind() {
        ErrorKind::Key => {
            let detail = format!("the server's key does not open the vault {}: {error}", row.name);
            let hint = "take the vault in again with a key file that opens it: `strongroom vault adopt`";
            Error::new(Code::Conflict, detail).hint(hint)
        }
        ErrorKind::AlreadyExists => {
            Error::new(Code::Changed, error.to_string()).hint("look at the keys again")
        }
        ErrorKind::Invalid => Error::new(Code::Conflict, error.to_string()),
        ErrorKind::Corrupt => {
            let detail = why(&store::refused(error));
            let hint = "docs/cli.md tells what to do about a damaged keyring";
            Error::new(Code::Unavailable, format!("the keys of the vault {}: {detail}", row.name)).hint(hint)
        }
        _ => out_of_reach(row, &why(&store::refused(error))),
    }
}

/// Without the field of a request that it would be about: there is none.
fn why(error: &Error) -> String {
    let problem = error.problem();
    problem.violations.first().map_or_else(|| problem.detail.clone(), |one| one.rule.clone())
}

fn out_of_reach(row: &VaultRow, why: &str) -> Error {
    let detail = format!("the server does not reach the vault {} in {}: {why}", row.name, row.location);
    let hint = "the server needs the store's credentials in its environment, or its directory, as movers do; on a host \
                that reaches it, `strongroom rescue key` lists and changes the keys";
    Error::new(Code::Unavailable, detail).hint(hint)
}

fn keys_of(holders: &Holders<'_>, key: &KeyFile) -> VaultKeys {
    VaultKeys {
        keyring: holders.keyring(),
        epoch: Some(holders.epoch()),
        epochs: Some(holders.epochs()),
        holders: holders.holders().map(|holder| shown(holder, key)).collect(),
    }
}

fn shown(holder: &Holder, key: &KeyFile) -> KeyHolder {
    KeyHolder {
        id: holder.id.to_string(),
        kind: holder.provider.clone(),
        label: holder.label.clone(),
        added: holder.added,
        is_servers: key.id() == Some(holder.id),
    }
}
