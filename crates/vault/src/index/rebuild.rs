//! The index anew, from the tables of contents of the packs.
//!
//! The runs that are to go are listed before the packs: whatever they name was durable by then, so that the packs
//! listed afterwards hold all of it. CRASH: as of a merge (`publish.rs`).

use super::Location;
use super::RunName;
use super::body::REPLACED_MAX;
use super::levels::is_wanted;
use super::spill::Spill;
use crate::copies::is_missed;
use crate::log::Told;
use crate::pack::{TAIL_BYTES, Tail, object_name, read_tail};
use crate::seal::{HEAD_BYTES, ObjectKey};
use crate::vault::Vault;
use crate::{ChunkId, Damage, ErrorKind, PackId, Result, work};
use futures_util::stream::{self, StreamExt};
use uuid::Uuid;

/// Packs whose tables are read at once: 16 MiB where they are full of map nodes.
const READS_MAX: usize = 16;

/// What a rebuild found.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// Packs read.
    pub packs: u64,
    /// Chunks and map nodes in them.
    pub chunks: u64,
    /// Runs of the old index that are gone.
    pub replaced: u64,
    /// Packs whose tables cannot be read: what they hold is stored again where it is needed.
    pub damage: Vec<Damage>,
}

impl Vault {
    /// Makes the index anew from the packs, and deletes the old one. Safe beside anything else.
    ///
    /// `progress` is told the bytes of each pack that is done with; few of them are read.
    pub async fn rebuild_index(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Rebuilt> {
        let old: Vec<RunName> = self.list_runs().await?.into_keys().take(REPLACED_MAX).collect();
        let packs = self.list_packs().await?;
        // After the packs: of what is gone for ever, nothing need be read.
        let state = self.read_log(Told::default()).await?.state;
        let group = self.ids().draw();
        let wanted = packs.into_iter().filter(|(pack, _)| is_wanted(&state, pack));
        let (spill, mut rebuilt) = self.gather(group, wanted.collect(), progress).await?;
        // Where a table cannot be read, the old runs may know what it said.
        let replaced = if rebuilt.damage.is_empty() { old } else { Vec::new() };
        rebuilt.replaced = replaced.len() as u64;
        self.put_group(group, spill.into_merge()?, replaced).await?;
        let index = self.index().await?;
        self.delete_replaced(&index).await?;
        Ok(rebuilt)
    }

    /// Puts what these packs hold into the index, beside what it says already. Gives how many chunks that are.
    pub(crate) async fn index_packs(&self, packs: Vec<(PackId, u64)>) -> Result<u64> {
        let group = self.ids().draw();
        let (spill, gathered) = self.gather(group, packs, &|_| ()).await?;
        self.put_group(group, spill.into_merge()?, Vec::new()).await?;
        Ok(gathered.chunks)
    }

    /// Reads the tables of packs.
    async fn gather(
        &self,
        group: Uuid,
        packs: Vec<(PackId, u64)>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(Spill, Rebuilt)> {
        let mut rebuilt = Rebuilt::default();
        let mut spill = Spill::new(self.shelf().folder.clone(), self.shelf().limits, group);
        let mut entries: Vec<(ChunkId, Location)> = Vec::new();
        let read = |(pack, size)| async move { (pack, size, self.read_table(pack, size).await) };
        let mut tables = stream::iter(packs).map(read).buffer_unordered(READS_MAX);
        while let Some((pack, size, table)) = tables.next().await {
            progress(size);
            match table {
                Ok(table) => {
                    rebuilt.packs += 1;
                    rebuilt.chunks += table.len() as u64;
                    entries.extend(table);
                }
                // Collected since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if is_missed(&error) => {
                    rebuilt.damage.push(Damage { object: pack.object(), found: error.to_string() });
                }
                Err(error) => return Err(error),
            }
            if entries.len() >= self.shelf().limits.fresh {
                (spill, entries) = spilled(spill, entries).await?;
            }
        }
        drop(tables);
        let (spill, _) = spilled(spill, entries).await?;
        Ok((spill, rebuilt))
    }

    /// The table of contents of a pack, from its end: one request, two if it is long, and one for its head.
    pub(crate) async fn read_table(&self, pack: PackId, size: u64) -> Result<Vec<(ChunkId, Location)>> {
        let object = pack.object();
        let head = self.store().get_range(&object, 0..HEAD_BYTES as u64).await?;
        let open = |keys: &_| ObjectKey::open(keys, self.id(), object_name(pack), &head);
        let key = self.open_fresh(open).await?;
        let mut from = size.saturating_sub(TAIL_BYTES);
        loop {
            let end = self.store().get_range(&object, from..size).await?;
            match read_tail(&key, pack, size, &end)? {
                Tail::Whole(entries) => return Ok(entries),
                Tail::From(start) => from = start,
            }
        }
    }
}

/// Moves entries out of memory.
async fn spilled(
    mut spill: Spill,
    mut entries: Vec<(ChunkId, Location)>,
) -> Result<(Spill, Vec<(ChunkId, Location)>)> {
    let work = work::run(move || {
        spill.add(&mut entries);
        entries.clear();
        spill.settle().map(|()| (spill, entries))
    });
    work.await
}
