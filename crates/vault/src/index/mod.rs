//! The index: which chunks the vault has, and where. A cache: the tables of contents of the packs are
//! the truth, and it can be rebuilt from them.
//!
//! Each session publishes what it added as sorted runs (`run.rs`). A writer looks a chunk up in what its
//! own session has written, then in the runs there were when it began; of those it believes only packs that
//! the log lets it use.

mod run;

pub(crate) use run::{RUN_BODY_BYTES_MAX, RUN_ENTRIES_MAX, Run, encode_run};

use crate::protocol::State;
use crate::{ChunkId, PackId};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, RwLock};

/// Where a sealed chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// Every run there is.
#[derive(Default)]
pub(crate) struct Index {
    runs: Vec<Run>,
}

impl Index {
    pub(crate) fn new(runs: Vec<Run>) -> Self {
        Self { runs }
    }

    /// Every place at which a run says that the chunk lies. Whether it may be used, or is there still, only the
    /// log and the store can say.
    pub(crate) fn find(&self, id: &ChunkId) -> Vec<Location> {
        self.runs.iter().filter_map(|run| run.get(id)).collect()
    }
}

/// What a session knows to be in the vault.
pub(crate) struct Known {
    index: Index,
    /// What the log said when the session began.
    state: State,
    /// Packs that somebody means to delete, or meant to and died: a commit that uses them would be refused.
    intended: BTreeSet<PackId>,
    /// Packs of other sessions that were found to hold something. A commit names them.
    used: Mutex<BTreeSet<PackId>>,
    // Sixteen shards, so that compressing threads do not wait for one another.
    fresh: [RwLock<HashMap<ChunkId, Location>>; 16],
}

impl Known {
    /// Starts from the runs there are, what the log says, and the intents to delete.
    pub(crate) fn new(index: Index, state: State, intended: BTreeSet<PackId>) -> Self {
        Self { index, state, intended, used: Mutex::default(), fresh: Default::default() }
    }

    fn shard(&self, id: &ChunkId) -> &RwLock<HashMap<ChunkId, Location>> {
        &self.fresh[usize::from(id.0[31] & 15)]
    }

    /// Where this session has put a chunk.
    pub(crate) fn own(&self, id: &ChunkId) -> Option<Location> {
        self.shard(id).read().expect("no holder panics").get(id).copied()
    }

    /// Where a chunk lies, if the vault or this session has it.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Location> {
        self.own(id).or_else(|| {
            let state = &self.state;
            let usable = |at: &Location| {
                let pack = &at.pack;
                state.is_usable(pack) && !state.retired.contains(pack) && !self.intended.contains(pack)
            };
            let found = self.index.find(id).into_iter().find(usable)?;
            self.used.lock().expect("no holder panics").insert(found.pack);
            Some(found)
        })
    }

    /// Notes what this session has put into a pack.
    pub(crate) fn insert(&self, id: ChunkId, location: Location) {
        self.shard(&id).write().expect("no holder panics").insert(id, location);
    }

    /// Everything this session has added, sorted by id.
    pub(crate) fn fresh(&self) -> Vec<(ChunkId, Location)> {
        let mut all = Vec::new();
        for shard in &self.fresh {
            all.extend(shard.read().expect("no holder panics").iter().map(|(id, at)| (*id, *at)));
        }
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// The packs of other sessions it has found something in.
    pub(crate) fn used(&self) -> BTreeSet<PackId> {
        self.used.lock().expect("no holder panics").clone()
    }
}
