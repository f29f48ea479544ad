//! The way back: a disk of a point as a [`BlockSource`].

use crate::copies::is_missed;
use crate::fetch::{self, FETCHES_MAX};
use crate::index::Location;
use crate::map::{self, Child, DiskMap, SLOTS};
use crate::seal::ObjectKey;
use crate::vault::{Vault, check_length};
use crate::{CHUNK_BYTES, ChunkId, Error, ErrorKind, Result, chunk, pack, work};
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, check_range, coalesce};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use moka::future::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of blocks kept inflated, unless somebody who serves the disk wants more.
const KEPT_BYTES: u64 = 64 << 20;
/// What a kept block costs beside its bytes.
const KEPT_OVERHEAD_BYTES: usize = 128;
/// Reads shorter than this, as a guest makes, go through the blocks that are kept: they are likely to be asked for
/// again. Longer ones are a copy's, which asks for nothing twice.
const SMALL_READ_BYTES: usize = 256 << 10;

/// One disk of a point, read-only.
pub struct PointDisk {
    vault: Arc<Vault>,
    map: DiskMap,
    /// By their number; an empty one is zeros.
    blocks: Cache<u64, Arc<Vec<u8>>>,
    opened_bytes: AtomicU64,
}

/// A chunk to be read: which, where, how long, and which block it fills.
#[derive(Clone, Copy)]
struct Wanted {
    block: u64,
    child: Child,
    plain_bytes: usize,
}

/// Chunks of one pack that one request fetches.
type Fetch = fetch::Fetch<Wanted>;

/// What a request brought.
struct Fetched {
    fetch: Fetch,
    key: Arc<ObjectKey>,
    sealed: Vec<u8>,
}

/// Chunks that are damaged where they should lie, or whose pack is gone.
type Failed = Vec<(Wanted, Error)>;

impl PointDisk {
    /// Opens a disk. Nothing is read yet.
    pub fn new(vault: Arc<Vault>, map: DiskMap) -> Self {
        Self { vault, map, blocks: kept(KEPT_BYTES), opened_bytes: AtomicU64::new(0) }
    }

    /// Keeps so many bytes inflated: for disks that are served, whose readers come again to what they read.
    pub fn keeping(self, bytes: u64) -> Self {
        Self { blocks: kept(bytes), ..self }
    }

    /// Bytes of chunks that were fetched and opened so far.
    pub fn opened_bytes(&self) -> u64 {
        self.opened_bytes.load(Ordering::Relaxed)
    }

    /// Gets a range to hand, for reads that are expected soon.
    pub async fn prefetch(&self, offset: u64, length: u64) -> block::Result<()> {
        check_range(self.map.size, offset, length)?;
        let blocks = stream::iter(blocks_of(offset, length)).map(|block| self.block(block));
        Ok(blocks.buffer_unordered(FETCHES_MAX).try_for_each(|_| async { Ok(()) }).await?)
    }

    /// The chunks that stand in a range of blocks, in order; what is missing is zero.
    async fn wanted(&self, first: u64, end: u64) -> Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        for (start, leaf) in map::leaves(&self.vault, &self.map, first..end).await? {
            let blocks = (start..).zip(&leaf.slots).take(SLOTS);
            for (block, child) in blocks.filter(|(block, _)| (first..end).contains(block)) {
                let Some(child) = *child else { continue };
                if block >= map::block_count(self.map.size) {
                    let found = "a map has chunks beyond the end of its disk";
                    return Err(Error::corrupt(child.at.pack, child.at.offset.into(), found));
                }
                check_length(child.at)?;
                let child = Child { at: self.vault.place_of(&child).await?, ..child };
                wanted.push(Wanted { block, child, plain_bytes: map::block_bytes(self.map.size, block) });
            }
        }
        Ok(wanted)
    }

    /// Fetches chunks and opens them into `buffer`, which stands at `offset`; the rest of it becomes zero.
    async fn fill(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let blocks = blocks_of(offset, buffer.len() as u64);
        let wanted = self.wanted(blocks.start, blocks.end).await?;
        if wanted.is_empty() {
            buffer.fill(0);
            return Ok(buffer);
        }
        self.open(wanted, offset, buffer).await
    }

    async fn open(&self, wanted: Vec<Wanted>, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        let opened: usize = wanted.iter().map(|one| one.plain_bytes).sum();
        self.opened_bytes.fetch_add(opened as u64, Ordering::Relaxed);
        let fetches = stream::iter(fetch::plan(wanted, |one| one.child.at)).map(|fetch| self.fetch(fetch));
        let mut fetches = fetches.buffered(FETCHES_MAX);
        let (mut fetched, mut failed): (Vec<Fetched>, Failed) = Default::default();
        while let Some(done) = fetches.next().await {
            match done? {
                Ok(one) => fetched.push(one),
                Err(missed) => failed.extend(missed),
            }
        }
        let vault = Arc::clone(&self.vault);
        let work = work::run(move || {
            let (mut end, mut buffer) = (offset, buffer);
            for mut fetched in fetched {
                fetched.open_into(&vault, offset, &mut buffer, (&mut end, &mut failed))?;
            }
            buffer[(end - offset) as usize..].fill(0);
            Result::Ok((buffer, failed))
        });
        let (mut buffer, failed) = work.await?;
        for (Wanted { block, child, plain_bytes }, fault) in failed {
            let decode = |at: Location, encoded: &[u8]| {
                let mut plain = vec![0; plain_bytes];
                inflate(&self.vault, child.id, at, encoded, &mut plain).map(|()| plain)
            };
            let plain = self.vault.open_elsewhere(&child, fault, decode).await?;
            copy_overlap(block * CHUNK_BYTES as u64, &plain, offset, &mut buffer);
        }
        Ok(buffer)
    }

    /// What one request brings; or, if what it asks for is damaged or gone, what to look for elsewhere.
    async fn fetch(&self, fetch: Fetch) -> Result<std::result::Result<Fetched, Failed>> {
        let read = async {
            let sealed = self.vault.read_sealed(fetch.pack, fetch.start(), fetch.length()).await?;
            Result::Ok((self.vault.pack_key(fetch.pack).await?, sealed))
        };
        match read.await {
            Ok((key, sealed)) => Ok(Ok(Fetched { key, sealed, fetch })),
            Err(error) if is_missed(&error) => {
                let fault = |_: &Wanted| Error::new(ErrorKind::Corrupt, error.to_string());
                Ok(Err(fetch.wanted.iter().map(|one| (*one, fault(one))).collect()))
            }
            Err(error) => Err(error),
        }
    }

    /// A read whose blocks are likely to be asked for again.
    async fn fill_small(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let mut missing = Vec::new();
        for block in blocks_of(offset, buffer.len() as u64) {
            match self.blocks.get(&block).await {
                Some(plain) => place(block, &plain, offset, &mut buffer),
                None => missing.push(block),
            }
        }
        if missing.is_empty() {
            return Ok(buffer);
        }
        let load = |block| async move { self.block(block).await.map(|plain| (block, plain)) };
        let mut loading = stream::iter(missing).map(load).buffer_unordered(FETCHES_MAX);
        while let Some((block, plain)) = loading.try_next().await? {
            place(block, &plain, offset, &mut buffer);
        }
        drop(loading);
        Ok(buffer)
    }

    /// One block, which is kept; several who ask for it at once share one fetch.
    async fn block(&self, block: u64) -> Result<Arc<Vec<u8>>> {
        let load = async {
            let wanted = self.wanted(block, block + 1).await?;
            if wanted.is_empty() {
                return Ok(Arc::default());
            }
            let buffer = vec![0; map::block_bytes(self.map.size, block)];
            self.open(wanted, block * CHUNK_BYTES as u64, buffer).await.map(Arc::new)
        };
        let plain = Box::pin(self.blocks.try_get_with(block, load)).await;
        plain.map_err(|error: Arc<Error>| Error::caused(error.kind(), error.to_string(), error))
    }
}

fn kept(bytes: u64) -> Cache<u64, Arc<Vec<u8>>> {
    let weight = |plain: &Arc<Vec<u8>>| (plain.len() + KEPT_OVERHEAD_BYTES) as u32;
    Cache::builder().weigher(move |_, plain| weight(plain)).max_capacity(bytes).build()
}

impl Fetched {
    /// Opens every chunk into its place; `end` is where `buffer` is filled up to. Chunks that are damaged are
    /// noted, and their places left as zeros.
    fn open_into(
        &mut self,
        vault: &Vault,
        offset: u64,
        buffer: &mut [u8],
        (end, failed): (&mut u64, &mut Failed),
    ) -> Result<()> {
        for index in 0..self.fetch.wanted.len() {
            let wanted = self.fetch.wanted[index];
            let start = wanted.block * CHUNK_BYTES as u64;
            let stop = (start + wanted.plain_bytes as u64).min(offset + buffer.len() as u64);
            if start > *end {
                buffer[(*end - offset) as usize..(start - offset) as usize].fill(0);
            }
            match self.open_one(vault, index, offset, buffer) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    buffer[(start.max(offset) - offset) as usize..(stop - offset) as usize].fill(0);
                    failed.push((wanted, error));
                }
                other => other?,
            }
            *end = stop;
        }
        Ok(())
    }

    fn open_one(&mut self, vault: &Vault, index: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let Wanted { block, child: Child { id, at }, plain_bytes } = self.fetch.wanted[index];
        let start = block * CHUNK_BYTES as u64;
        let stop = start + plain_bytes as u64;
        let place = self.fetch.within(at);
        // Opening is in place, and the same chunk may stand at several blocks: open a copy of it then.
        let again = self.fetch.wanted[index + 1..].iter().any(|later| later.child.at == at);
        let mut copy = if again { self.sealed[place.clone()].to_vec() } else { Vec::new() };
        let sealed = if again { &mut copy[..] } else { &mut self.sealed[place] };
        let encoded = pack::open_chunk(&self.key, id, at, sealed)?;
        if start >= offset && stop <= offset + buffer.len() as u64 {
            let place = &mut buffer[(start - offset) as usize..(stop - offset) as usize];
            inflate(vault, id, at, encoded, place)
        } else {
            let mut plain = vec![0; plain_bytes];
            inflate(vault, id, at, encoded, &mut plain)?;
            copy_overlap(start, &plain, offset, buffer);
            Ok(())
        }
    }
}

/// The blocks that a range touches.
fn blocks_of(offset: u64, length: u64) -> std::ops::Range<u64> {
    offset / CHUNK_BYTES as u64..(offset + length).div_ceil(CHUNK_BYTES as u64)
}

/// Inflates a chunk and proves that it is the one asked for.
fn inflate(vault: &Vault, id: ChunkId, at: Location, encoded: &[u8], plain: &mut [u8]) -> Result<()> {
    let corrupt = |found: &str| Error::corrupt(at.pack, at.offset.into(), format!("chunk {id}: {found}"));
    chunk::decode_into(encoded, plain).map_err(corrupt)?;
    if chunk::chunk_id(vault.keys(), plain) != id {
        return Err(corrupt("its bytes are other than its id says"));
    }
    Ok(())
}

/// Puts the part of a kept block that lies in the buffer there.
fn place(block: u64, plain: &[u8], offset: u64, buffer: &mut [u8]) {
    let start = block * CHUNK_BYTES as u64;
    if !plain.is_empty() {
        return copy_overlap(start, plain, offset, buffer);
    }
    let stop = (start + CHUNK_BYTES as u64).min(offset + buffer.len() as u64);
    buffer[(start.max(offset) - offset) as usize..(stop - offset) as usize].fill(0);
}

/// Copies the part of a block's bytes, which begins at `start`, that lies in the buffer.
fn copy_overlap(start: u64, plain: &[u8], offset: u64, buffer: &mut [u8]) {
    let from = start.max(offset);
    let end = (start + plain.len() as u64).min(offset + buffer.len() as u64);
    if from < end {
        let length = (end - from) as usize;
        let (source, target) = ((from - start) as usize, (from - offset) as usize);
        buffer[target..target + length].copy_from_slice(&plain[source..source + length]);
    }
}

#[async_trait]
impl BlockSource for PointDisk {
    fn size(&self) -> u64 {
        self.map.size
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        check_range(self.map.size, offset, length)?;
        let end = offset + length;
        let chunk_bytes = CHUNK_BYTES as u64;
        let blocks = blocks_of(offset, length);
        let wanted = self.wanted(blocks.start, blocks.end).await?;
        let mut extents = Vec::new();
        let mut at = offset;
        for one in wanted {
            let start = (one.block * chunk_bytes).max(offset);
            let stop = (one.block * chunk_bytes + one.plain_bytes as u64).min(end);
            if start > at {
                extents.push(Extent::new(at, start - at, ExtentKind::Zero));
            }
            extents.push(Extent::new(start, stop - start, ExtentKind::Data));
            at = stop;
        }
        if at < end {
            extents.push(Extent::new(at, end - at, ExtentKind::Zero));
        }
        Ok(coalesce(extents))
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        check_range(self.map.size, offset, buffer.len() as u64)?;
        let small = buffer.len() < SMALL_READ_BYTES;
        let filled =
            if small { self.fill_small(offset, buffer).await } else { self.fill(offset, buffer).await };
        Ok(filled?)
    }
}
