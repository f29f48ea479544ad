//! Where chunks and nodes lie, as the packs themselves say: their tables of contents, read by ranges.

use crate::index::Location;
use crate::vault::Vault;
use crate::{ChunkId, ErrorKind, PackId, Result};
use futures_util::stream::{self, StreamExt, TryStreamExt};

/// Tables read at once: each at most a fraction of a pack of 48 MiB.
const TABLES_AT_ONCE: usize = 8;

/// The tables of contents of all packs that are there and whose tables can be read. 44 bytes a chunk.
pub(crate) struct Tables {
    packs: Vec<PackId>,
    /// By id: the row of its pack, its offset, its length.
    entries: Vec<(ChunkId, u32, u32, u32)>,
}

impl Tables {
    /// Reads them. A pack whose table is damaged is passed over: what it holds is found by hints or not at all.
    pub(crate) async fn read(vault: &Vault) -> Result<Self> {
        let mut listed = Vec::new();
        for folder in ["packs", "maps"] {
            let objects = vault.store().list(folder).await?;
            listed.extend(
                objects.into_iter().filter_map(|(name, size)| Some((PackId::from_object(&name)?, size))),
            );
        }
        let read = |(pack, size): (PackId, u64)| async move {
            match vault.read_table(pack, size).await {
                Err(error) if matches!(error.kind(), ErrorKind::Store | ErrorKind::Denied) => Err(error),
                Err(_) => Ok(None),
                Ok(table) => Ok(Some((pack, table))),
            }
        };
        let mut tables = stream::iter(listed).map(read).buffer_unordered(TABLES_AT_ONCE);
        let mut all = Self { packs: Vec::new(), entries: Vec::new() };
        while let Some(table) = tables.try_next().await? {
            let Some((pack, table)) = table else { continue };
            let row = u32::try_from(all.packs.len()).expect("far fewer packs than 2^32");
            all.packs.push(pack);
            all.entries.extend(table.into_iter().map(|(id, at)| (id, row, at.offset, at.length)));
        }
        all.entries.sort_unstable();
        Ok(all)
    }

    /// Everywhere a chunk lies.
    pub(crate) fn find(&self, id: &ChunkId) -> Vec<Location> {
        let first = self.entries.partition_point(|entry| entry.0 < *id);
        let same = self.entries[first..].iter().take_while(|entry| entry.0 == *id);
        let place = |&(_, row, offset, length): &(ChunkId, u32, u32, u32)| Location {
            pack: self.packs[row as usize],
            offset,
            length,
        };
        same.map(place).collect()
    }
}
