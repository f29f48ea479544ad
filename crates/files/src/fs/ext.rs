//! ext2, ext3 and ext4, by `ext4-view`, which also replays the journal in memory.

use super::{FileSystem, not_a_file, not_a_link, push};
use crate::disk::Disk;
use crate::entry::{Entry, FilePath, Kind, Metadata, Time};
use crate::{Error, ErrorKind, Result};
use ext4_view::{Ext4, Ext4Error, Ext4Read, File};
use std::rc::Rc;

pub(super) struct Ext {
    fs: Ext4,
    /// The file that was read last: reading goes on where it stopped.
    open: Option<(FilePath, File)>,
}

/// The disk as the reader wants it.
struct Reader(Rc<dyn Disk>);

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.0.read(start_byte, dst)?)
    }
}

impl Ext {
    pub(super) fn open(disk: Rc<dyn Disk>) -> Result<Self> {
        let fs = Ext4::load(Box::new(Reader(disk))).map_err(error)?;
        Ok(Self { fs, open: None })
    }

    /// A file that stands at an offset. Going on is by reading: the reader's own way of skipping passes over damage
    /// in the map of blocks, and gives other bytes then.
    fn at(&mut self, path: &FilePath, offset: u64) -> Result<&mut File> {
        let stands = self.open.as_ref().is_some_and(|(open, file)| open == path && file.position() <= offset);
        if !stands {
            let absolute = absolute(path);
            if !self.fs.symlink_metadata(&*absolute).map_err(error)?.file_type().is_regular_file() {
                return Err(not_a_file());
            }
            self.open = Some((path.clone(), self.fs.open(&*absolute).map_err(error)?));
        }
        let Some((_, file)) = &mut self.open else { return Err(not_a_file()) };
        let mut skipped = [0; 4096];
        while file.position() < offset {
            let length = (offset - file.position()).min(skipped.len() as u64) as usize;
            if file.read_bytes(&mut skipped[..length]).map_err(error)? == 0 {
                break;
            }
        }
        Ok(file)
    }
}

impl FileSystem for Ext {
    fn list(&mut self, path: &FilePath) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in self.fs.read_dir(&*absolute(path)).map_err(error)? {
            let entry = entry.map_err(error)?;
            let found = entry.metadata().map(|one| metadata(&one)).map_err(error);
            push(&mut entries, entry.file_name().as_ref().to_vec(), found)?;
        }
        Ok(entries)
    }

    fn stat(&mut self, path: &FilePath) -> Result<Metadata> {
        self.fs.symlink_metadata(&*absolute(path)).map(|one| metadata(&one)).map_err(error)
    }

    fn read(&mut self, path: &FilePath, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let file = self.at(path, offset)?;
        let mut done = 0;
        while done < buffer.len() && file.position() == offset + done as u64 {
            match file.read_bytes(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(length) => done += length,
                Err(failed) => {
                    // Where it stands now is not told.
                    self.open = None;
                    return Err(error(failed));
                }
            }
        }
        Ok(done)
    }

    fn link(&mut self, path: &FilePath) -> Result<Vec<u8>> {
        let target = self.fs.read_link(&*absolute(path)).map_err(error)?;
        Ok(target.as_ref().to_vec())
    }
}

/// Paths begin with a slash there.
fn absolute(path: &FilePath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}

fn metadata(found: &ext4_view::Metadata) -> Metadata {
    use ext4_view::FileType;
    let kind = match found.file_type() {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        FileType::BlockDevice => Kind::Block,
        FileType::CharacterDevice => Kind::Character,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
    };
    let modified = found.modified();
    let modified = Time { seconds: modified.seconds(), nanoseconds: modified.nanoseconds() };
    Metadata {
        kind,
        size: found.len(),
        mode: u32::from(found.mode()),
        uid: found.uid(),
        gid: found.gid(),
        modified: Some(modified),
    }
}

#[allow(clippy::needless_pass_by_value)] // every call of the reader's maps its error by this
fn error(error: Ext4Error) -> Error {
    let kind = match &error {
        Ext4Error::NotFound => ErrorKind::NotFound,
        Ext4Error::NotASymlink => return not_a_link(),
        Ext4Error::IsADirectory | Ext4Error::IsASpecialFile => return not_a_file(),
        Ext4Error::NotADirectory => ErrorKind::Invalid,
        Ext4Error::Encrypted | Ext4Error::Incompatible(_) => ErrorKind::Refused,
        Ext4Error::FileTooLarge => ErrorKind::Limit,
        Ext4Error::Io(inner) => {
            return inner
                .downcast_ref::<Error>()
                .cloned()
                .unwrap_or_else(|| Error::corrupt(error.to_string()));
        }
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, error.to_string())
}
