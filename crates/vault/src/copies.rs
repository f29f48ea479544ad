//! Where else a chunk lies, when it is not where its map says: packs are compacted, and what is damaged may have a
//! copy. Only then does reading need the index.

use crate::index::{Index, Location};
use crate::map::Child;
use crate::pack;
use crate::vault::{Vault, check_length};
use crate::{ChunkId, Error, ErrorKind, PackId, Result};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

/// How often the index is read before it is said that a chunk has no copy.
const LOOKS_MAX: u32 = 2;

/// What an open vault has found out about places that its maps name.
#[derive(Default)]
pub(crate) struct Moved {
    /// Packs that were not there. Names are never used again, so they never will be.
    gone: RwLock<BTreeSet<PackId>>,
    index: Mutex<Option<Arc<Index>>>,
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
        let read_before = self.moved().index.lock().expect("no holder panics").clone();
        let places = read_before.map_or_else(Vec::new, |index| self.elsewhere(&index, id, hint));
        if places.is_empty() { self.fresh_copies(id, hint).await } else { Ok(places) }
    }

    /// The same, from an index that is read anew.
    async fn fresh_copies(&self, id: &ChunkId, hint: &Location) -> Result<Vec<Location>> {
        // A merge between the pages of a listing can hide what it merged: one listing that finds nothing proves
        // nothing.
        for _ in 0..LOOKS_MAX {
            let index = self.index().await?;
            *self.moved().index.lock().expect("no holder panics") = Some(Arc::clone(&index));
            let places = self.elsewhere(&index, id, hint);
            if !places.is_empty() {
                return Ok(places);
            }
        }
        Ok(Vec::new())
    }

    /// A local copy of the index that cannot be read says nothing; it is fetched again with the next look.
    fn elsewhere(&self, index: &Index, id: &ChunkId, hint: &Location) -> Vec<Location> {
        let mut places = index.find(id).unwrap_or_default();
        places.retain(|at| at != hint && !self.moved().is_gone(&at.pack));
        places
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
            Err(error) if is_missed(&error) => error,
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
        let mut tried = Vec::new();
        for is_fresh in [false, true] {
            let places = match is_fresh {
                false => self.copies(&child.id, &child.at).await?,
                true => self.fresh_copies(&child.id, &child.at).await?,
            };
            for at in places {
                if tried.contains(&at) {
                    continue;
                }
                match self.open_at(child, at, &check).await {
                    Err(error) if is_missed(&error) => tried.push(at),
                    other => return other,
                }
            }
        }
        Err(fault)
    }

    /// Reads a chunk at one place.
    pub(crate) async fn open_at<T>(
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

/// Whether what could not be read here may lie elsewhere. A head that rotted may say that it is of another key, or of
/// a newer format.
pub(crate) fn is_missed(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Key | ErrorKind::Unsupported)
}
