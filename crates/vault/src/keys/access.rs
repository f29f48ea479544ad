//! What an open vault keeps of its holder: the data keys, and the secret that opens keyrings to come.
//!
//! A vault stays open for months, and others rotate the data key meanwhile. The holder's secret, not its
//! provider, opens the newer keyring: nobody is asked for the passphrase again.

use super::keyring::Keyring;
use super::object::Opened;
use super::share::KeyringName;
use super::{HolderId, HolderSecret, KeyProvider, stored};
use crate::{Error, ErrorKind, Result, Store, VaultId};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The keys of an open vault.
pub(crate) struct Access {
    /// Gains epochs, never loses one; all else stays.
    keys: Arc<Keyring>,
    by: HolderId,
    secret: HolderSecret,
    /// An older keyring was asked for: it stays.
    is_pinned: bool,
    /// The keyring whose epochs `keys` has. Held while a newer one is read: many readers, one look.
    name: Mutex<KeyringName>,
}

impl Access {
    /// Opens the newest keyring, or the one with this number.
    pub(crate) async fn open(
        store: &Store,
        vault: VaultId,
        key: &dyn KeyProvider,
        number: Option<u32>,
    ) -> Result<Self> {
        let Opened { name, keys, by, secret, .. } = stored::open(store, vault, key, number).await?;
        Ok(Self { keys: Arc::new(keys), by, secret, is_pinned: number.is_some(), name: Mutex::new(name) })
    }

    /// The data keys.
    pub(crate) fn keys(&self) -> &Arc<Keyring> {
        &self.keys
    }

    /// Takes over the epochs of the newest keyring.
    ///
    /// # Errors
    /// `Key` if the holder was removed since the vault was opened.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<()> {
        if self.is_pinned {
            return Ok(());
        }
        let mut name = self.name.lock().await;
        let newest = stored::newest(store).await?;
        if newest <= name.number {
            return Ok(());
        }
        let newest = KeyringName { number: newest, ..*name };
        let opened = stored::open_as(store, newest, self.by, &self.secret).await?.ok_or_else(|| {
            let context = format!("holder {} was removed from the vault since it was opened", self.by);
            Error::new(ErrorKind::Key, context)
        })?;
        if !self.keys.adopt(&opened.keys) {
            return Err(Error::corrupt(newest.object(), 0, "it lacks keys that the vault had before"));
        }
        *name = newest;
        Ok(())
    }
}
