//! The vault's data keys.
//!
//! | bytes | field |
//! |---|---|
//! | 0..32 | id key: chunk and node ids are keyed with keys derived from it |
//! | 32..36 | number of epochs, 1 to 1024 |
//! | then, each 36 | epoch number, ascending; its key |

use super::lock::random;
use crate::bytes_io::Fields;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const CHUNK_CONTEXT: &str = "strongroom vault v1 chunk id key";
const NODE_CONTEXT: &str = "strongroom vault v1 map node id key";
/// A rotation a week for twenty years; bounds what a damaged count makes a reader allocate.
pub(super) const EPOCHS_MAX: usize = 1024;

/// The key of an epoch.
pub(crate) type EpochKey = Zeroizing<[u8; 32]>;

/// The vault's data keys. An open vault's gain epochs while others use them; nothing else ever changes.
pub(crate) struct Keyring {
    ids: IdKeys,
    epochs: RwLock<Epochs>,
}

#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
struct IdKeys {
    id: [u8; 32],
    chunk_id: [u8; 32],
    node_id: [u8; 32],
}

/// Ascending; the last one seals.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
struct Epochs(Vec<(u32, [u8; 32])>);

impl Keyring {
    /// Fresh random keys, first epoch.
    pub(crate) fn generate() -> Self {
        Self::from_parts(random(), vec![(1, random())])
    }

    /// The same with one more epoch, which seals from now on; `None` if it has as many as it may.
    ///
    /// Epochs are numbered by the keyring that brings them: two keyrings never give two keys one number,
    /// even where a rotation starts again from an older keyring.
    pub(super) fn rotated(&self, number: u32) -> Option<Self> {
        let old = self.epochs();
        if old.0.len() >= EPOCHS_MAX || number <= old.last().0 {
            return None;
        }
        // With its final capacity at once: growing would leave copies of the keys behind.
        let mut epochs = Vec::with_capacity(old.0.len() + 1);
        epochs.extend_from_slice(&old.0);
        epochs.push((number, random()));
        Some(Self::from_parts(self.ids.id, epochs))
    }

    /// Takes over the epochs of a newer keyring of the same vault. False if it is none: nothing was changed.
    pub(super) fn adopt(&self, newer: &Self) -> bool {
        let newer_epochs = newer.epochs().clone();
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        let is_newer = self.ids == newer.ids && newer_epochs.0.starts_with(&epochs.0);
        if is_newer {
            *epochs = newer_epochs;
        }
        is_newer
    }

    /// Whether this keyring opens all that `other` opens.
    pub(crate) fn extends(&self, other: &Self) -> bool {
        let ours = self.epochs().clone();
        self.ids == other.ids && ours.0.starts_with(&other.epochs().0)
    }

    fn from_parts(id: [u8; 32], epochs: Vec<(u32, [u8; 32])>) -> Self {
        let (chunk_id, node_id) =
            (blake3::derive_key(CHUNK_CONTEXT, &id), blake3::derive_key(NODE_CONTEXT, &id));
        Self { ids: IdKeys { id, chunk_id, node_id }, epochs: RwLock::new(Epochs(epochs)) }
    }

    pub(crate) fn chunk_id_key(&self) -> &[u8; 32] {
        &self.ids.chunk_id
    }

    pub(crate) fn node_id_key(&self) -> &[u8; 32] {
        &self.ids.node_id
    }

    /// How many epochs there are.
    pub(super) fn epoch_count(&self) -> u32 {
        u32::try_from(self.epochs().0.len()).expect("at most 1024 epochs")
    }

    /// The epoch that new objects are sealed under.
    pub(crate) fn current_epoch(&self) -> (u32, EpochKey) {
        let (number, key) = *self.epochs().last();
        (number, Zeroizing::new(key))
    }

    pub(crate) fn epoch(&self, wanted: u32) -> Option<EpochKey> {
        let epochs = self.epochs();
        let at = epochs.0.binary_search_by_key(&wanted, |(number, _)| *number).ok()?;
        Some(Zeroizing::new(epochs.0[at].1))
    }

    fn epochs(&self) -> RwLockReadGuard<'_, Epochs> {
        // Whoever holds the lock for writing only assigns: it cannot be left half done.
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that [`Self::put_into`] appends.
    pub(super) fn encoded_bytes(&self) -> usize {
        32 + 4 + 36 * self.epochs().0.len()
    }

    pub(super) fn put_into(&self, bytes: &mut Vec<u8>) {
        let epochs = self.epochs();
        let count = u32::try_from(epochs.0.len()).expect("at most 1024 epochs");
        bytes.extend_from_slice(&self.ids.id);
        bytes.extend_from_slice(&count.to_le_bytes());
        for (number, key) in &epochs.0 {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(key);
        }
    }

    pub(super) fn take_from(fields: &mut Fields<'_>) -> Option<Self> {
        let id_key = fields.array()?;
        let count = fields.u32().map(|count| count as usize).filter(|n| (1..=EPOCHS_MAX).contains(n))?;
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            epochs.push((fields.u32()?, fields.array()?));
        }
        let ascending = epochs.is_sorted_by(|a, b| a.0 < b.0);
        ascending.then(|| Self::from_parts(id_key, epochs))
    }
}

impl Epochs {
    fn last(&self) -> &(u32, [u8; 32]) {
        self.0.last().expect("a keyring has an epoch")
    }
}

impl Clone for Keyring {
    fn clone(&self) -> Self {
        Self { ids: self.ids.clone(), epochs: RwLock::new(self.epochs().clone()) }
    }
}

impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        self.ids == other.ids && *self.epochs() == *other.epochs()
    }
}
