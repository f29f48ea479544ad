//! Writes a disk's new map, in order of blocks, on top of an earlier one or of nothing.
//!
//! At any moment one path of nodes is open, from the root to the leaf being filled. Moving on closes the
//! nodes that are left behind: each is stored (unless the vault has it) and takes its slot in the node
//! above. Memory is one path, whatever the disk.

use super::node::{Child, Node, SLOTS, node_id};
use super::{DiskMap, block_count, root_level, span};
use crate::session::{Session, StoredBatch};
use crate::{CHUNK_BYTES, Error, ErrorKind, Result};

/// The new map of one disk, in the making.
pub struct DiskWriter {
    size: u64,
    /// Blocks before this one are settled; what comes must come later.
    next: u64,
    /// Open nodes from the root (first) down; `path[i]` is at level `top - i`.
    path: Vec<OpenNode>,
    top: u8,
}

struct OpenNode {
    /// Which node of its level it is, counted from the start of the disk.
    number: u64,
    node: Node,
    /// The child of the old map it was opened from.
    old: Option<Child>,
    changed: bool,
}

impl DiskWriter {
    /// Begins the map of a disk of `size` bytes. With `parent`, blocks that are not recorded stay as they
    /// are there (beyond the end of a parent that was smaller: zero); without, they are zero.
    ///
    /// # Errors
    /// `Invalid` if the parent does not fit beneath: a disk that shrank, or that grew past a last block
    /// that was short, is read anew, without a parent.
    pub(crate) async fn begin(session: &Session, size: u64, parent: Option<&DiskMap>) -> Result<Self> {
        let top = root_level(size);
        let mut root = OpenNode { number: 0, node: Node::empty(top), old: None, changed: false };
        if let Some(map) = parent {
            if !map.fits_beneath(size) {
                let context =
                    format!("the disk went from {} to {size} bytes: it must be read in full", map.size);
                return Err(Error::new(ErrorKind::Invalid, context));
            }
            root.adopt(session, map, top).await?;
        }
        Ok(Self { size, next: 0, path: vec![root], top })
    }

    /// Takes a batch of stored chunks. Batches come in order of their offsets and do not overlap.
    pub async fn record(&mut self, session: &Session, batch: &StoredBatch) -> Result<()> {
        for (block, child) in (self.block_at(batch.offset)..).zip(&batch.chunks) {
            self.set(session, block, *child, 0).await?;
            self.next = block + 1;
        }
        Ok(())
    }

    /// Makes a range of whole blocks zero. Takes steps in the logarithm of its length.
    pub async fn record_zeros(&mut self, session: &Session, offset: u64, length: u64) -> Result<()> {
        let mut block = self.block_at(offset);
        let end = block_count(offset + length);
        while block < end {
            // The largest subtree that begins here and lies within the range.
            let fits = |level: &u8| block.is_multiple_of(span(*level)) && block + span(*level) <= end;
            let level = (0..=self.top).rev().find(fits).expect("level 0 always fits");
            self.set(session, block, None, level).await?;
            block += span(level);
        }
        self.next = end;
        Ok(())
    }

    /// Stores what is still open; gives the map.
    pub async fn finish(mut self, session: &Session) -> Result<DiskMap> {
        self.close_below(session, 0).await?;
        let root = self.path.pop().expect("the root is always open");
        let root = root.close(session).await?.map(Into::into);
        Ok(DiskMap { size: self.size, root })
    }

    fn block_at(&self, offset: u64) -> u64 {
        let block = offset / CHUNK_BYTES as u64;
        assert!(offset.is_multiple_of(CHUNK_BYTES as u64), "batches begin on a block");
        assert!(block >= self.next, "batches come in order");
        block
    }

    /// Puts `child` into the slot at `level` that holds `block`.
    async fn set(&mut self, session: &Session, block: u64, child: Option<Child>, level: u8) -> Result<()> {
        assert!(block < block_count(self.size), "no block lies beyond the disk");
        self.open(session, block, level).await?;
        let open = self.path.last_mut().expect("just opened");
        let slot = slot_of(block, level);
        if open.node.slots[slot].map(|old| old.id) != child.map(|new| new.id) {
            open.node.slots[slot] = child;
            open.changed = true;
        }
        Ok(())
    }

    /// Makes the node at `level` that spans `block` the last of the open path.
    async fn open(&mut self, session: &Session, block: u64, level: u8) -> Result<()> {
        let number = |level: u8| block / span(level).saturating_mul(SLOTS as u64);
        let depth = usize::from(self.top - level);
        let shared = (0..self.path.len().min(depth + 1))
            .take_while(|&i| self.path[i].number == number(self.top - i as u8))
            .count();
        self.close_below(session, shared - 1).await?;
        while self.path.len() <= depth {
            let parent = self.path.last().expect("the root is always open");
            let below = parent.node.level - 1;
            let old = parent.node.slots[slot_of(block, parent.node.level)];
            let node = match &old {
                Some(child) => session.read_base_node(child, below).await?.as_ref().clone(),
                None => Node::empty(below),
            };
            self.path.push(OpenNode { number: number(below), node, old, changed: false });
        }
        Ok(())
    }

    /// Closes open nodes until `depth` is the last one.
    async fn close_below(&mut self, session: &Session, depth: usize) -> Result<()> {
        while self.path.len() > depth + 1 {
            let open = self.path.pop().expect("longer than depth");
            let slot = (open.number % SLOTS as u64) as usize;
            let closed = open.close(session).await?;
            let parent = self.path.last_mut().expect("the root is never popped here");
            if parent.node.slots[slot].map(|old| old.id) != closed.map(|new| new.id) {
                parent.node.slots[slot] = closed;
                parent.changed = true;
            }
        }
        Ok(())
    }
}

impl OpenNode {
    /// Takes over the old map. If the disk has grown past its root's span, the old root becomes the
    /// first child of new nodes above it.
    async fn adopt(&mut self, session: &Session, map: &DiskMap, top: u8) -> Result<()> {
        let Some(mut child) = map.root.as_ref().map(Child::try_from).transpose()? else { return Ok(()) };
        for level in root_level(map.size) + 1..=top {
            let mut node = Node::empty(level);
            node.slots[0] = Some(child);
            if level == top {
                (self.node, self.changed) = (node, true);
                return Ok(());
            }
            child = session.put_node(&node).await?;
            // It may lie in a pack that is not in the store yet.
            session.vault().keep_node(child, node).await;
        }
        self.node = session.read_base_node(&child, top).await?.as_ref().clone();
        self.old = Some(child);
        Ok(())
    }

    /// Stores the node if it changed; gives what stands for it in the node above.
    async fn close(self, session: &Session) -> Result<Option<Child>> {
        if !self.changed {
            return Ok(self.old);
        }
        if self.node.is_empty() {
            return Ok(None);
        }
        let child = session.put_node(&self.node).await?;
        // Written again with what it held: the node that is there already serves.
        Ok(Some(self.old.filter(|old| old.id == child.id).unwrap_or(child)))
    }
}

fn slot_of(block: u64, level: u8) -> usize {
    (block / span(level) % SLOTS as u64) as usize
}

impl Session {
    /// Stores a node unless the vault has it.
    ///
    /// INVARIANT: whatever a committed map reaches was written by this session, is named among the packs it
    /// uses, or lies beneath a base. A known node serves only if its hints are the very places that this
    /// session has settled on: another copy of equal content may lead to packs that are being deleted.
    pub(crate) async fn put_node(&self, node: &Node) -> Result<Child> {
        let (bytes, covered) = node.encode();
        let id = node_id(self.vault().keys(), &bytes[..covered]);
        if let Some(at) = self.known(&id) {
            let known = Child { id, at };
            // What this session wrote itself leads nowhere it has not been; and it may not be in the store yet.
            if at.pack.session == self.id() {
                return Ok(known);
            }
            match self.vault().read_node(&known, node.level).await {
                Ok(there) if *there == *node => return Ok(known),
                // Another place, or collected or damaged since: it is written anew.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Child { id, at: self.put_map_chunk(id, &bytes).await? })
    }
}
