//! A vault's keys: `strongroom vault keys`, `rotate-key`.

use super::words::or_dash;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{KeyHolder, Vault, VaultKeys};

/// `strongroom vault keys`.
pub(super) async fn list(output: &Output, client: &Client, vault: &Vault) -> Result<()> {
    let keys: VaultKeys = client.get(&format!("/v1/vaults/{}/keys", vault.id)).await?;
    output::print(output, &keys, || {
        let rows = keys.holders.iter().map(|holder| {
            let (added, label) = (output::instant(holder.added), or_dash(Some(holder.label.clone())));
            vec![holder.id.clone(), holder.kind.clone(), added, label, whose(holder).to_owned()]
        });
        let table = output::table(&["HOLDER", "KIND", "ADDED", "LABEL", "FOR"], &[], rows);
        format!("{table}\nAny one of these opens {}. {}\n", vault.name, in_words(&keys))
    })
}

/// `strongroom vault rotate-key`.
pub(super) async fn rotate(output: &Output, client: &Client, vault: &Vault) -> Result<()> {
    let rotated = client.act(Method::POST, &format!("/v1/vaults/{}/keys/rotate", vault.id)).await?;
    let keys: VaultKeys = rotated.context("the server told nothing of the keys")?;
    output::print(output, &keys, || format!("{} has a new data key. {}\n", vault.name, in_words(&keys)))
}

fn whose(holder: &KeyHolder) -> &'static str {
    match (holder.is_servers, holder.kind.as_str()) {
        (true, _) => "this server and its movers",
        (false, "recovery-key") => "the day all else is lost",
        (false, _) => "whoever has it",
    }
}

fn in_words(keys: &VaultKeys) -> String {
    match (keys.epoch, keys.epochs) {
        (Some(epoch), Some(1)) => format!("One data key has sealed everything so far: epoch {epoch}."),
        (Some(epoch), Some(epochs)) => {
            format!("Epoch {epoch} seals what is written now; {epochs} data keys open what is there.")
        }
        _ => "The server's own key is not among them: it can neither back up nor restore.".to_owned(),
    }
}
