//! Asking a server what it offers.

use super::handshake::{Haggle, in_time};
use crate::address::Address;
use crate::wire::{ContextQuery, ListedExport, option, option_reply};
use block::{Error, Result};

/// The names of a server's exports.
pub async fn list_exports(address: &Address) -> Result<Vec<String>> {
    let context = format!("list exports at {address}");
    in_time(&context, async {
        let mut haggle = Haggle::start(address, &context).await?;
        let replies = haggle.ask(option::LIST, &[]).await?.map_err(|refusal| haggle.refused(&refusal))?;
        haggle.abort().await;
        replies
            .iter()
            .filter(|(kind, _)| *kind == option_reply::SERVER)
            .map(|(_, data)| ListedExport::decode(data).map(|export| export.name))
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::io(&context, e.into()))
    })
    .await
}

/// The names of the contexts of an export: `base:allocation`, `qemu:dirty-bitmap:NAME` and others.
///
/// # Errors
/// `NotFound` if there is no such export.
pub async fn list_contexts(address: &Address, export: &str) -> Result<Vec<String>> {
    let context = format!("list contexts of export '{export}' at {address}");
    in_time(&context, async {
        let mut haggle = Haggle::start(address, &context).await?;
        // Without structured replies a server has no contexts to offer, and says so below.
        let _ = haggle.ask(option::STRUCTURED_REPLY, &[]).await?;
        let query = ContextQuery { name: export.to_owned(), queries: Vec::new() };
        let contexts = haggle.context_ids(option::LIST_META_CONTEXT, &query).await?;
        haggle.abort().await;
        Ok(contexts.into_iter().map(|context| context.name).collect())
    })
    .await
}
