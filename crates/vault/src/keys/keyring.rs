//! The vault's data keys.
//!
//! | bytes | field |
//! |---|---|
//! | 0..32 | id key: chunk and node ids are keyed with keys derived from it |
//! | 32..36 | number of epochs, 1 to 1024 |
//! | then, each 36 | epoch number, ascending; its key |

use super::lock::random;
use crate::bytes_io::Fields;
use zeroize::{Zeroize, ZeroizeOnDrop};

const CHUNK_CONTEXT: &str = "strongroom vault v1 chunk id key";
const NODE_CONTEXT: &str = "strongroom vault v1 map node id key";
/// A rotation a week for twenty years; bounds what a damaged count makes a reader allocate.
pub(super) const EPOCHS_MAX: usize = 1024;

/// The vault's data keys.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Keyring {
    id_key: [u8; 32],
    chunk_id_key: [u8; 32],
    node_id_key: [u8; 32],
    /// Ascending; the last one seals.
    epochs: Vec<(u32, [u8; 32])>,
}

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
        if self.epochs.len() >= EPOCHS_MAX || number <= self.current_epoch().0 {
            return None;
        }
        // With its final capacity at once: growing would leave copies of the keys behind.
        let mut epochs = Vec::with_capacity(self.epochs.len() + 1);
        epochs.extend_from_slice(&self.epochs);
        epochs.push((number, random()));
        Some(Self::from_parts(self.id_key, epochs))
    }

    fn from_parts(id_key: [u8; 32], epochs: Vec<(u32, [u8; 32])>) -> Self {
        Self {
            chunk_id_key: blake3::derive_key(CHUNK_CONTEXT, &id_key),
            node_id_key: blake3::derive_key(NODE_CONTEXT, &id_key),
            id_key,
            epochs,
        }
    }

    pub(crate) fn chunk_id_key(&self) -> &[u8; 32] {
        &self.chunk_id_key
    }

    pub(crate) fn node_id_key(&self) -> &[u8; 32] {
        &self.node_id_key
    }

    /// The epoch that new objects are sealed under.
    pub(crate) fn current_epoch(&self) -> (u32, &[u8; 32]) {
        let (number, key) = self.epochs.last().expect("a keyring has an epoch");
        (*number, key)
    }

    pub(crate) fn epoch(&self, wanted: u32) -> Option<&[u8; 32]> {
        let at = self.epochs.binary_search_by_key(&wanted, |(number, _)| *number).ok()?;
        Some(&self.epochs[at].1)
    }

    /// Bytes that [`Self::put_into`] appends.
    pub(super) fn encoded_bytes(&self) -> usize {
        32 + 4 + 36 * self.epochs.len()
    }

    pub(super) fn put_into(&self, bytes: &mut Vec<u8>) {
        let count = u32::try_from(self.epochs.len()).expect("at most 1024 epochs");
        bytes.extend_from_slice(&self.id_key);
        bytes.extend_from_slice(&count.to_le_bytes());
        for (number, key) in &self.epochs {
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
