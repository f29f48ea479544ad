//! The way back: a disk of a point as a [`BlockSource`].

use crate::index::Location;
use crate::map::{self, Child, DiskMap, SLOTS};
use crate::vault::{Vault, check_length};
use crate::{CHUNK_BYTES, ChunkId, Error, PackId, Result, chunk, pack};
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, check_range, coalesce};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use moka::future::Cache;
use std::sync::Arc;

/// Chunks kept inflated for reads smaller than a chunk, as a booting guest makes: 64 MiB.
const CHUNKS_CACHED: u64 = 1024;
/// Chunks that lie this near one another in a pack are fetched by one request.
const GAP_BYTES_MAX: u32 = 32 << 10;
/// The most one request fetches.
const FETCH_BYTES_MAX: u32 = 4 << 20;
/// Requests under way for one read.
const FETCHES_MAX: usize = 4;

/// One disk of a point, read-only.
pub struct PointDisk {
    vault: Arc<Vault>,
    map: DiskMap,
    small: Cache<ChunkId, Arc<Vec<u8>>>,
}

/// A chunk to be read: which, where, how long, and which block it fills.
#[derive(Clone, Copy)]
struct Wanted {
    block: u64,
    child: Child,
    plain_bytes: usize,
}

/// Chunks of one pack that one request fetches.
struct Fetch {
    pack: PackId,
    start: u32,
    end: u32,
    wanted: Vec<Wanted>,
}

impl PointDisk {
    /// Opens a disk. Nothing is read yet.
    pub fn new(vault: Arc<Vault>, map: DiskMap) -> Self {
        Self { vault, map, small: Cache::new(CHUNKS_CACHED) }
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
                wanted.push(Wanted { block, child, plain_bytes: map::block_bytes(self.map.size, block) });
            }
        }
        Ok(wanted)
    }

    /// Fetches and opens chunks; each arrives with the block it belongs to.
    async fn chunks(&self, wanted: Vec<Wanted>) -> Result<Vec<(u64, Vec<u8>)>> {
        let fetched = stream::iter(plan(wanted)).map(|fetch| self.fetch(fetch)).buffered(FETCHES_MAX);
        Ok(fetched.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Vec<(u64, Vec<u8>)>> {
        let length = u64::from(fetch.end - fetch.start);
        let mut sealed = self.vault.read_sealed(fetch.pack, fetch.start.into(), length).await?;
        let key = self.vault.pack_key(fetch.pack).await?;
        let vault = Arc::clone(&self.vault);
        let work = tokio::task::spawn_blocking(move || {
            let open = |wanted: &Wanted| {
                let Child { id, at } = wanted.child;
                let from = (at.offset - fetch.start) as usize;
                // A chunk may be wanted twice by one read: opening is in place, so open a copy.
                let mut sealed = sealed[from..from + at.length as usize].to_vec();
                let encoded = pack::open_chunk(&key, id, at, &mut sealed)?;
                let plain = inflate(&vault, id, at, encoded, wanted.plain_bytes)?;
                Ok((wanted.block, plain))
            };
            let opened = fetch.wanted.iter().map(open).collect();
            sealed.clear();
            opened
        });
        work.await.expect("opening chunks does not panic")
    }

    /// A chunk for a read smaller than a chunk: likely to be asked for again.
    async fn small_chunk(&self, wanted: Wanted) -> Result<Arc<Vec<u8>>> {
        let fetch = async {
            let mut chunks = self.chunks(vec![wanted]).await?;
            Ok(Arc::new(chunks.pop().expect("one was wanted").1))
        };
        let chunk = self.small.try_get_with(wanted.child.id, fetch).await;
        chunk.map_err(|error: Arc<Error>| Error::caused(error.kind(), error.to_string(), error))
    }

    async fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        let chunk_bytes = CHUNK_BYTES as u64;
        let wanted = self.wanted(offset / chunk_bytes, end.div_ceil(chunk_bytes)).await?;
        buffer.fill(0);
        if buffer.len() < CHUNK_BYTES {
            for one in wanted {
                copy_overlap(one.block, &self.small_chunk(one).await?, offset, buffer);
            }
        } else {
            for (block, plain) in self.chunks(wanted).await? {
                copy_overlap(block, &plain, offset, buffer);
            }
        }
        Ok(())
    }
}

/// Groups chunks that lie near one another into requests.
fn plan(wanted: Vec<Wanted>) -> Vec<Fetch> {
    let mut fetches: Vec<Fetch> = Vec::new();
    for one in wanted {
        let Location { pack, offset, length } = one.child.at;
        let end = offset.saturating_add(length);
        match fetches.last_mut() {
            Some(last)
                if last.pack == pack
                    && offset >= last.start
                    && offset <= last.end.saturating_add(GAP_BYTES_MAX)
                    && end - last.start <= FETCH_BYTES_MAX =>
            {
                last.end = last.end.max(end);
                last.wanted.push(one);
            }
            _ => fetches.push(Fetch { pack, start: offset, end, wanted: vec![one] }),
        }
    }
    fetches
}

/// Inflates a chunk and proves that it is the one asked for.
fn inflate(vault: &Vault, id: ChunkId, at: Location, encoded: &[u8], plain_bytes: usize) -> Result<Vec<u8>> {
    let corrupt = |found: &str| Error::corrupt(at.pack, at.offset.into(), format!("chunk {id}: {found}"));
    let mut plain = vec![0; plain_bytes];
    chunk::decode_into(encoded, &mut plain).map_err(corrupt)?;
    if chunk::chunk_id(vault.keys(), &plain) != id {
        return Err(corrupt("its bytes are other than its id says"));
    }
    Ok(plain)
}

/// Copies the part of a block's bytes that lies in the buffer.
fn copy_overlap(block: u64, plain: &[u8], offset: u64, buffer: &mut [u8]) {
    let start = block * CHUNK_BYTES as u64;
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
        let wanted = self.wanted(offset / chunk_bytes, end.div_ceil(chunk_bytes)).await?;
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

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        check_range(self.map.size, offset, buffer.len() as u64)?;
        self.fill(offset, &mut buffer).await?;
        Ok(buffer)
    }
}
