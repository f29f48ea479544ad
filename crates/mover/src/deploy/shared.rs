//! A disk of an image as a file of this host that is filled as it is read: what is not there yet comes from the
//! vault, once, however many machines ask for it.
//!
//! Beside the file lies a record of what is there, a bit for each block. It is written after the file was synced, so it
//! never says more than is so.
//!
//! CRASH: leaves a record that says less: those blocks are fetched once more.

use crate::Throttle;
use async_trait::async_trait;
use block::{BlockSink, BlockSource, Error, ErrorKind, Extent, ExtentKind, FileDisk, Result, check_range};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use vault::CHUNK_BYTES;

const BLOCK_BYTES: u64 = CHUNK_BYTES as u64;
/// Blocks that one reader at a time fetches: a run of 1 MiB is one request to a store.
const RUN_BLOCKS: u64 = 16;
const RUN_BYTES: u64 = RUN_BLOCKS * BLOCK_BYTES;
/// Runs that are fetched at the same time, by different readers. Two runs may share one turn, which only makes one wait.
const TURNS: u64 = 64;
/// Runs fetched at once to fill the file: enough for a distant store, and guests' reads come between.
const FILLED_AT_ONCE: usize = 4;
const MAGIC: &[u8; 8] = b"SRHAVE01";
/// Everybody who runs a machine over it reads it; only its owner fills it.
const MODE: u32 = 0o644;

/// See above.
pub(super) struct SharedDisk {
    source: Arc<dyn BlockSource>,
    file: FileDisk,
    record: PathBuf,
    have: Mutex<Have>,
    turns: Vec<tokio::sync::Mutex<()>>,
    /// Held while the record is written: two who fill it end at about the same time.
    keeping: tokio::sync::Mutex<()>,
    fetched_bytes: AtomicU64,
}

/// Which blocks are there.
struct Have {
    bits: Vec<u64>,
    count: u64,
}

impl SharedDisk {
    /// Opens the file with what is there of it, or makes it.
    pub(super) fn open(path: &Path, source: Arc<dyn BlockSource>) -> Result<Self> {
        let context = || format!("open the shared copy {}", path.display());
        let record = path.with_added_extension("have");
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(MODE).open(path);
        let file = file.map_err(|e| Error::io(context(), e))?;
        let size = source.size();
        let length = file.metadata().map_err(|e| Error::io(context(), e))?.len();
        if length != 0 && length != size {
            let why = format!("{}: it is of {length} bytes, and the image's disk of {size}", context());
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        file.set_len(size).map_err(|e| Error::io(context(), e))?;
        let have = if length == 0 { Have::none(size) } else { Have::read(&record, size) };
        let turns = (0..TURNS).map(|_| tokio::sync::Mutex::new(())).collect();
        let file = FileDisk::of(file, path)?;
        let (have, keeping) = (Mutex::new(have), tokio::sync::Mutex::default());
        Ok(Self { source, file, record, have, turns, keeping, fetched_bytes: AtomicU64::new(0) })
    }

    /// Bytes that came from the vault since it was opened.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.have.lock().expect("no holder panics").count == self.blocks()
    }

    /// Fetches all that is missing, no faster than `pace` lets it; readers do not wait for that. Can be dropped and begun
    /// again at any time.
    pub(super) async fn fill(&self, pace: Option<&Throttle>, advance: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let size = self.size();
        let runs = (0..size).step_by(RUN_BYTES as usize).map(|offset| async move {
            let length = RUN_BYTES.min(size - offset);
            if let Some(pace) = pace {
                pace.admit(self.data_missing(offset, length).await?).await;
            }
            self.bring(offset, length).await.map(|()| length)
        });
        let mut filled = stream::iter(runs).buffer_unordered(FILLED_AT_ONCE);
        while let Some(length) = filled.try_next().await? {
            advance(length);
        }
        Ok(())
    }

    /// Makes what is there last, and notes it.
    pub(super) async fn keep(&self) -> Result<()> {
        let _keeping = self.keeping.lock().await;
        let bytes = self.have.lock().expect("no holder panics").bytes();
        self.file.flush().await?;
        let partial = self.record.with_added_extension("partial");
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&partial, &self.record)
        });
        written.map_err(|e| Error::io(format!("write {}", self.record.display()), e))
    }

    fn blocks(&self) -> u64 {
        self.size().div_ceil(BLOCK_BYTES)
    }

    /// Returns when a range is there.
    async fn bring(&self, offset: u64, length: u64) -> Result<()> {
        let (first, end) = (offset / BLOCK_BYTES, (offset + length).div_ceil(BLOCK_BYTES));
        for run in first / RUN_BLOCKS..end.div_ceil(RUN_BLOCKS) {
            let blocks = first.max(run * RUN_BLOCKS)..end.min((run + 1) * RUN_BLOCKS);
            if self.missing(blocks.clone()).is_empty() {
                continue;
            }
            let _turn = self.turns[(run % TURNS) as usize].lock().await;
            // Whoever had the turn may have fetched it.
            for missing in self.missing(blocks) {
                self.fetch(missing).await?;
            }
        }
        Ok(())
    }

    /// Bytes of a range that would have to be fetched.
    async fn data_missing(&self, offset: u64, length: u64) -> Result<u64> {
        let mut bytes = 0;
        for blocks in self.missing(offset / BLOCK_BYTES..(offset + length).div_ceil(BLOCK_BYTES)) {
            let (from, to) = (blocks.start * BLOCK_BYTES, (blocks.end * BLOCK_BYTES).min(self.size()));
            let extents = self.source.extents(from, to - from).await?;
            bytes +=
                extents.iter().filter(|one| one.kind != ExtentKind::Zero).map(|one| one.length).sum::<u64>();
        }
        Ok(bytes)
    }

    fn missing(&self, blocks: Range<u64>) -> Vec<Range<u64>> {
        self.have.lock().expect("no holder panics").missing(blocks)
    }

    /// Zeros are not fetched, and stay a hole.
    async fn fetch(&self, blocks: Range<u64>) -> Result<()> {
        let (from, to) = (blocks.start * BLOCK_BYTES, (blocks.end * BLOCK_BYTES).min(self.size()));
        for extent in self.source.extents(from, to - from).await? {
            if extent.kind == ExtentKind::Zero {
                continue;
            }
            let length = usize::try_from(extent.length).expect("a run is 1 MiB");
            let bytes = self.source.read(extent.offset, vec![0; length]).await?;
            self.file.write(extent.offset, bytes).await?;
            self.fetched_bytes.fetch_add(extent.length, Ordering::Relaxed);
        }
        self.have.lock().expect("no holder panics").add(blocks);
        Ok(())
    }
}

#[async_trait]
impl BlockSource for SharedDisk {
    fn size(&self) -> u64 {
        BlockSource::size(&self.file)
    }

    /// What is there is told by the file, also when the vault is not reached.
    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        check_range(self.size(), offset, length)?;
        let blocks = offset / BLOCK_BYTES..(offset + length).div_ceil(BLOCK_BYTES);
        match self.missing(blocks).is_empty() {
            true => self.file.extents(offset, length).await,
            false => self.source.extents(offset, length).await,
        }
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        check_range(self.size(), offset, buffer.len() as u64)?;
        self.bring(offset, buffer.len() as u64).await?;
        self.file.read(offset, buffer).await
    }
}

impl Have {
    fn none(size: u64) -> Self {
        let words = size.div_ceil(BLOCK_BYTES).div_ceil(64);
        Self { bits: vec![0; usize::try_from(words).expect("a disk's blocks fit memory")], count: 0 }
    }

    /// A record that is none says nothing.
    fn read(path: &Path, size: u64) -> Self {
        let mut have = Self::none(size);
        let Ok(bytes) = std::fs::read(path) else { return have };
        let Some(words) = bytes.strip_prefix(MAGIC).filter(|words| words.len() == have.bits.len() * 8) else {
            return have;
        };
        let words =
            words.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        have.bits = words.collect();
        let blocks = size.div_ceil(BLOCK_BYTES);
        if let Some(last) = have.bits.last_mut().filter(|_| !blocks.is_multiple_of(64)) {
            *last &= (1 << (blocks % 64)) - 1;
        }
        have.count = have.bits.iter().map(|word| u64::from(word.count_ones())).sum();
        have
    }

    fn bytes(&self) -> Vec<u8> {
        MAGIC.iter().copied().chain(self.bits.iter().flat_map(|word| word.to_le_bytes())).collect()
    }

    fn has(&self, block: u64) -> bool {
        self.bits[(block / 64) as usize] & (1 << (block % 64)) != 0
    }

    fn add(&mut self, blocks: Range<u64>) {
        for block in blocks.filter(|block| !self.has(*block)).collect::<Vec<_>>() {
            self.bits[(block / 64) as usize] |= 1 << (block % 64);
            self.count += 1;
        }
    }

    fn missing(&self, blocks: Range<u64>) -> Vec<Range<u64>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for block in blocks.filter(|block| !self.has(*block)) {
            match missing.last_mut().filter(|last| last.end == block) {
                Some(last) => last.end += 1,
                None => missing.push(block..block + 1),
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::MemoryDisk;
    use std::collections::BTreeMap;

    /// Counts how often each block is read.
    struct Counted {
        disk: MemoryDisk,
        reads: Mutex<BTreeMap<u64, u32>>,
    }

    #[async_trait]
    impl BlockSource for Counted {
        fn size(&self) -> u64 {
            BlockSource::size(&self.disk)
        }

        async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
            self.disk.extents(offset, length).await
        }

        async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
            let blocks = offset / BLOCK_BYTES..(offset + buffer.len() as u64).div_ceil(BLOCK_BYTES);
            for block in blocks {
                *self.reads.lock().expect("no holder panics").entry(block).or_default() += 1;
            }
            tokio::task::yield_now().await; // so that readers meet
            self.disk.read(offset, buffer).await
        }
    }

    const SIZE: u64 = 5 * RUN_BYTES + 3 * BLOCK_BYTES + 512;

    fn source() -> Arc<Counted> {
        let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 512 % 251) as u8 + 1).collect();
        Arc::new(Counted { disk: MemoryDisk::from(bytes), reads: Mutex::default() })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn twenty_readers_fetch_each_block_once_and_read_the_truth() {
        let folder = tempfile::tempdir().expect("tempdir");
        let source = source();
        let shared =
            Arc::new(SharedDisk::open(&folder.path().join("d.raw"), source.clone()).expect("opened"));
        let truth = Arc::new(source.disk.bytes());
        let readers: Vec<_> = (0..20_u64)
            .map(|reader| {
                let (shared, truth) = (Arc::clone(&shared), Arc::clone(&truth));
                tokio::spawn(async move {
                    for step in 0..200_u64 {
                        let offset = (step * 7 + reader * 3) * 40_503 % (SIZE - 1) / 512 * 512;
                        let length = (4096 << (step % 7)).min(SIZE - offset);
                        let read = shared.read(offset, vec![0; length as usize]).await.expect("read");
                        assert_eq!(read, truth[offset as usize..(offset + length) as usize]);
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.expect("it read the truth");
        }
        shared.fill(None, &|_| ()).await.expect("filled");
        assert!(shared.is_whole() && shared.fetched_bytes() == SIZE);
        let reads = source.reads.lock().expect("no holder panics");
        assert!(
            reads.len() as u64 == shared.blocks() && reads.values().all(|times| *times == 1),
            "{reads:?}"
        );
    }

    #[tokio::test]
    async fn what_was_noted_is_not_fetched_again_and_what_was_not_is() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("d.raw");
        let first = SharedDisk::open(&path, source()).expect("opened");
        first.read(0, vec![0; 4096]).await.expect("read");
        first.keep().await.expect("noted");
        first.read(RUN_BYTES, vec![0; 4096]).await.expect("read");
        drop(first); // without being noted, as if it had been killed
        let source = source();
        let again = SharedDisk::open(&path, source.clone()).expect("opened");
        again.fill(None, &|_| ()).await.expect("filled");
        assert_eq!(again.fetched_bytes(), SIZE - BLOCK_BYTES);
        assert!(!source.reads.lock().expect("no holder panics").contains_key(&0));
        again.keep().await.expect("noted");
        assert_eq!(std::fs::read(&path).expect("read"), source.disk.bytes());
        drop(again);
        let other: Arc<dyn BlockSource> = Arc::new(MemoryDisk::new(512));
        assert!(SharedDisk::open(&path, other).is_err(), "a copy of something else");
        for nonsense in ["", "SRHAVE01", "nonsense"] {
            std::fs::write(path.with_added_extension("have"), nonsense).expect("written");
            assert!(!SharedDisk::open(&path, source.clone()).expect("opened").is_whole());
        }
    }

    #[tokio::test]
    async fn holes_stay_holes() {
        let folder = tempfile::tempdir().expect("tempdir");
        let empty: Arc<dyn BlockSource> = Arc::new(MemoryDisk::new(SIZE as usize));
        let path = folder.path().join("d.raw");
        let shared = SharedDisk::open(&path, empty).expect("opened");
        shared.fill(None, &|_| ()).await.expect("filled");
        assert!(shared.is_whole());
        assert_eq!(std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).expect("there")), 0);
    }
}
