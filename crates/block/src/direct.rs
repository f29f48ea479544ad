//! Reads and writes of files past the page cache.
//!
//! A disk that is backed up or restored passes once. Through the page cache each of its bytes is copied into memory that
//! the kernel has to find first, and pushes out what machines on the same host use: buffered, a virtual machine reads half
//! as fast (570 and 1000 MB/s, ext4).

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Memory, offsets and lengths must be multiples of a device's block; none is known that is larger.
pub const BLOCK_BYTES: usize = 4096;

/// Memory that begins at a block.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Zeros, so many; a multiple of [`BLOCK_BYTES`].
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + BLOCK_BYTES];
        let start = bytes.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
        Self { bytes, start }
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.bytes.len() - BLOCK_BYTES
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let end = self.start + self.len();
        &mut self.bytes[self.start..end]
    }

    /// The memory, and where in it the first block begins.
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }
}

/// The same file, opened anew for direct I/O, to be written to if it was. `None` where its file system has none, or it may
/// not be opened again.
pub fn reopen(file: &File) -> Option<File> {
    let write = rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::RDWR));
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(OFlags::DIRECT.bits().cast_signed());
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Reads until `buffer` is full or the file ends; says how much. `buffer` and `offset` are of whole blocks.
pub fn read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut held = 0;
    // Where the file ends within a block, so does what is read; behind it nothing is asked for.
    while held < buffer.len() && held.is_multiple_of(BLOCK_BYTES) {
        match file.read_at(&mut buffer[held..], offset + held as u64) {
            Ok(0) => break,
            Ok(more) => held += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}
