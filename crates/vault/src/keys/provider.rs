//! The seam between a vault and whoever keeps the key to it.

use super::hex;
use super::lock::{Lock, Unlocked, random};
use crate::{Error, ErrorKind, Result, VaultId};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What a provider wraps for a holder: 32 random bytes that open every keyring the holder is part of.
pub type HolderSecret = Zeroizing<[u8; 32]>;

/// Keeps a key outside the vault and wraps a holder's secret with it.
///
/// A provider never sees the vault's data keys, and is asked to wrap only when its holder is added: a key
/// management service is called once then, and once for every opening.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// Its kind, as keyrings name it: 1 to 32 of `a-z 0-9 -`. Never changes.
    fn provider(&self) -> &'static str;

    /// Names this key without telling it. `None` if only trying shows whether a wrap is this key's.
    fn id(&self) -> Option<HolderId>;

    /// Wraps `secret` so that only this key opens it, and only in this context.
    async fn wrap(&self, context: WrapContext, secret: &HolderSecret) -> Result<Vec<u8>>;

    /// Opens what a provider of this kind wrapped. `None` if that was another key of this kind.
    ///
    /// # Errors
    /// `Corrupt` if the wrap is none, or asks for more than is reasonable: it is untrusted bytes.
    async fn unwrap(&self, context: WrapContext, wrap: &[u8]) -> Result<Option<HolderSecret>>;
}

/// What a wrap is bound to: moved to another vault or holder it does not open.
#[derive(Clone, Copy, Debug)]
pub struct WrapContext {
    /// The vault.
    pub vault: VaultId,
    /// The holder.
    pub holder: HolderId,
}

/// Who is to be able to open a vault.
#[derive(Clone)]
pub struct NewHolder<'a> {
    /// The key.
    pub key: &'a dyn KeyProvider,
    /// What people call it; may be empty.
    pub label: String,
    /// When it is added.
    pub added: Timestamp,
}

/// Names a holder: derived from its key, or drawn where the key is a passphrase.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HolderId(pub [u8; 8]);

impl HolderId {
    /// A fresh one.
    pub(super) fn random() -> Self {
        Self(random())
    }

    /// That of a 32-byte key; `context` tells the kinds of keys apart.
    pub(super) fn of_key(context: &str, key: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&blake3::derive_key(context, key)[..8]);
        Self(id)
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HolderId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = hex::decode(text).and_then(|bytes| bytes.try_into().ok()).map(Self);
        id.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("'{text}' is not the id of a holder")))
    }
}

impl TryFrom<String> for HolderId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HolderId> for String {
    fn from(id: HolderId) -> Self {
        id.to_string()
    }
}

const SALT_BYTES: usize = 16;

/// Wraps with a symmetric key: salt (16) ‖ locked secret.
pub(super) fn wrap_with(key: &[u8; 32], label: &str, context: WrapContext, secret: &HolderSecret) -> Vec<u8> {
    let salt = random::<SALT_BYTES>();
    let locked = lock(key, label, context, &salt).seal(secret.as_slice());
    [&salt[..], &locked].concat()
}

/// Opens what [`wrap_with`] made.
pub(super) fn unwrap_with(
    key: &[u8; 32],
    label: &str,
    context: WrapContext,
    wrap: &[u8],
) -> Result<Option<HolderSecret>> {
    let damaged = || damaged_wrap(context, "it is no longer what was written");
    let (salt, locked) = wrap.split_at_checked(SALT_BYTES).ok_or_else(damaged)?;
    match lock(key, label, context, salt).open(locked) {
        Unlocked::Plain(secret) => match <[u8; 32]>::try_from(secret.as_slice()) {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(_) => Err(damaged()),
        },
        Unlocked::OtherKey => Ok(None),
        Unlocked::Damaged => Err(damaged()),
    }
}

fn lock(key: &[u8; 32], label: &str, context: WrapContext, salt: &[u8]) -> Lock {
    Lock::new(label, &[key, context.vault.0.as_bytes(), &context.holder.0, salt])
}

/// A wrap that is not what a provider made.
pub(super) fn damaged_wrap(context: WrapContext, found: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the wrap of holder {} is damaged: {found}", context.holder))
}
