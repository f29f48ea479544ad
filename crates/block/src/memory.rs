//! A disk in memory: the simplest source and sink, and the oracle of tests.

use crate::{BlockSink, BlockSource, Extent, ExtentKind, Result, check_range, coalesce};
use async_trait::async_trait;
use std::sync::RwLock;

/// Zeros are recognised in blocks of this many bytes.
const BLOCK: usize = 4096;

/// A disk held in memory, zero at first.
#[derive(Debug)]
pub struct MemoryDisk {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDisk {
    /// A disk of `size` zero bytes.
    pub fn new(size: usize) -> Self {
        Self::from(vec![0; size])
    }

    /// A copy of all its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.read().expect("no holder panics").clone()
    }
}

impl From<Vec<u8>> for MemoryDisk {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: RwLock::new(bytes) }
    }
}

/// A checked range as indices into memory.
fn span(disk: &MemoryDisk, offset: u64, length: u64) -> Result<std::ops::Range<usize>> {
    check_range(BlockSource::size(disk), offset, length)?;
    let start = usize::try_from(offset).expect("the range lies in memory");
    Ok(start..start + usize::try_from(length).expect("the range lies in memory"))
}

#[async_trait]
impl BlockSource for MemoryDisk {
    fn size(&self) -> u64 {
        self.bytes.read().expect("no holder panics").len() as u64
    }

    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        let span = span(self, offset, length)?;
        let bytes = self.bytes.read().expect("no holder panics");
        let mut at = offset;
        Ok(coalesce(bytes[span].chunks(BLOCK).map(|block| {
            let kind = if block.iter().all(|&b| b == 0) { ExtentKind::Zero } else { ExtentKind::Data };
            at += block.len() as u64;
            Extent::new(at - block.len() as u64, block.len() as u64, kind)
        })))
    }

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let span = span(self, offset, buffer.len() as u64)?;
        buffer.copy_from_slice(&self.bytes.read().expect("no holder panics")[span]);
        Ok(buffer)
    }
}

#[async_trait]
impl BlockSink for MemoryDisk {
    fn size(&self) -> u64 {
        BlockSource::size(self)
    }

    async fn write(&self, offset: u64, data: Vec<u8>) -> Result<Vec<u8>> {
        let span = span(self, offset, data.len() as u64)?;
        self.bytes.write().expect("no holder panics")[span].copy_from_slice(&data);
        Ok(data)
    }

    async fn zero(&self, offset: u64, length: u64) -> Result<()> {
        let span = span(self, offset, length)?;
        self.bytes.write().expect("no holder panics")[span].fill(0);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}
