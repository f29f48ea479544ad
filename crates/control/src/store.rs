//! Stores: where a vault is to be, and what is there.

use crate::{Error, Result};
use api::Code;
use model::VaultId;
use std::ffi::OsString;
use vault::{ErrorKind, Store, StoreAddress, StoreSettings, Vault};

/// Reads where a vault is to be; else the rule that the text breaks.
pub(crate) fn address(text: &str) -> std::result::Result<StoreAddress, String> {
    match StoreAddress::parse(text) {
        Ok(StoreAddress::Directory(path)) if !path.is_absolute() => {
            Err("must be an absolute path, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX".to_owned())
        }
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

/// Opens the store at an address, with the credentials that the server's environment holds.
pub(crate) async fn open(address: &StoreAddress) -> Result<Store> {
    open_with(address, None).await.map_err(|error| refused(&error))
}

/// The same, with those whose names begin with a prefix, if there are any.
pub(crate) async fn open_with(address: &StoreAddress, prefix: Option<&str>) -> vault::Result<Store> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let settings = StoreSettings::preferring(prefix, std::env::vars_os().filter_map(text).collect());
    Box::pin(Store::open(address, &settings)).await
}

/// The same for a vault that is to be made: its directory is made too, in one that is there.
pub(crate) async fn open_new(address: &StoreAddress) -> Result<Store> {
    if let StoreAddress::Directory(path) = address
        && !path.is_dir()
    {
        std::fs::create_dir(path).map_err(|error| {
            Error::invalid("/location", format!("must be a directory, or one that can be made: {error}"))
        })?;
    }
    open(address).await
}

/// Whether a store may hold this vault although making it failed: the answer to the last write may be what was lost.
pub(crate) async fn may_hold(store: &Store, id: VaultId) -> bool {
    match Vault::info_of(store).await {
        Ok(info) => info.id.0 == id.0,
        Err(error) => matches!(error.kind(), ErrorKind::Store | ErrorKind::Denied),
    }
}

/// What a vault or store says, with its causes.
pub(crate) fn in_words(error: &vault::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// What a vault's or store's refusal means for who asked, with its causes.
pub(crate) fn refused(error: &vault::Error) -> Error {
    let text = in_words(error);
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound => Error::invalid("/location", text),
        ErrorKind::Key => Error::invalid("/key", text),
        ErrorKind::AlreadyExists => Error::new(Code::Conflict, text)
            .hint("take in the vault that is there with `adopt`, or name another place"),
        ErrorKind::Unsupported => Error::new(Code::Conflict, text).hint("a newer program made it"),
        _ => Error::new(Code::Unavailable, text),
    }
}
