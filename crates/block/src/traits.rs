//! The two traits that everything with blocks implements.

use crate::{Error, ErrorKind, Extent, Result};
use async_trait::async_trait;

/// Something blocks can be read from: a disk at one instant.
///
/// Offsets and lengths are bytes. Many reads may be under way at once.
#[async_trait]
pub trait BlockSource: Send + Sync {
    /// Size in bytes. Never changes while the source exists.
    fn size(&self) -> u64;

    /// What lies in `length` bytes from `offset`: extents in order, without gaps, covering exactly
    /// that range. A source that cannot tell says `Data`. `Unchanged` is only said by a source that
    /// knows of an earlier instant, and means "as it was then".
    ///
    /// # Errors
    /// `Invalid` for an empty range or one outside the disk.
    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>>;

    /// Fills the whole of `buffer` from `offset` and gives it back. Holes read as zeros.
    ///
    /// # Errors
    /// `Invalid` for a range outside the disk; `Corrupt` where the bytes are not what was written:
    /// never other bytes instead.
    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>>;
}

/// Something blocks can be written to.
#[async_trait]
pub trait BlockSink: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Writes all of `data` at `offset` and gives the buffer back for reuse. Once it returns, reads
    /// see the bytes; they are durable only after [`flush`](Self::flush).
    async fn write(&self, offset: u64, data: Vec<u8>) -> Result<Vec<u8>>;

    /// Makes the range read as zeros, giving up its space where the sink can.
    async fn zero(&self, offset: u64, length: u64) -> Result<()>;

    /// Returns when everything written so far survives a power cut.
    async fn flush(&self) -> Result<()>;
}

/// Refuses a range that is empty or does not lie within `size` bytes.
pub fn check_range(size: u64, offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if length > 0 && end <= size => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("range of {length} bytes at {offset} does not lie in a disk of {size} bytes"),
        )),
    }
}
