//! Works beside backup and restore.

use super::{back_up, now, open};
use anyhow::{Context, Result};
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, FileDisk};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use vault::{Base, CHUNK_BYTES, CollectOptions, MachineKey, Point, PointDisk, Vault};

const BLOCK: u64 = CHUNK_BYTES as u64;

pub(super) async fn verify(vault: &Path) -> Result<Value> {
    let done = open(vault).await?.verify(&|_| ()).await?;
    anyhow::ensure!(done.damage.is_empty(), "the vault is damaged: {:?}", done.damage);
    Ok(json!({ "bytes": done.bytes, "chunks": done.chunks }))
}

/// Serves all disks of the newest point.
pub(super) async fn serve(vault: &Path, socket: &Path) -> Result<Value> {
    let vault = open(vault).await?;
    let point = vault.points().await?.pop().context("there is a point")?;
    let _server = mover::serve(&vault, &point.disks, socket).await?;
    std::future::pending().await
}

/// From an address and a key to a block that holds data.
pub(super) async fn first_block(vault: &Path) -> Result<Value> {
    let begun = Instant::now();
    let vault = open(vault).await?;
    let point = vault.points().await?.pop().context("there is a point")?;
    let disk = PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone());
    // Where ext4 keeps what is read first: a superblock.
    let block = disk.read(0, vec![0; 4096]).await?;
    anyhow::ensure!(block.iter().any(|byte| *byte != 0), "the first block holds data");
    Ok(json!({ "work_seconds": begun.elapsed().as_secs_f64() }))
}

/// A first point of the whole image, then one with 1,000 changed blocks after the other; every other one is
/// deleted.
pub(super) async fn age(vault: &Path, image: &Path, points: u64) -> Result<Value> {
    let vault = open(vault).await?;
    let machine = MachineKey::new("ageing")?;
    let disk = FileDisk::open(image)?;
    let mut last = back_up(&vault, &machine, &disk, None).await?;
    let mut all = vec![last.id];
    for day in 1..points {
        let source = OneDay { size: BlockSource::size(&disk), day };
        let old = Base { point: last.id, map: &last.disks[0].map };
        last = back_up(&vault, &machine, &source, Some(old)).await?;
        all.push(last.id);
    }
    for point in all.iter().step_by(2) {
        vault.delete_point(*point, now()).await?;
    }
    Ok(json!({ "points": points }))
}

pub(super) async fn collect(vault: &Path) -> Result<Value> {
    let zero = SignedDuration::ZERO;
    let options =
        CollectOptions { soft_delete: zero, grace: zero, share_max: 1.0, ..CollectOptions::new(now()) };
    let done = open(vault).await?.collect(&options).await?;
    Ok(json!({ "deleted": done.deleted, "freed": done.freed_bytes, "moved": done.moved_bytes }))
}

/// So many movers at once, spread over the vaults, each a machine whose disk is the image under another key.
pub(super) async fn movers(vaults: &[PathBuf], image: &Path, movers: u64) -> Result<Value> {
    let mut opened = Vec::new();
    for vault in vaults {
        opened.push(open(vault).await?);
    }
    let mut work = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for number in 0..movers {
        let vault: Arc<Vault> = Arc::clone(&opened[number as usize % opened.len()]);
        let source = Keyed { disk: FileDisk::open(image)?, key: number as u8 + 1 };
        work.spawn(async move {
            back_up(&vault, &MachineKey::new(format!("mover-{number}"))?, &source, None).await
        });
    }
    while let Some(done) = work.join_next().await {
        done.context("a mover panicked")??;
    }
    Ok(json!({ "work_seconds": begun.elapsed().as_secs_f64() }))
}

/// A disk of this many GiB, all of it zero but a block at its middle; then another block there.
pub(super) async fn sparse(vault: &Path, gib: u64) -> Result<Value> {
    let vault = open(vault).await?;
    let machine = MachineKey::new(format!("sparse-{gib}"))?;
    let size = gib << 30;
    let first = back_up(&vault, &machine, &Lone { size, byte: 1, known: false }, None).await?;
    let begun = Instant::now();
    let old = Base { point: first.id, map: &first.disks[0].map };
    let second: Point = back_up(&vault, &machine, &Lone { size, byte: 2, known: true }, Some(old)).await?;
    Ok(json!({ "work_seconds": begun.elapsed().as_secs_f64(), "stored": second.stats.stored_bytes }))
}

/// What a day changes: 1,000 blocks, spread over the disk.
struct OneDay {
    size: u64,
    day: u64,
}

#[async_trait]
impl BlockSource for OneDay {
    fn size(&self) -> u64 {
        self.size
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        let step = self.size / 1000 / BLOCK * BLOCK;
        let (mut at, end, mut extents) = (offset, offset + length, Vec::new());
        let mut start = offset.div_ceil(step) * step;
        while start < end {
            if start > at {
                extents.push(Extent::new(at, start - at, ExtentKind::Unchanged));
            }
            let stop = (start + BLOCK).min(end);
            extents.push(Extent::new(start, stop - start, ExtentKind::Data));
            (at, start) = (stop, start + step);
        }
        if at < end {
            extents.push(Extent::new(at, end - at, ExtentKind::Unchanged));
        }
        Ok(extents)
    }

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        let seed = (offset ^ self.day.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes();
        buffer.chunks_mut(32).for_each(|part| part.fill(seed[part.len() % 8]));
        let length = buffer.len().min(8);
        buffer[..length].copy_from_slice(&seed[..length]);
        Ok(buffer)
    }
}

/// An image with every byte changed by a key, so that movers share no chunk.
struct Keyed {
    disk: FileDisk,
    key: u8,
}

#[async_trait]
impl BlockSource for Keyed {
    fn size(&self) -> u64 {
        BlockSource::size(&self.disk)
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        self.disk.extents(offset, length).await
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        let mut buffer = self.disk.read(offset, buffer).await?;
        buffer.iter_mut().for_each(|byte| *byte ^= self.key);
        Ok(buffer)
    }
}

/// One block in the middle of nothing.
struct Lone {
    size: u64,
    byte: u8,
    /// Whether it is known that nothing else changed.
    known: bool,
}

#[async_trait]
impl BlockSource for Lone {
    fn size(&self) -> u64 {
        self.size
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        let other = if self.known { ExtentKind::Unchanged } else { ExtentKind::Zero };
        let (end, middle) = (offset + length, self.size / 2);
        let parts = [
            (offset, middle.clamp(offset, end), other),
            (middle.clamp(offset, end), (middle + BLOCK).clamp(offset, end), ExtentKind::Data),
            ((middle + BLOCK).clamp(offset, end), end, other),
        ];
        let parts = parts.into_iter().filter(|(start, stop, _)| start < stop);
        Ok(parts.map(|(start, stop, kind)| Extent::new(start, stop - start, kind)).collect())
    }

    async fn read(&self, _: u64, mut buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        buffer.fill(self.byte);
        Ok(buffer)
    }
}
