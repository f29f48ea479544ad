//! Filters: 64 bytes that say of a chunk "certainly not here" or "perhaps".
//!
//! A blocked Bloom filter: an id belongs to one block of 512 bits and sets seven of them, so that asking is
//! one read of a cache line. Ids are keyed hashes: their own bytes serve as the hash functions. The first
//! eight are left out, since the runs of a group share their beginnings.

use crate::ChunkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 64;
/// Bits for each entry: one miss in 200 costs a read of entries in vain, at 1.5 bytes of disk an entry.
const BITS_PER_ENTRY: usize = 12;
/// Bits that an entry sets: the best for that many, nine bits of hash each.
const BITS_SET: usize = 7;

/// The number of blocks for so many entries.
pub(super) fn blocks_for(entries: usize) -> usize {
    (entries * BITS_PER_ENTRY).div_ceil(BLOCK_BYTES * 8)
}

/// The block that an id belongs to, of so many.
pub(super) fn block_of(id: &[u8], blocks: usize) -> usize {
    let hash = u64::from_le_bytes(id[8..16].try_into().expect("ids have 32 bytes"));
    ((u128::from(hash) * blocks as u128) >> 64) as usize
}

/// Whether the block that the id belongs to may know it.
pub(super) fn may_hold(block: &[u8; BLOCK_BYTES], id: &ChunkId) -> bool {
    bits_of(&id.0).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
}

/// Notes an id.
pub(super) fn insert(filter: &mut [u8], id: &[u8]) {
    let start = block_of(id, filter.len() / BLOCK_BYTES) * BLOCK_BYTES;
    bits_of(id).for_each(|bit| filter[start + bit / 8] |= 1 << (bit % 8));
}

fn bits_of(id: &[u8]) -> impl Iterator<Item = usize> {
    let hash = u64::from_le_bytes(id[16..24].try_into().expect("ids have 32 bytes"));
    (0..BITS_SET).map(move |bit| (hash >> (9 * bit)) as usize & (BLOCK_BYTES * 8 - 1))
}

/// The largest filter that is held in memory: of 262,144 entries. Groups have few larger runs to look through.
const HELD_BYTES: usize = 384 << 10;
/// The bytes of all filters that are held.
const HELD_BYTES_MAX: usize = 16 << 20;

/// How much of the memory for filters is taken.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Makes room for a filter of so many bytes, if it is worth it and there is any.
    pub(super) fn hold(&self, length: usize) -> Option<Held> {
        let fits = |taken: usize| {
            (length <= HELD_BYTES).then_some(taken + length).filter(|all| *all <= HELD_BYTES_MAX)
        };
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.ok().map(|_| Held { bytes: vec![0; length], budget: self.clone() })
    }
}

/// A filter in memory, or room for it.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    budget: Budget,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
