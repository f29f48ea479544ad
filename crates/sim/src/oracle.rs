//! What must be true: the disks as they were at every point, kept apart from the vault.

use crate::random::Random;
use block::BlockSource;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use vault::{CHUNK_BYTES, Point, PointDisk, PointId, Vault};

/// A disk as numbers: what stands in each block. 0 is zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SimDisk {
    pub(crate) blocks: Vec<u32>,
    /// Bytes of the last block.
    tail: usize,
}

impl SimDisk {
    /// A small disk, or a large one with little on it, so that maps have a level or two.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let end = if random.happens(300) { 200 } else { 20 };
        let count = 1 + random.below(end);
        let mut disk = Self {
            blocks: vec![0; count as usize],
            tail: *random.one(&[CHUNK_BYTES, CHUNK_BYTES, 8, 40_000]),
        };
        disk.change(random, 4 + count.min(20) / 2);
        disk
    }

    /// Writes to about so many blocks; gives which. Contents are few, so that disks share them.
    pub(crate) fn change(&mut self, random: &mut Random, writes: u64) -> Vec<u64> {
        let mut changed = Vec::new();
        for _ in 0..1 + random.below(writes) {
            let block = random.below(self.blocks.len() as u64);
            let run = if random.happens(200) { 1 + random.below(6) } else { 1 };
            for block in block..(block + run).min(self.blocks.len() as u64) {
                self.blocks[block as usize] = random.below(40) as u32;
                changed.push(block);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        ((self.blocks.len() - 1) * CHUNK_BYTES + self.tail) as u64
    }

    /// The bytes of a block; nothing where all is zero.
    pub(crate) fn block(&self, block: u64) -> Option<Vec<u8>> {
        let content = self.blocks[block as usize];
        let length = if block + 1 == self.blocks.len() as u64 { self.tail } else { CHUNK_BYTES };
        (content != 0).then(|| {
            let mut bytes = vec![0; length];
            let mark = u64::from(content).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            bytes[..8].copy_from_slice(&mark);
            bytes
        })
    }

    /// Reads the whole disk of a point and compares.
    ///
    /// # Errors
    /// The vault's own; inside, what is other than it was.
    pub(crate) async fn compare(&self, stored: &PointDisk) -> block::Result<Result<(), String>> {
        if stored.size() != self.size() {
            return Ok(Err(format!("{} bytes instead of {}", stored.size(), self.size())));
        }
        let mut data = Vec::new();
        for extent in stored.extents(0, self.size()).await? {
            if extent.kind == block::ExtentKind::Data {
                let end = (extent.offset + extent.length).div_ceil(CHUNK_BYTES as u64);
                data.extend(extent.offset / CHUNK_BYTES as u64..end);
            }
        }
        for block in 0..self.blocks.len() as u64 {
            let expected = self.block(block);
            if expected.is_some() != data.contains(&block) {
                return Ok(Err(format!("block {block}: data where zeros were, or the reverse")));
            }
            let Some(expected) = expected else { continue };
            let found = stored.read(block * CHUNK_BYTES as u64, vec![0; expected.len()]).await?;
            if found != expected {
                return Ok(Err(format!("block {block} has other bytes")));
            }
        }
        Ok(Ok(()))
    }
}

/// What is known of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// It was acknowledged, and nobody has asked to delete it.
    Live,
    /// The last answer was lost, or nobody lived to hear it.
    Unknown,
    /// That it was deleted was acknowledged.
    Deleted,
}

/// A point, and the disks it was made of.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) expect: Expect,
    pub(crate) disks: Vec<SimDisk>,
    /// As it was acknowledged.
    pub(crate) point: Option<Point>,
}

/// All points that anybody ever tried to make.
#[derive(Clone, Default)]
pub(crate) struct Oracle(Arc<Mutex<BTreeMap<PointId, Kept>>>);

impl Oracle {
    pub(crate) fn points(&self) -> MutexGuard<'_, BTreeMap<PointId, Kept>> {
        self.0.lock().expect("no holder panics")
    }

    pub(crate) fn expect(&self, id: PointId, expect: Expect) {
        self.points().get_mut(&id).expect("it was begun").expect = expect;
    }

    pub(crate) fn get(&self, id: PointId) -> Option<Kept> {
        self.points().get(&id).cloned()
    }

    /// Compares every disk of a point with what it was made of.
    pub(crate) async fn compare(
        &self,
        vault: &Arc<Vault>,
        point: &Point,
    ) -> block::Result<Result<(), String>> {
        let Some(kept) = self.get(point.id) else {
            return Ok(Err(format!("point {} was never begun", point.id)));
        };
        if kept.disks.len() != point.disks.len() {
            return Ok(Err(format!("point {} has {} disks", point.id, point.disks.len())));
        }
        for (disk, record) in kept.disks.iter().zip(&point.disks) {
            let stored = PointDisk::new(Arc::clone(vault), record.map.clone());
            if let Err(found) = disk.compare(&stored).await? {
                return Ok(Err(format!("point {}, {}: {found}", point.id, record.name)));
            }
        }
        Ok(Ok(()))
    }
}
