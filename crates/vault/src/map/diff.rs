//! What differs between two maps: subtrees of equal ids are never walked, so it costs what changed.
//!
//! The maps may lie in two stores that hold the same vault: the id of a node covers what its disk holds, not
//! where that lies.

use super::node::{Child, Node, SLOTS};
use super::{DiskMap, block_bytes, block_count, root_level, span};
use crate::vault::Vault;
use crate::{CHUNK_BYTES, Error, Result};
use std::ops::Range;

/// A run of blocks that differ.
pub(crate) enum Differing {
    /// They are zero in the new map.
    Zeros(Range<u64>),
    /// Blocks of one leaf, ascending, and the chunk that stands there in the new map.
    Blocks(Vec<(u64, Option<Child>)>),
}

/// A map and the vault to read it from.
pub(crate) type Side<'a> = (&'a Vault, &'a DiskMap);

/// Walks two maps at once, in order of blocks. Memory is two paths.
pub(crate) struct MapDiff<'a> {
    old: Side<'a>,
    new: Side<'a>,
    /// What is still to be compared, later blocks below earlier ones; at most 64 a level wait here.
    waiting: Vec<Pair>,
}

/// Two subtrees that span the same blocks.
struct Pair {
    /// Of the node that spans them.
    level: u8,
    first: u64,
    old: Option<Subtree>,
    new: Option<Subtree>,
}

/// A node of one map. Of a smaller disk the root is lower than its pair: it stands for nodes above it that
/// hold nothing else.
#[derive(Clone, Copy)]
struct Subtree {
    root: Child,
    level: u8,
}

impl<'a> MapDiff<'a> {
    /// Begins; nothing is read yet.
    pub(crate) fn new(old: Side<'a>, new: Side<'a>) -> Result<Self> {
        let root = |(_, map): Side<'_>| {
            let child = map.root.as_ref().map(Child::try_from).transpose()?;
            Result::Ok(child.map(|root| Subtree { root, level: root_level(map.size) }))
        };
        let level = root_level(old.1.size).max(root_level(new.1.size));
        let waiting = vec![Pair { level, first: 0, old: root(old)?, new: root(new)? }];
        Ok(Self { old, new, waiting })
    }

    /// The next run of blocks that differ.
    pub(crate) async fn next(&mut self) -> Result<Option<Differing>> {
        while let Some(pair) = self.waiting.pop() {
            if is_same(pair.old, pair.new) {
                continue;
            }
            let end = pair.first.saturating_add(span(pair.level).saturating_mul(SLOTS as u64));
            let end = end.min(block_count(self.new.1.size));
            if pair.new.is_none() {
                if pair.first < end {
                    return Ok(Some(Differing::Zeros(pair.first..end)));
                }
                continue;
            }
            let old = children(self.old.0, pair.old, pair.level).await?;
            let new = children(self.new.0, pair.new, pair.level).await?;
            if pair.level > 0 {
                self.descend(&pair, &old, &new);
                continue;
            }
            let blocks = differing(&pair, &old, &new, end)?;
            if !blocks.is_empty() {
                return Ok(Some(Differing::Blocks(blocks)));
            }
        }
        Ok(None)
    }

    fn descend(&mut self, pair: &Pair, old: &Children, new: &Children) {
        for slot in (0..SLOTS).rev() {
            let first = pair.first.saturating_add(slot as u64 * span(pair.level));
            let (old, new) = (old[slot], new[slot]);
            self.waiting.push(Pair { level: pair.level - 1, first, old, new });
        }
    }
}

type Children = [Option<Subtree>; SLOTS];

fn is_same(old: Option<Subtree>, new: Option<Subtree>) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => old.level == new.level && old.root.id == new.root.id,
        _ => false,
    }
}

/// What stands under a subtree that spans as much as a node at `level`. Under a leaf, chunks.
async fn children(vault: &Vault, subtree: Option<Subtree>, level: u8) -> Result<Children> {
    let mut children = [None; SLOTS];
    let Some(subtree) = subtree else { return Ok(children) };
    if subtree.level < level {
        children[0] = Some(subtree);
        return Ok(children);
    }
    let node: std::sync::Arc<Node> = vault.read_node(&subtree.root, level).await?;
    for (place, child) in children.iter_mut().zip(&node.slots) {
        *place = child.map(|root| Subtree { root, level: level.saturating_sub(1) });
    }
    Ok(children)
}

/// The blocks of a leaf whose chunks differ.
fn differing(pair: &Pair, old: &Children, new: &Children, end: u64) -> Result<Vec<(u64, Option<Child>)>> {
    let mut blocks = Vec::new();
    for ((block, old), new) in (pair.first..).zip(old).zip(new) {
        if is_same(*old, *new) {
            continue;
        }
        match new {
            Some(child) if block >= end => {
                let found = "a map has chunks beyond the end of its disk";
                return Err(Error::corrupt(child.root.at.pack, child.root.at.offset.into(), found));
            }
            None if block >= end => {}
            new => blocks.push((block, new.map(|child| child.root))),
        }
    }
    Ok(blocks)
}

impl Vault {
    /// The ranges of bytes in which `new` differs from `old`, by whole blocks: a superset of the changed bytes.
    /// Bytes beyond the end of an `old` that was smaller count as zero there.
    ///
    /// It reads maps only, and of those only what differs.
    pub async fn changed_ranges(&self, old: &DiskMap, new: &DiskMap) -> Result<Vec<Range<u64>>> {
        let mut diff = MapDiff::new((self, old), (self, new))?;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut add = |blocks: Range<u64>| {
            let last = blocks.end - 1;
            let start = blocks.start * CHUNK_BYTES as u64;
            let end = last * CHUNK_BYTES as u64 + block_bytes(new.size, last) as u64;
            match ranges.last_mut() {
                Some(before) if before.end == start => before.end = end,
                _ => ranges.push(start..end),
            }
        };
        while let Some(differing) = diff.next().await? {
            match differing {
                Differing::Zeros(blocks) => add(blocks),
                Differing::Blocks(blocks) => blocks.iter().for_each(|(block, _)| add(*block..block + 1)),
            }
        }
        Ok(ranges)
    }
}
