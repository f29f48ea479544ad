//! XFS, by `lamxfs`, which also replays the log in memory.
//!
//! It tells kind, mode and size of a file, not its owner and times. These stand in the inode, and the inode may be
//! newer in the log than on the disk. So we let it read the inode's block *as a file*: it is shown a forged inode,
//! whose one extent is that block, and gives the block as the replayed log leaves it.

use super::known::Known;
use super::{FileSystem, not_a_file, not_a_link, push};
use crate::disk::{Disk, array, field};
use crate::entry::{Entry, FilePath, Kind, Metadata, Time};
use crate::{Error, ErrorKind, Result};
use crc::{CRC_32_ISCSI, Crc};
use lamxfs::{BlockRead, Inode, Path};
use std::cell::RefCell;
use std::rc::Rc;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// The part of an inode that every version has, and that of the fifth.
const CORE_BYTES: usize = 100;
const CORE_BYTES_V5: usize = 176;

pub(super) struct Xfs {
    fs: lamxfs::Xfs<Reader>,
    disk: Rc<dyn Disk>,
    shape: Shape,
    /// Shown in place of what the next read asks for.
    forged: Rc<RefCell<Option<Vec<u8>>>>,
    known: Known<u64>,
}

struct Reader {
    disk: Rc<dyn Disk>,
    forged: Rc<RefCell<Option<Vec<u8>>>>,
}

impl BlockRead for Reader {
    type Error = Error;

    fn read_at(&mut self, offset_bytes: u64, buf: &mut [u8]) -> Result<()> {
        if let Some(forged) = self.forged.borrow_mut().take_if(|forged| forged.len() == buf.len()) {
            buf.copy_from_slice(&forged);
            return Ok(());
        }
        self.disk.read(offset_bytes, buf)
    }
}

/// What the superblock says of where things lie.
struct Shape {
    block_bytes: u64,
    inode_bytes: u64,
    /// Where the log begins, in blocks as XFS counts them: group and block within.
    log: u64,
    group_blocks: u64,
    group_bits: u8,
    inodes_a_block_bits: u8,
    has_checksums: bool,
}

impl Shape {
    fn read(disk: &dyn Disk) -> Result<Self> {
        let head: [u8; 264] = array(disk, 0)?;
        let version = u16::from_be_bytes(field(&head, 100)) & 0xf;
        let shape = Self {
            block_bytes: u32::from_be_bytes(field(&head, 4)).into(),
            inode_bytes: u16::from_be_bytes(field(&head, 104)).into(),
            log: u64::from_be_bytes(field(&head, 48)),
            group_blocks: u32::from_be_bytes(field(&head, 84)).into(),
            group_bits: head[124],
            inodes_a_block_bits: head[123],
            has_checksums: version == 5,
        };
        let fits = (512..=65536).contains(&shape.block_bytes)
            && (256..=2048).contains(&shape.inode_bytes)
            && shape.inode_bytes << shape.inodes_a_block_bits.min(16) == shape.block_bytes
            && shape.group_bits < 32;
        if fits { Ok(shape) } else { Err(Error::corrupt("the superblock of the XFS makes no sense")) }
    }
}

impl Xfs {
    pub(super) fn open(disk: Rc<dyn Disk>) -> Result<Self> {
        let forged = Rc::default();
        let reader = Reader { disk: Rc::clone(&disk), forged: Rc::clone(&forged) };
        let fs = lamxfs::Xfs::open(reader, disk.size()).map_err(|failed| error(&failed))?;
        let shape = Shape::read(&*disk)?;
        Ok(Self { fs, disk, shape, forged, known: Known::new() })
    }

    fn inode(&mut self, path: &FilePath) -> Result<Inode> {
        if let Some(ino) = self.known.get(path) {
            return Ok(Inode { ino });
        }
        let inode = self.fs.resolve(Path::new(&absolute(path))).map_err(|failed| error(&failed))?;
        self.known.put_path(path.clone(), inode.ino);
        Ok(inode)
    }

    fn metadata(&mut self, inode: Inode) -> Result<Metadata> {
        let told = self.fs.metadata(&inode).map_err(|failed| error(&failed))?;
        let core = self.core(inode.ino)?;
        let number = |at| u32::from_be_bytes(field(&core, at));
        let mode = u32::from(u16::from_be_bytes(field(&core, 2)));
        if mode != told.mode() {
            return Err(Error::corrupt("an inode of the XFS is not where it should be"));
        }
        Ok(Metadata {
            kind: Kind::of_mode(mode),
            size: told.size(),
            mode: mode & 0o7777,
            uid: number(8),
            gid: number(12),
            modified: Some(modified(&core)),
        })
    }

    /// An inode's own bytes, as the log leaves them.
    fn core(&mut self, ino: u64) -> Result<Vec<u8>> {
        let shape = &self.shape;
        let block = ino >> shape.inodes_a_block_bits;
        let within = (ino & ((1 << shape.inodes_a_block_bits) - 1)) * shape.inode_bytes;
        let mut bytes = vec![0; shape.block_bytes as usize];
        if shape.has_checksums {
            let through = Inode { ino: shape.log << shape.inodes_a_block_bits };
            *self.forged.borrow_mut() = Some(forge(shape, block));
            let read = self.fs.read_file_at(&through, 0, &mut bytes);
            self.forged.borrow_mut().take();
            if read.map_err(|failed| error(&failed))? != bytes.len() {
                return Err(Error::corrupt("a block of inodes ends too early"));
            }
        } else {
            // The older version is only read if its log holds nothing.
            let (group, block) = (block >> shape.group_bits, block & ((1 << shape.group_bits) - 1));
            let place = group.checked_mul(shape.group_blocks).and_then(|blocks| blocks.checked_add(block));
            let place = place.and_then(|blocks| blocks.checked_mul(shape.block_bytes));
            self.disk.read(place.ok_or_else(|| Error::corrupt("an inode lies nowhere"))?, &mut bytes)?;
        }
        let end = within + shape.inode_bytes;
        Ok(bytes[within as usize..end as usize].to_vec())
    }
}

/// An inode of a file whose only extent is one block.
fn forge(shape: &Shape, block: u64) -> Vec<u8> {
    let mut inode = vec![0; shape.inode_bytes as usize];
    let mut put = |at: usize, bytes: &[u8]| inode[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"IN");
    put(2, &0o100_444_u16.to_be_bytes());
    put(4, &[3, 2]); // the version, and that extents follow
    put(56, &shape.block_bytes.to_be_bytes());
    put(76, &1_u32.to_be_bytes());
    // From block 0 of the file: 54 bits; the block on the disk: 52; how many: 21.
    put(CORE_BYTES_V5, &(block >> 43).to_be_bytes());
    put(CORE_BYTES_V5 + 8, &(block << 21 | 1).to_be_bytes());
    let sum = CRC.checksum(&inode);
    inode[CORE_BYTES..CORE_BYTES + 4].copy_from_slice(&sum.to_le_bytes());
    inode
}

/// When the content changed: two words, or nanoseconds since December 1901.
fn modified(core: &[u8]) -> Time {
    const BIG_TIME: u64 = 1 << 3;
    const BIG_TIME_START: i64 = -(1 << 31);
    let is_big = core[4] >= 3 && u64::from_be_bytes(field(core, 120)) & BIG_TIME != 0;
    if is_big {
        let since = u64::from_be_bytes(field(core, 40));
        let seconds = (since / 1_000_000_000) as i64 + BIG_TIME_START;
        return Time { seconds, nanoseconds: (since % 1_000_000_000) as u32 };
    }
    let seconds = i32::from_be_bytes(field(core, 40)).into();
    Time { seconds, nanoseconds: u32::from_be_bytes(field(core, 44)).min(999_999_999) }
}

impl FileSystem for Xfs {
    fn list(&mut self, path: &FilePath) -> Result<Vec<Entry>> {
        let found = self.fs.read_dir(Path::new(&absolute(path))).map_err(|failed| error(&failed))?;
        let mut entries = Vec::new();
        for entry in found {
            self.known.put(path, &entry.name, entry.inode_number);
            let metadata = self.metadata(Inode { ino: entry.inode_number });
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
        if self.stat(path)?.kind != Kind::Link {
            return Err(not_a_link());
        }
        self.fs.read_link(Path::new(&absolute(path))).map_err(|failed| error(&failed))
    }
}

fn absolute(path: &FilePath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}

fn error(error: &lamxfs::Error) -> Error {
    use lamxfs::{Error as E, SuperblockReason as Reason};
    let refused = |why: &str| Error::refused(format!("{why}: mount it where the disk is served"));
    let kind = match error {
        E::UnsupportedFeature(token) => {
            return refused(&format!("it uses what is not read of XFS ({token})"));
        }
        E::BadSuperblock(Reason::ExternalLog) => return refused("the log of the XFS lies elsewhere"),
        E::BadSuperblock(Reason::RealtimeDevice) => return refused("a part of the XFS lies elsewhere"),
        E::BadSuperblock(Reason::DirtyLog) => {
            return refused("the XFS is of version 4 and was not unmounted, and its log is not read");
        }
        E::NotFound { .. } => ErrorKind::NotFound,
        E::NotARegularFile => return not_a_file(),
        E::FileTooLarge { .. } => ErrorKind::Limit,
        E::Io { .. } => ErrorKind::Io,
        E::NotASymlink => return not_a_link(),
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, format!("{error:?}"))
}
