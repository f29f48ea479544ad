//! Where else a chunk lies, when it is not where its map says: packs are compacted, and what is damaged may have a
//! copy. Only then does reading need the index.

use crate::index::{Index, Location};
use crate::map::Child;
use crate::pack;
use crate::vault::{Vault, check_length};
use crate::{ChunkId, Error, ErrorKind, PackId, Result};
use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

/// What an open vault has found out about places that its maps name.
#[derive(Default)]
pub(crate) struct Moved {
    /// Packs that were not there. Names are never used again, so they never will be.
    gone: RwLock<BTreeSet<PackId>>,
    index: tokio::sync::Mutex<Option<Arc<Index>>>,
}

impl Moved {
    pub(crate) fn note_gone(&self, pack: PackId) {
        self.gone.write().expect("no holder panics").insert(pack);
    }

    pub(crate) fn is_gone(&self, pack: &PackId) -> bool {
        self.gone.read().expect("no holder panics").contains(pack)
    }
}

impl Vault {
    /// Every place but `hint` where the index knows a chunk, in packs that were not found gone. An index that was
    /// read earlier is read again before it is said that there is none.
    pub(crate) async fn copies(&self, id: &ChunkId, hint: &Location) -> Result<Vec<Location>> {
        let mut index = self.moved().index.lock().await;
        for is_fresh in [index.is_none(), true] {
            if is_fresh {
                *index = Some(self.index().await?);
            }
            let mut places = index.as_ref().expect("read above").find(id)?;
            places.retain(|at| at != hint && !self.moved().is_gone(&at.pack));
            if !places.is_empty() || is_fresh {
                return Ok(places);
            }
        }
        unreachable!("the second look is fresh")
    }

    /// Where a chunk is to be read: where its map says, unless that pack is known to be gone.
    pub(crate) async fn place_of(&self, child: &Child) -> Result<Location> {
        if !self.moved().is_gone(&child.at.pack) {
            return Ok(child.at);
        }
        // Without a copy, the place itself: reading it says what is missing.
        Ok(self.copies(&child.id, &child.at).await?.first().copied().unwrap_or(child.at))
    }

    /// Reads a chunk or node and opens it; what `check` then makes of codec and body. If it is damaged or gone
    /// where it should lie, every other place is tried, and the first fault told if none serves.
    pub(crate) async fn open_anywhere<T>(
        &self,
        child: &Child,
        check: impl Fn(Location, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let fault = match self.open_at(child, child.at, &check).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => error,
            other => return other,
        };
        self.open_elsewhere(child, fault, check).await
    }

    /// As [`Vault::open_anywhere`], where the map's own place was found at `fault`.
    pub(crate) async fn open_elsewhere<T>(
        &self,
        child: &Child,
        fault: Error,
        check: impl Fn(Location, &[u8]) -> Result<T>,
    ) -> Result<T> {
        for at in self.copies(&child.id, &child.at).await? {
            match self.open_at(child, at, &check).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                other => return other,
            }
        }
        Err(fault)
    }

    async fn open_at<T>(
        &self,
        child: &Child,
        at: Location,
        check: impl Fn(Location, &[u8]) -> Result<T>,
    ) -> Result<T> {
        check_length(at)?;
        let mut sealed = self.read_sealed(at.pack, at.offset.into(), at.length.into()).await?;
        let key = self.pack_key(at.pack).await?;
        check(at, pack::open_chunk(&key, child.id, at, &mut sealed)?)
    }
}
