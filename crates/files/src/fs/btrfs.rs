//! Btrfs of one device, by `lambutter`. Subvolumes are folders, as in a mount of the default one.
//!
//! It tells no times. They stand in the inode's item, and the leaf with the item is what it read last, and checked.

use super::known::Known;
use super::{FileSystem, not_a_file, not_a_link, push};
use crate::disk::{Disk, field};
use crate::entry::{Entry, FilePath, Kind, Metadata, Time};
use crate::{Error, ErrorKind, Result};
use lambutter::{BlockRead, Inode, Path};
use std::cell::RefCell;
use std::rc::Rc;

pub(super) struct Btrfs {
    fs: lambutter::Btrfs<Reader>,
    last: Rc<RefCell<Vec<u8>>>,
    known: Known<Inode>,
}

struct Reader {
    disk: Rc<dyn Disk>,
    /// What was read last.
    last: Rc<RefCell<Vec<u8>>>,
}

impl BlockRead for Reader {
    type Error = Error;

    fn read_at(&mut self, offset_bytes: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(offset_bytes, buf)?;
        let mut last = self.last.borrow_mut();
        last.clear();
        // A leaf has 64 KiB at most; file data is of no interest.
        last.extend_from_slice(&buf[..buf.len().min(64 << 10)]);
        Ok(())
    }
}

impl Btrfs {
    pub(super) fn open(disk: Rc<dyn Disk>) -> Result<Self> {
        let last = Rc::default();
        let size = disk.size();
        let reader = Reader { disk, last: Rc::clone(&last) };
        let fs = lambutter::Btrfs::open(reader, size).map_err(|failed| error(&failed))?;
        Ok(Self { fs, last, known: Known::new() })
    }

    fn inode(&mut self, path: &FilePath) -> Result<Inode> {
        if let Some(inode) = self.known.get(path) {
            return Ok(inode);
        }
        let absolute = absolute(path);
        let inode = self.fs.resolve(place(&absolute)?).map_err(|failed| error(&failed))?;
        self.known.put_path(path.clone(), inode);
        Ok(inode)
    }

    fn metadata(&mut self, inode: Inode) -> Result<Metadata> {
        let found = self.fs.metadata(&inode).map_err(|failed| error(&failed))?;
        Ok(Metadata {
            kind: Kind::of_mode(found.mode),
            size: found.size,
            mode: found.mode & 0o7777,
            uid: found.uid,
            gid: found.gid,
            modified: modified(&self.last.borrow(), inode.objectid()),
        })
    }
}

/// When the content changed, by the inode's item in this leaf.
fn modified(leaf: &[u8], inode: u64) -> Option<Time> {
    const HEADER_BYTES: usize = 101;
    const ITEM_BYTES: usize = 25;
    const INODE_ITEM: u8 = 1;
    const MODIFIED: usize = 136;
    let items = leaf.get(HEADER_BYTES..)?;
    let count = u32::from_le_bytes(field(leaf, 96)) as usize;
    let is_meant = |item: &&[u8]| u64::from_le_bytes(field(item, 0)) == inode && item[8] == INODE_ITEM;
    let item = items.chunks_exact(ITEM_BYTES).take(count).find(is_meant)?;
    let at = u32::from_le_bytes(field(item, 17)) as usize + MODIFIED;
    let time = items.get(at..at.checked_add(12)?)?;
    let nanoseconds = u32::from_le_bytes(field(time, 8)).min(999_999_999);
    Some(Time { seconds: i64::from_le_bytes(field(time, 0)), nanoseconds })
}

impl FileSystem for Btrfs {
    fn list(&mut self, path: &FilePath) -> Result<Vec<Entry>> {
        let found = self.fs.read_dir(place(&absolute(path))?).map_err(|failed| error(&failed))?;
        let mut entries = Vec::new();
        for entry in found {
            self.known.put(path, &entry.name, entry.inode);
            let metadata = self.metadata(entry.inode);
            push(&mut entries, entry.name, metadata)?;
        }
        Ok(entries)
    }

    fn stat(&mut self, path: &FilePath) -> Result<Metadata> {
        let inode = self.inode(path)?;
        self.metadata(inode)
    }

    fn read(&mut self, path: &FilePath, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let inode = self.inode(path)?;
        self.fs.read_file_at(&inode, offset, buffer).map_err(|failed| error(&failed))
    }

    fn link(&mut self, path: &FilePath) -> Result<Vec<u8>> {
        self.fs.read_link(place(&absolute(path))?).map_err(|failed| error(&failed))
    }
}

fn absolute(path: &FilePath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}

fn place(absolute: &[u8]) -> Result<Path<'_>> {
    Path::new(absolute).ok_or_else(|| Error::invalid("it is no path of Btrfs"))
}

fn error(error: &lambutter::Error) -> Error {
    use lambutter::Error as E;
    let kind = match error {
        E::NotFound => ErrorKind::NotFound,
        E::NotARegularFile => return not_a_file(),
        E::NotASymlink => return not_a_link(),
        E::Io { .. } => ErrorKind::Io,
        E::UnsupportedFeature(_) | E::UnsupportedProfile(_) | E::UnsupportedChecksum(_) => ErrorKind::Refused,
        E::OutOfMemory { .. } => ErrorKind::Limit,
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, error.to_string())
}
