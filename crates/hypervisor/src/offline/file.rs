//! An image's file as it is handed to QEMU: read by us, unchanged while we read it, and with an end.

use super::header::{Ends, FOOTER_BYTES, HEADER_BYTES, Tail};
use super::locks;
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, FileDisk, check_range, coalesce};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a file that may be cut short claims as its size, so that QEMU asks us for what lies beyond its end instead
/// of taking it for zeros: larger than any offset in an image, and what QEMU can still count.
const ENDLESS_BYTES: u64 = 1 << 60;

/// What changes when a file is written or replaced. The change time cannot be set back by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Print {
    fn of(found: &Metadata) -> Self {
        Self {
            place: (found.dev(), found.ino()),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// An open file that nobody may write.
#[derive(Debug)]
pub(super) struct ImageFile {
    path: PathBuf,
    data: FileDisk,
    file: File,
    print: Print,
}

impl ImageFile {
    /// Opens and locks it. `path` is canonical.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for what is no regular file; `Busy` when a machine uses it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(format!("open {}", path.display()), e);
        // A pipe would make us wait for its writer.
        let open = || OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
        let file = open().map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            let text = format!("open {}: it is no regular file", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let copy = file.try_clone().map_err(failed)?;
        let data = FileDisk::of(copy, path)
            .map_err(|e| Error::caused(ErrorKind::Failed, format!("open {}", path.display()), e))?;
        locks::lock(&file, path)?;
        let this = Self { path: path.to_owned(), data, file, print: Print::of(&found) };
        // What was written before the lock was written by somebody who has only just gone.
        this.check().map_err(|error| error.within(format!("open {}", path.display())))?;
        Ok(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is, whatever its name.
    pub(super) fn place(&self) -> (u64, u64) {
        self.print.place
    }

    pub(super) fn size(&self) -> u64 {
        self.print.size
    }

    /// Gives the beginning and the end of the file to `look`.
    pub(super) fn ends<T>(&self, look: impl FnOnce(&Ends<'_>) -> T) -> Result<T> {
        let size = usize::try_from(self.print.size).unwrap_or(usize::MAX);
        let mut first = vec![0; HEADER_BYTES.min(size)];
        let mut last = vec![0; FOOTER_BYTES.min(size)];
        let last_at = self.print.size - last.len() as u64;
        let read = self.file.read_exact_at(&mut first, 0);
        read.and_then(|()| self.file.read_exact_at(&mut last, last_at))
            .map_err(|e| Error::io(format!("read {}", self.path.display()), e))?;
        Ok(look(&Ends { first: &first, last: &last }))
    }

    /// Whether it is still what was opened, under its name and behind it.
    ///
    /// # Errors
    /// `Broken` when it is not.
    pub(super) fn check(&self) -> Result<()> {
        let same =
            |found: std::io::Result<Metadata>| found.is_ok_and(|found| Print::of(&found) == self.print);
        if same(self.file.metadata()) && same(std::fs::metadata(&self.path)) {
            return Ok(());
        }
        let text = format!("{} was changed while it was read", self.path.display());
        Err(Error::new(ErrorKind::Broken, text))
    }

    /// Its bytes, for QEMU.
    pub(super) fn served(&self, tail: Tail) -> ServedFile {
        ServedFile { data: self.data.clone(), tail }
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        locks::unlock(&self.file);
    }
}

/// The bytes of an image's file. An image that was cut short refers to places beyond its end; QEMU reads zeros
/// there and says nothing, so here the end is an error.
pub(super) struct ServedFile {
    data: FileDisk,
    tail: Tail,
}

impl ServedFile {
    fn end(&self) -> u64 {
        BlockSource::size(&self.data)
    }
}

#[async_trait]
impl BlockSource for ServedFile {
    fn size(&self) -> u64 {
        match self.tail {
            Tail::Exact => self.end(),
            Tail::Unit(_) => ENDLESS_BYTES,
        }
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        check_range(self.size(), offset, length)?;
        let inside = (offset + length).min(self.end()).saturating_sub(offset);
        let mut found = if inside > 0 { self.data.extents(offset, inside).await? } else { Vec::new() };
        if inside < length {
            // Not zeros: whoever wants them must read, and then hears of it.
            found.push(Extent::new(offset + inside, length - inside, ExtentKind::Data));
        }
        Ok(coalesce(found))
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        let length = buffer.len() as u64;
        check_range(self.size(), offset, length)?;
        let (end, unit) = match self.tail {
            Tail::Exact => (self.end(), 0),
            Tail::Unit(unit) => (self.end(), unit),
        };
        if offset + length <= end {
            return self.data.read(offset, buffer).await;
        }
        if offset + length > end.saturating_add(unit) {
            let text = format!("read an image at byte {offset}: its file ends at {end}, it was cut short");
            return Err(block::Error::new(block::ErrorKind::Io, text));
        }
        let mut inside = buffer;
        inside.truncate(usize::try_from(end.saturating_sub(offset)).expect("less than the buffer"));
        let mut bytes = if inside.is_empty() { inside } else { self.data.read(offset, inside).await? };
        bytes.resize(usize::try_from(length).expect("it was a buffer"), 0);
        Ok(bytes)
    }
}
