//! File systems: each kind is a file that makes a [`FileSystem`] of somebody else's reader.
//!
//! To add one: a file here, its mark in `layout/content.rs`, a line in [`open`].

mod btrfs;
mod ext;
mod fat;
mod known;
mod ntfs;
mod ntfs_link;
mod xfs;

use crate::disk::Disk;
use crate::entry::{self, check_name};
use crate::{Content, Entry, Error, FilePath, Metadata, Result};
use std::rc::Rc;

/// Names in one folder that we read.
pub(crate) const ENTRIES_MAX: usize = 1_000_000;

/// A file system. Paths are of names alone: no link on the way is followed here.
pub(crate) trait FileSystem {
    /// What lies in a folder, without `.` and `..`.
    fn list(&mut self, path: &FilePath) -> Result<Vec<Entry>>;

    /// What is known of a file.
    fn stat(&mut self, path: &FilePath) -> Result<Metadata>;

    /// Reads a file's bytes from an offset: fills the buffer, or stops at the file's end.
    fn read(&mut self, path: &FilePath, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// What a link says.
    fn link(&mut self, path: &FilePath) -> Result<Vec<u8>>;
}

/// Opens a file system.
pub(crate) fn open(content: Content, disk: Rc<dyn Disk>) -> Result<Box<dyn FileSystem>> {
    Ok(match content {
        Content::Ext => Box::new(ext::Ext::open(disk)?),
        Content::Xfs => Box::new(xfs::Xfs::open(disk)?),
        Content::Btrfs => Box::new(btrfs::Btrfs::open(disk)?),
        Content::Ntfs => Box::new(ntfs::Ntfs::open(disk)?),
        Content::Fat => Box::new(fat::Fat::open(disk)?),
        other => return Err(Error::refused(format!("it holds no files that are read ({})", other.name()))),
    })
}

/// A folder whose list grows with every name, and stops where no folder goes on.
fn push(entries: &mut Vec<Entry>, name: Vec<u8>, metadata: Result<Metadata>) -> Result<()> {
    if name == b"." || name == b".." {
        return Ok(());
    }
    if entries.len() >= ENTRIES_MAX {
        return Err(Error::limit(format!("a folder of more than {ENTRIES_MAX} names")));
    }
    // A name that could mean another place is shown, and what it stands for is not to be had.
    let entry = match check_name(&name) {
        Ok(()) => Entry { name, metadata },
        Err(error) => {
            let end = name.len().min(64);
            let shown = entry::shown(&name[..end]).replace('/', "\\x2f");
            Entry { name: format!("?{shown}").into_bytes(), metadata: Err(error) }
        }
    };
    entries.push(entry);
    Ok(())
}

fn not_a_file() -> Error {
    Error::invalid("it is not a file")
}

fn not_a_link() -> Error {
    Error::invalid("it is not a link")
}
