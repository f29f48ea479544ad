//! Vaults and their snapshot stores, opened once and kept open between orders.

use super::failure::{Failed, Result};
use super::settings::Settings;
use crate::{Limits, Throttle};
use api::work::{StoreAccess, VaultAccess};
use model::VaultId;
use model::job::Failure;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;
use vault::{ErrorKind, KeyFile, Store, StoreAddress, StoreSettings, Vault};

/// Vaults that are kept open; each has up to 50 MiB of nodes and windows at hand. Beyond it those that nobody uses
/// are closed.
const OPEN_MAX: usize = 16;

/// One store of one vault, and the key it was opened with: another key may come to be the right one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    vault: VaultId,
    location: String,
    /// Whose credentials: see [`StoreSettings::preferring`].
    credentials: Option<String>,
    key: String,
}

/// Vaults, opened.
pub(super) struct Vaults {
    settings: Settings,
    cache: PathBuf,
    opened: Mutex<BTreeMap<Place, Arc<OnceCell<Arc<Vault>>>>>,
    /// One for each vault, for all its transfers.
    transfers: Mutex<BTreeMap<VaultId, Arc<Throttle>>>,
}

/// The stores of a vault.
pub(super) struct Tiers {
    pub(super) vault: Arc<Vault>,
    pub(super) snapshots: Option<Arc<Vault>>,
}

impl Tiers {
    /// Both stores, the one that is nearer first.
    pub(super) fn nearest_first(&self) -> impl Iterator<Item = &Arc<Vault>> {
        self.snapshots.iter().chain([&self.vault])
    }
}

impl Vaults {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            cache: settings.cache(),
            opened: Mutex::default(),
            transfers: Mutex::default(),
        }
    }

    /// The vault.
    pub(super) async fn vault(&self, access: &VaultAccess) -> Result<Arc<Vault>> {
        self.at(access, &access.location, access.credentials.as_deref()).await
    }

    /// The vault's snapshot store, made if it is not there; the vault itself is opened only then.
    pub(super) async fn snapshots(&self, access: &VaultAccess, location: &str) -> Result<Arc<Vault>> {
        match self.at(access, location, None).await {
            // Nothing there, for instance.
            Err(Failed(error)) if error.failure == Failure::Invalid => {
                let vault = self.vault(access).await?;
                self.make_replica(access, (location, None), &vault).await?;
                self.at(access, location, None).await
            }
            opened => opened,
        }
    }

    /// The vault's snapshot store as it is; none if the vault has none, or it cannot be opened.
    pub(super) async fn near(&self, access: &VaultAccess) -> Option<Arc<Vault>> {
        match self.at(access, access.snapshot_store.as_deref()?, None).await {
            Ok(near) => Some(near),
            Err(Failed(error)) => {
                tracing::warn!(error = error.text, "the snapshot store cannot be opened: the vault is asked");
                None
            }
        }
    }

    /// The vault's second store; none if there is nothing yet.
    pub(super) async fn second(
        &self,
        access: &VaultAccess,
        place: &StoreAccess,
    ) -> Result<Option<Arc<Vault>>> {
        match self.at(access, &place.location, place.credentials.as_deref()).await {
            Err(Failed(error)) if error.failure == Failure::Invalid => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Makes the vault's second store. What is there and is no store of this vault is told.
    pub(super) async fn make_second(
        &self,
        access: &VaultAccess,
        place: &StoreAccess,
        vault: &Vault,
    ) -> Result<Arc<Vault>> {
        let credentials = place.credentials.as_deref();
        self.make_replica(access, (&place.location, credentials), vault).await?;
        self.at(access, &place.location, credentials).await
    }

    /// Makes the vault itself anew, of another store of it.
    pub(super) async fn make_anew(&self, access: &VaultAccess, of: &Vault) -> Result<()> {
        self.make_replica(access, (&access.location, access.credentials.as_deref()), of).await
    }

    /// What all transfers to a vault from its snapshot store wait for, at the limit that the order tells.
    pub(super) fn transfers(&self, access: &VaultAccess) -> Arc<Throttle> {
        let limits =
            Limits { bytes: access.transfer_bytes_per_second.and_then(NonZeroU64::new), reads: None };
        let mut transfers = self.transfers.lock().expect("no holder panics");
        let throttle = transfers.entry(access.id).or_insert_with(|| Arc::new(Throttle::new(limits)));
        throttle.set(limits);
        Arc::clone(throttle)
    }

    /// Has the vault opened anew when it is asked for next. Who has it open goes on with it.
    pub(super) fn close(&self, access: &VaultAccess) {
        let mut opened = self.opened.lock().expect("no holder panics");
        opened.retain(|place, _| place.vault != access.id || place.location != access.location);
    }

    /// Both.
    pub(super) async fn tiers(&self, access: &VaultAccess) -> Result<Tiers> {
        let vault = self.vault(access).await?;
        let snapshots = match &access.snapshot_store {
            Some(location) => Some(self.snapshots(access, location).await?),
            None => None,
        };
        Ok(Tiers { vault, snapshots })
    }

    /// Makes sure that a store is fit to be written to.
    pub(super) async fn attach(&self, vault: &Vault) -> Result<()> {
        Ok(vault.attach(&self.cache, (self.settings.clock)()).await?)
    }

    async fn make_replica(
        &self,
        access: &VaultAccess,
        (location, credentials): (&str, Option<&str>),
        vault: &Vault,
    ) -> Result<()> {
        if let StoreAddress::Directory(folder) = StoreAddress::parse(location)?
            && !folder.is_dir()
        {
            let made = std::fs::create_dir(&folder);
            made.map_err(|e| block::Error::io(format!("make the store {location}"), e))?;
        }
        let (store, key) = (self.store(location, credentials).await?, KeyFile::from_text(&access.key)?);
        match Vault::create_replica(store, vault, (self.settings.clock)(), &key).await {
            // Another mover may have made it meanwhile: opening it tells.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => Ok(made.map(drop)?),
        }
    }

    async fn store(&self, location: &str, credentials: Option<&str>) -> vault::Result<Store> {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let all = std::env::vars_os().filter_map(text);
        let settings = StoreSettings::preferring(credentials, all.collect());
        Store::open(&StoreAddress::parse(location)?, &settings).await
    }

    /// Opens the store at a location, or gives the one that is open.
    async fn at(
        &self,
        access: &VaultAccess,
        location: &str,
        credentials: Option<&str>,
    ) -> Result<Arc<Vault>> {
        let place = Place {
            vault: access.id,
            location: location.to_owned(),
            credentials: credentials.map(str::to_owned),
            key: access.key.clone(),
        };
        let cell = self.cell(place);
        let opened = cell.get_or_try_init(|| async {
            let store = self.store(location, credentials).await?;
            let key = KeyFile::from_text(&access.key)?;
            let vault = Vault::open(store, &key).await?;
            if vault.id().0 != access.id.0 {
                let text = format!("{location} holds the vault {}, not {}", vault.id(), access.id);
                return Err(Failed::new(Failure::Invalid, text, "check where the vault is"));
            }
            Ok(Arc::new(vault.with_cache(&self.cache)))
        });
        opened.await.cloned()
    }

    fn cell(&self, place: Place) -> Arc<OnceCell<Arc<Vault>>> {
        let mut opened = self.opened.lock().expect("no holder panics");
        if opened.len() >= OPEN_MAX && !opened.contains_key(&place) {
            opened.retain(|_, cell| {
                Arc::strong_count(cell) > 1 || cell.get().is_some_and(|vault| Arc::strong_count(vault) > 1)
            });
        }
        Arc::clone(opened.entry(place).or_default())
    }
}
