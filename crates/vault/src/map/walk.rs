//! Walks a map: the leaves of a range, in order, skipping what is zero.

use super::node::{Child, Node, SLOTS};
use super::{DiskMap, block_count, root_level, span};
use crate::Result;
use crate::vault::Vault;
use std::ops::Range;
use std::sync::Arc;

/// The leaves that span `blocks` and are not wholly zero: the first block of each, and the leaf.
pub(crate) async fn leaves(
    vault: &Vault,
    map: &DiskMap,
    blocks: Range<u64>,
) -> Result<Vec<(u64, Arc<Node>)>> {
    let blocks = blocks.start..blocks.end.min(block_count(map.size));
    let mut leaves = Vec::new();
    // Depth first, later children below earlier ones; at most 64 a level wait here.
    let mut waiting: Vec<(Child, u8, u64)> = Vec::new();
    if let Some(root) = &map.root {
        waiting.push((Child::try_from(root)?, root_level(map.size), 0));
    }
    while let Some((child, level, first)) = waiting.pop() {
        let node = vault.read_node(&child, level).await?;
        if level == 0 {
            leaves.push((first, node));
            continue;
        }
        for slot in (0..SLOTS).rev() {
            let start = first.saturating_add(slot as u64 * span(level));
            if let Some(child) = node.slots[slot]
                && start < blocks.end
                && start.saturating_add(span(level)) > blocks.start
            {
                waiting.push((child, level - 1, start));
            }
        }
    }
    Ok(leaves)
}
