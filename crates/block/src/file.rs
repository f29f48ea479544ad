//! A disk in a raw file: sparse where the file system can.

use crate::direct::{self, Aligned, BLOCK_BYTES};
use crate::{BlockSink, BlockSource, Error, Extent, ExtentKind, Result, check_range, coalesce};
use async_trait::async_trait;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// From so many bytes on, what is tracked as one changed block, the page cache is passed by. Below, a copy costs less
/// than a disk that is waited for.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// Buffers of a file that are kept: as many large pieces as a backup has under way.
const SPARE_MAX: usize = 16;

/// A raw disk image.
#[derive(Clone, Debug)]
pub struct FileDisk {
    file: Arc<File>,
    /// The same file, past the page cache, where that is possible.
    direct: Option<Arc<Direct>>,
    path: PathBuf,
    size: u64,
}

/// A file past the page cache.
#[derive(Debug)]
struct Direct {
    file: File,
    /// Kept, [`SPARE_MAX`] of them: it was new memory that cost.
    spare: Mutex<Vec<Aligned>>,
}

impl Direct {
    fn of(file: &File) -> Option<Arc<Self>> {
        Some(Arc::new(Self { file: direct::reopen(file)?, spare: Mutex::default() }))
    }

    /// Works with `length` bytes of aligned memory.
    fn with<T>(&self, length: usize, work: impl FnOnce(&File, &mut [u8]) -> T) -> T {
        let spare = self.spare.lock().expect("no holder panics").pop();
        let mut memory = spare.filter(|spare| spare.len() >= length).unwrap_or_else(|| Aligned::new(length));
        let done = work(&self.file, &mut memory.bytes_mut()[..length]);
        let mut spare = self.spare.lock().expect("no holder panics");
        if spare.len() < SPARE_MAX {
            spare.push(memory);
        }
        done
    }
}

/// Whether a range is large enough, and of whole blocks.
fn is_direct(offset: u64, length: usize) -> bool {
    length >= DIRECT_BYTES_MIN
        && length.is_multiple_of(BLOCK_BYTES)
        && offset.is_multiple_of(BLOCK_BYTES as u64)
}

impl FileDisk {
    /// Opens an image for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        Self::of(file, path)
    }

    /// An image that was opened for reading; `path` names it in errors.
    pub fn of(file: File, path: &Path) -> Result<Self> {
        let size = file.metadata().map_err(|e| Error::io(format!("stat {}", path.display()), e))?.len();
        let direct = Direct::of(&file);
        Ok(Self { file: Arc::new(file), direct, path: path.to_owned(), size })
    }

    /// Creates an image of `size` zero bytes that takes no space yet. Fails if the path exists.
    ///
    /// CRASH: leaves a file at `path`, short of data; whoever restores into it writes under a
    /// temporary name and renames when done.
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let context = || format!("create {}", path.display());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| Error::io(context(), e))?;
        file.set_len(size).map_err(|e| Error::io(context(), e))?;
        let direct = Direct::of(&file);
        Ok(Self { file: Arc::new(file), direct, path: path.to_owned(), size })
    }

    /// Runs blocking file work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        verb: &'static str,
        offset: u64,
        work: impl FnOnce(&File) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || work(&file))
            .await
            .expect("file work does not panic")
            .map_err(|e| Error::io(format!("{verb} {} at byte {offset}", self.path.display()), e))
    }
}

fn read_direct(direct: &Direct, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    direct.with(buffer.len(), |file, memory| {
        let held = direct::read(file, memory, offset)?;
        if held < buffer.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(memory);
        Ok(())
    })
}

/// Data and holes of `offset..end`, by asking the file system where the next of each begins.
fn seek_extents(file: &File, offset: u64, end: u64) -> std::io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut at = offset;
    while at < end {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            Err(rustix::io::Errno::NXIO) => end, // nothing but a hole up to the end of the file
            Err(_) => at,                        // a file system without holes: all is data
        };
        if data > at {
            extents.push(Extent::new(at, data - at, ExtentKind::Zero));
        }
        if data < end {
            let hole = rustix::fs::seek(file, SeekFrom::Hole(data)).unwrap_or(end).clamp(data, end);
            // A hole that begins where data was just found would loop for ever: take the rest as data.
            let hole = if hole == data { end } else { hole };
            extents.push(Extent::new(data, hole - data, ExtentKind::Data));
            at = hole;
        } else {
            at = end;
        }
    }
    Ok(coalesce(extents))
}

/// Gives up the range's space; where the file system cannot, writes zeros.
fn punch(file: &File, offset: u64, length: u64) -> std::io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset, length) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let zeros = vec![0; 1 << 20];
            let mut at = offset;
            while at < offset + length {
                let step = (offset + length - at).min(zeros.len() as u64);
                file.write_all_at(&zeros[..usize::try_from(step).expect("at most 1 MiB")], at)?;
                at += step;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

#[async_trait]
impl BlockSource for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        check_range(self.size, offset, length)?;
        self.blocking("find holes of", offset, move |file| seek_extents(file, offset, offset + length)).await
    }

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        check_range(self.size, offset, buffer.len() as u64)?;
        let direct = self.direct.clone().filter(|_| is_direct(offset, buffer.len()));
        self.blocking("read", offset, move |file| {
            if let Some(direct) = direct {
                read_direct(&direct, &mut buffer, offset)?;
            } else {
                file.read_exact_at(&mut buffer, offset)?;
            }
            Ok(buffer)
        })
        .await
    }
}

#[async_trait]
impl BlockSink for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    async fn write(&self, offset: u64, data: Vec<u8>) -> Result<Vec<u8>> {
        check_range(self.size, offset, data.len() as u64)?;
        let direct = self.direct.clone().filter(|_| is_direct(offset, data.len()));
        self.blocking("write", offset, move |file| {
            if let Some(direct) = direct {
                direct.with(data.len(), |file, memory| {
                    memory.copy_from_slice(&data);
                    file.write_all_at(memory, offset)
                })?;
                return Ok(data);
            }
            file.write_all_at(&data, offset)?;
            // Starts writing back at once, so that the flush at the end finds little left to do, and keeps a
            // restore from filling the page cache. Only advice: an error changes nothing.
            let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(data.len() as u64), Advice::DontNeed);
            Ok(data)
        })
        .await
    }

    async fn zero(&self, offset: u64, length: u64) -> Result<()> {
        check_range(self.size, offset, length)?;
        self.blocking("zero", offset, move |file| punch(file, offset, length)).await
    }

    async fn flush(&self) -> Result<()> {
        self.blocking("flush", 0, |file| file.sync_data()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CopyOptions, MemoryDisk, copy};

    #[tokio::test]
    async fn holes_are_found_made_and_read_as_zeros() {
        let folder = tempfile::tempdir().expect("tempdir");
        let disk = FileDisk::create(&folder.path().join("a.raw"), 1 << 20).expect("create");
        disk.write(262_144, vec![1; 65_536]).await.expect("write");
        let kinds: Vec<_> = disk.extents(0, 1 << 20).await.expect("extents");
        assert_eq!(
            kinds,
            [
                Extent::new(0, 262_144, ExtentKind::Zero),
                Extent::new(262_144, 65_536, ExtentKind::Data),
                Extent::new(327_680, 720_896, ExtentKind::Zero)
            ]
        );
        disk.zero(262_144, 65_536).await.expect("zero");
        let hole = [Extent::new(0, 1 << 20, ExtentKind::Zero)];
        assert_eq!(disk.extents(0, 1 << 20).await.expect("extents"), hole);
        assert_eq!(disk.read(262_144, vec![9; 16]).await.expect("read"), [0; 16]);
    }

    #[tokio::test]
    async fn large_ranges_pass_the_page_cache_and_agree_with_small_ones() {
        // On the disk of the build: what is temporary may lie in memory, which knows no direct I/O.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let path = folder.path().join("c.raw");
        let size = 3 * DIRECT_BYTES_MIN as u64 + 5;
        let disk = FileDisk::create(&path, size).expect("create");
        assert!(disk.direct.is_some(), "this disk can");
        let bytes: Vec<u8> = (0..size).map(|at| (at % 249) as u8).collect();
        let (large, rest) = bytes.split_at(2 * DIRECT_BYTES_MIN);
        // Through the cache, then past it, then through it again: each sees what the other wrote.
        disk.write(0, vec![1; DIRECT_BYTES_MIN + 1]).await.expect("write");
        disk.write(0, large.to_vec()).await.expect("write");
        disk.write(large.len() as u64, rest.to_vec()).await.expect("write");
        assert!(std::fs::read(&path).expect("read") == bytes);
        let source = FileDisk::open(&path).expect("open");
        for (offset, length) in [(0, large.len()), (4096, DIRECT_BYTES_MIN), (1, DIRECT_BYTES_MIN)] {
            let read = source.read(offset as u64, vec![0; length]).await.expect("read");
            assert!(read == bytes[offset..offset + length], "{length} at {offset}");
        }
        let ends = 2 * DIRECT_BYTES_MIN as u64;
        File::options().write(true).open(&path).and_then(|file| file.set_len(ends)).expect("cut it");
        let cut = source.read(DIRECT_BYTES_MIN as u64, vec![0; 2 * DIRECT_BYTES_MIN]).await;
        assert!(cut.is_err(), "bytes that are gone are not made up");
    }

    #[tokio::test]
    async fn a_file_round_trips_with_an_odd_size() {
        let folder = tempfile::tempdir().expect("tempdir");
        let memory = MemoryDisk::from((0..200_001u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        memory.zero(70_000, 70_000).await.expect("zero");
        let file = FileDisk::create(&folder.path().join("b.raw"), 200_001).expect("create");
        copy(&memory, &file, CopyOptions { sink_is_zero: true, ..CopyOptions::default() }, &|_| ())
            .await
            .expect("copy out");
        let back = MemoryDisk::new(200_001);
        copy(
            &FileDisk::open(&folder.path().join("b.raw")).expect("open"),
            &back,
            CopyOptions::default(),
            &|_| (),
        )
        .await
        .expect("copy back");
        assert_eq!(back.bytes(), memory.bytes());
        assert!(
            FileDisk::create(&folder.path().join("b.raw"), 1).is_err(),
            "an existing file is never replaced"
        );
    }
}
