//! Picks blocks of a disk at random, to see whether they are still what a point says.

use super::walk::leaves;
use super::{Child, DiskMap, SLOTS, block_bytes, block_count, root_level, span};
use crate::vault::Vault;
use crate::{CHUNK_BYTES, ChunkId, Result, chunk};

/// Up to so many blocks are found one by one, each along one path of nodes. For more the leaves are listed.
const PATHS_MAX: usize = 256;

/// A block of a disk that holds data in a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSample {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub length: usize,
    id: ChunkId,
}

impl Vault {
    /// Up to `count` different blocks of `map` that hold data, by offset; fewer where there are fewer.
    ///
    /// At most `PATHS_MAX` are found by going down from the root at random, which reads the nodes on their
    /// paths and no more, however large the disk: a block in a sparse part is likelier than one in a full part.
    /// Of more, every block is as likely as the other.
    ///
    /// # Errors
    /// `Corrupt` when a node is damaged.
    pub async fn sample_blocks(
        &self,
        map: &DiskMap,
        count: usize,
        random: &mut (dyn FnMut() -> u64 + Send),
    ) -> Result<Vec<BlockSample>> {
        let sample = |(block, child): (u64, Child)| BlockSample {
            offset: block * CHUNK_BYTES as u64,
            length: block_bytes(map.size, block),
            id: child.id,
        };
        let mut found = Vec::new();
        if count > PATHS_MAX {
            for (first, leaf) in leaves(self, map, 0..block_count(map.size)).await? {
                let taken = (first..).zip(leaf.slots).filter_map(|(block, child)| Some((block, child?)));
                found.extend(taken);
            }
            for place in 0..count.min(found.len()) {
                let other = place + below(random, found.len() - place);
                found.swap(place, other);
            }
            found.truncate(count);
        } else {
            for _ in 0..count {
                found.extend(self.block_at_random(map, random).await?);
            }
        }
        found.retain(|(block, _)| *block < block_count(map.size));
        found.sort_by_key(|(block, _)| *block);
        found.dedup_by_key(|(block, _)| *block);
        Ok(found.into_iter().map(sample).collect())
    }

    /// The blocks of `map` that hold data and begin within `range`, in bytes, in order.
    ///
    /// # Errors
    /// `Corrupt` when a node is damaged.
    pub async fn blocks_with_data(
        &self,
        map: &DiskMap,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<BlockSample>> {
        let blocks = range.start.div_ceil(CHUNK_BYTES as u64)..range.end.div_ceil(CHUNK_BYTES as u64);
        let blocks = blocks.start..blocks.end.min(block_count(map.size));
        let mut found = Vec::new();
        for (first, leaf) in leaves(self, map, blocks.clone()).await? {
            let held = (first..).zip(&leaf.slots).filter(|(block, _)| blocks.contains(block));
            found.extend(held.filter_map(|(block, child)| {
                let id = child.as_ref()?.id;
                let (offset, length) = (block * CHUNK_BYTES as u64, block_bytes(map.size, block));
                Some(BlockSample { offset, length, id })
            }));
        }
        Ok(found)
    }

    /// Whether these bytes are what the point has there.
    pub fn is_same(&self, sample: &BlockSample, bytes: &[u8]) -> bool {
        bytes.len() == sample.length && chunk::chunk_id(self.keys(), bytes) == sample.id
    }

    async fn block_at_random(
        &self,
        map: &DiskMap,
        random: &mut (dyn FnMut() -> u64 + Send),
    ) -> Result<Option<(u64, Child)>> {
        let Some(root) = &map.root else { return Ok(None) };
        let (mut child, mut first) = (Child::try_from(root)?, 0u64);
        for level in (0..=root_level(map.size)).rev() {
            let node = self.read_node(&child, level).await?;
            let taken: Vec<usize> = (0..SLOTS).filter(|slot| node.slots[*slot].is_some()).collect();
            let Some(slot) = taken.get(below(random, taken.len().max(1))) else { return Ok(None) };
            first = first.saturating_add((*slot as u64).saturating_mul(span(level)));
            child = node.slots[*slot].expect("only taken slots are chosen from");
        }
        Ok(Some((first, child)))
    }
}

/// A number less than `end`. That some are likelier by 2⁻⁴⁰ does not matter here.
fn below(random: &mut (dyn FnMut() -> u64 + Send), end: usize) -> usize {
    (random() % end as u64) as usize
}
