//! The index: which chunks the vault has, and where. A cache: the tables of contents of the packs are
//! the truth, and it can be rebuilt from them.
//!
//! Each session publishes what it added as sorted runs (`run.rs`). A writer looks a chunk up in what its
//! own session has written, then in the runs there were when it began.

mod run;

pub(crate) use run::{RUN_BODY_BYTES_MAX, RUN_ENTRIES_MAX, Run, encode_run};

use crate::{ChunkId, PackId};
use std::collections::HashMap;
use std::sync::RwLock;

/// Where a sealed chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// What a session knows to be in the vault.
pub(crate) struct Known {
    runs: Vec<Run>,
    // Sixteen shards, so that compressing threads do not wait for one another.
    fresh: [RwLock<HashMap<ChunkId, Location>>; 16],
}

impl Known {
    /// Starts from the runs there are.
    pub(crate) fn new(runs: Vec<Run>) -> Self {
        Self { runs, fresh: Default::default() }
    }

    fn shard(&self, id: &ChunkId) -> &RwLock<HashMap<ChunkId, Location>> {
        &self.fresh[usize::from(id.0[31] & 15)]
    }

    /// Where a chunk lies, if the vault or this session has it.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Location> {
        let fresh = self.shard(id).read().expect("no holder panics").get(id).copied();
        fresh.or_else(|| self.runs.iter().find_map(|run| run.get(id)))
    }

    /// Notes what this session has put into a pack.
    pub(crate) fn insert(&self, id: ChunkId, location: Location) {
        self.shard(&id).write().expect("no holder panics").insert(id, location);
    }

    /// Everything this session has added, sorted by id.
    pub(crate) fn into_fresh(self) -> Vec<(ChunkId, Location)> {
        let shards = self.fresh.into_iter().map(|shard| shard.into_inner().expect("no holder panics"));
        let mut all: Vec<_> = shards.flatten().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}
