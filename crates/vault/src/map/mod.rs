//! Block maps: which chunk stands at which block of a disk, as a persistent Merkle tree.
//!
//! Every node has 64 slots. A slot of a leaf (level 0) is one block of 64 KiB, a slot of a node at level
//! n is a subtree of 64^n blocks; an empty slot reads as zeros, however much it spans. The id of a node
//! covers its level and the ids beneath, not where they lie: equal ids, equal content, across points,
//! disks and machines. Changing a block writes the nodes on its path anew; all else is shared.

mod diff;
mod node;
mod sample;
mod walk;
mod writer;

pub(crate) use diff::{Differing, MapDiff};
#[cfg(test)]
pub(crate) use node::node_id;
pub(crate) use node::{Child, NODE_BYTES_MAX, NODE_SEALED_BYTES_MIN, Node, SLOTS};
pub use sample::BlockSample;
pub(crate) use walk::leaves;
pub use writer::DiskWriter;

use crate::CHUNK_BYTES;
use crate::point::ChildRecord;
use serde::{Deserialize, Serialize};

/// A disk as a point holds it: its size and the root of its map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskMap {
    /// Bytes.
    pub size: u64,
    /// The root node; `None` if every block is zero.
    pub(crate) root: Option<ChildRecord>,
}

impl DiskMap {
    /// Whether a disk of `size` bytes can be recorded as changes on top of this one.
    pub fn fits_beneath(&self, size: u64) -> bool {
        self.size == size || (self.size < size && self.size.is_multiple_of(CHUNK_BYTES as u64))
    }

    /// Two maps of one vault with equal roots and sizes hold equal bytes.
    pub fn same_content(&self, other: &Self) -> bool {
        let id = |map: &Self| map.root.as_ref().map(|root| root.id.clone());
        self.size == other.size && id(self) == id(other)
    }
}

/// Blocks of a disk of `size` bytes; the last one may be short.
pub(crate) fn block_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES as u64)
}

/// The level of the root for a disk of `size` bytes: the lowest one whose node spans all blocks.
pub(crate) fn root_level(size: u64) -> u8 {
    (0..).find(|&level| span(level + 1) >= block_count(size)).expect("64^11 exceeds 2^64")
}

/// Blocks under one slot of a node at `level`.
pub(crate) fn span(level: u8) -> u64 {
    1u64.checked_shl(6 * u32::from(level)).unwrap_or(u64::MAX)
}

/// Bytes of the block numbered `block` on a disk of `size` bytes.
pub(crate) fn block_bytes(size: u64, block: u64) -> usize {
    let left = size - block * CHUNK_BYTES as u64;
    usize::try_from(left.min(CHUNK_BYTES as u64)).expect("at most 64 KiB")
}
