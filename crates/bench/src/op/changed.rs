//! A disk of which it is known what changed.

use anyhow::{Context, Result};
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, FileDisk};
use std::path::Path;

/// A disk of which it is known what changed.
pub(crate) struct Changed {
    disk: FileDisk,
    /// In order, apart from one another.
    changes: Vec<(u64, u64)>,
}

impl Changed {
    pub(crate) fn read(disk: FileDisk, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let line = |line: &str| {
            let (offset, length) = line.split_once(' ').context("two numbers a line")?;
            anyhow::Ok((offset.parse()?, length.parse()?))
        };
        Ok(Self { disk, changes: text.lines().map(line).collect::<Result<_>>()? })
    }
}

#[async_trait]
impl BlockSource for Changed {
    fn size(&self) -> u64 {
        BlockSource::size(&self.disk)
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        let end = offset + length;
        let mut extents = Vec::new();
        let mut at = offset;
        let first = self.changes.partition_point(|(start, length)| start + length <= offset);
        for (start, length) in self.changes[first..].iter().take_while(|(start, _)| *start < end) {
            let (start, stop) = ((*start).max(at), (start + length).min(end));
            if start > at {
                extents.push(Extent::new(at, start - at, ExtentKind::Unchanged));
            }
            extents.push(Extent::new(start, stop - start, ExtentKind::Data));
            at = stop;
        }
        if at < end {
            extents.push(Extent::new(at, end - at, ExtentKind::Unchanged));
        }
        Ok(extents)
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        self.disk.read(offset, buffer).await
    }
}
