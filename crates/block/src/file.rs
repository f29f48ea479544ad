//! A disk in a raw file: sparse where the file system can.

use crate::{BlockSink, BlockSource, Error, Extent, ExtentKind, Result, check_range, coalesce};
use async_trait::async_trait;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A raw disk image.
#[derive(Clone, Debug)]
pub struct FileDisk {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
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
        Ok(Self { file: Arc::new(file), path: path.to_owned(), size })
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
        Ok(Self { file: Arc::new(file), path: path.to_owned(), size })
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
        self.blocking("read", offset, move |file| {
            file.read_exact_at(&mut buffer, offset)?;
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
        self.blocking("write", offset, move |file| {
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
