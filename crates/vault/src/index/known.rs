//! What a session knows to be in the vault.
//!
//! Memory is a constant: what the session has added stays in maps up to [`FRESH_MAX`], then in sorted runs in
//! the cache (`spill.rs`).

use super::folder::Folder;
use super::merge::Merge;
use super::spill::Spill;
use super::table::Table;
use super::{Index, Limits, Location};
use crate::protocol::State;
use crate::{ChunkId, PackId, PackKind, Result, SessionId};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// Shards of what is fresh, so that compressing threads do not wait for one another.
const SHARDS: usize = 16;
/// Chunks of a session that are held in memory: 14 GiB of new data, 12 MiB of maps, twice while they are spilled
/// and as much again for sorting them: 50 MiB. Maps grow at seven eighths of a power of two, and shards differ.
pub(super) const FRESH_MAX: usize = (1 << 18) / 8 * 7 / 100 * 97;

/// Where a chunk lies in a pack of this very session.
#[derive(Clone, Copy)]
struct Place {
    /// The pack's sequence, with the top bit set for maps.
    pack: u32,
    offset: u32,
    length: u32,
}

const IS_MAP: u32 = 1 << 31;

impl Place {
    fn new(at: Location) -> Self {
        assert!(at.pack.sequence < IS_MAP, "2^31 packs are 100 PiB");
        let kind = if at.pack.kind == PackKind::Map { IS_MAP } else { 0 };
        Self { pack: at.pack.sequence | kind, offset: at.offset, length: at.length }
    }

    fn location(self, session: SessionId) -> Location {
        let kind = if self.pack & IS_MAP == 0 { PackKind::Data } else { PackKind::Map };
        let pack = PackId { kind, session, sequence: self.pack & !IS_MAP };
        Location { pack, offset: self.offset, length: self.length }
    }
}

/// What was added lately, and what is just being spilled.
#[derive(Default)]
struct Shard {
    fresh: HashMap<ChunkId, Place>,
    leaving: HashMap<ChunkId, Place>,
}

/// What a session knows to be in the vault.
pub(crate) struct Known {
    session: SessionId,
    index: Arc<Index>,
    /// What the log said when the session began.
    state: State,
    /// Packs that somebody means to delete, or meant to and died: a commit that uses them would be refused.
    intended: BTreeSet<PackId>,
    /// Packs of other sessions that were found to hold something. A commit names them.
    used: Mutex<BTreeSet<PackId>>,
    limits: Limits,
    shards: [RwLock<Shard>; SHARDS],
    fresh: AtomicUsize,
    spill: Mutex<Option<Spill>>,
    /// The runs of `spill`, for those who look something up.
    spilled: RwLock<Arc<Table>>,
}

impl Known {
    /// Starts from the runs there are, what the log says, and the intents to delete.
    pub(crate) fn new(
        session: SessionId,
        index: Arc<Index>,
        state: State,
        intended: BTreeSet<PackId>,
    ) -> Self {
        let (folder, limits): (Folder, Limits) = (index.folder.clone(), index.limits);
        Self {
            session,
            index,
            state,
            intended,
            used: Mutex::default(),
            limits,
            shards: Default::default(),
            fresh: AtomicUsize::new(0),
            spill: Mutex::new(Some(Spill::new(folder, limits, session.0))),
            spilled: RwLock::default(),
        }
    }

    fn shard(&self, id: &ChunkId) -> &RwLock<Shard> {
        &self.shards[usize::from(id.0[31]) % SHARDS]
    }

    /// Where a chunk lies, if the vault or this session has it. A cached run that cannot be read counts as
    /// one that has it not: the chunk is stored again.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Location> {
        if let Some(own) = self.own(id) {
            return Some(own);
        }
        let state = &self.state;
        let usable = |at: &Location| {
            let pack = &at.pack;
            state.is_usable(pack) && !state.retired.contains(pack) && !self.intended.contains(pack)
        };
        let found = self.index.find(id).ok()?.into_iter().find(usable)?;
        self.used.lock().expect("no holder panics").insert(found.pack);
        Some(found)
    }

    /// Where this session has put it.
    pub(crate) fn own(&self, id: &ChunkId) -> Option<Location> {
        {
            let shard = self.shard(id).read().expect("no holder panics");
            if let Some(place) = shard.fresh.get(id).or_else(|| shard.leaving.get(id)) {
                return Some(place.location(self.session));
            }
        }
        // After the shard: what leaves it stands here before it is gone there.
        let spilled = Arc::clone(&self.spilled.read().expect("no holder panics"));
        spilled.find(id).ok()?.pop()
    }

    /// Notes what this session has put into a pack.
    pub(crate) fn insert(&self, id: ChunkId, at: Location) {
        let mut shard = self.shard(&id).write().expect("no holder panics");
        if shard.fresh.insert(id, Place::new(at)).is_none() {
            self.fresh.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes room in memory if there is need. Takes a tenth of a second now and then, seconds when levels are
    /// merged; others go on until memory is full again, and then wait.
    pub(crate) fn make_room(&self) {
        let is_full = || self.fresh.load(Ordering::Relaxed) >= self.limits.fresh;
        if !is_full() {
            return;
        }
        let mut spill = self.spill.lock().expect("no holder panics");
        if let Some(spill) = spill.as_mut().filter(|_| is_full()) {
            let mut entries = self.leave();
            spill.add(&mut entries);
            // An error leaves a level unmerged: more to look through, nothing lost.
            let _ = spill.settle();
            *self.spilled.write().expect("no holder panics") = Arc::new(Table::new(spill.runs()));
            for shard in &self.shards {
                shard.write().expect("no holder panics").leaving = HashMap::new();
            }
        }
    }

    /// Everything fresh; it can still be found, as what is leaving.
    fn leave(&self) -> Vec<(ChunkId, Location)> {
        self.fresh.store(0, Ordering::Relaxed);
        let mut entries = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.write().expect("no holder panics");
            shard.leaving = std::mem::take(&mut shard.fresh);
            entries.extend(shard.leaving.iter().map(|(id, place)| (*id, place.location(self.session))));
        }
        entries
    }

    /// Everything this session has added, in order. Nothing may be added any more.
    pub(super) fn take_added(&self) -> Result<Merge> {
        let mut spill = self.spill.lock().expect("no holder panics").take().expect("taken once, at commit");
        let mut entries = self.leave();
        spill.add(&mut entries);
        *self.spilled.write().expect("no holder panics") = Arc::new(Table::new(spill.runs()));
        spill.into_merge()
    }

    /// Whether what it has spilled cannot be read any more.
    pub(crate) fn has_lost(&self) -> bool {
        self.spilled.read().expect("no holder panics").has_broken()
    }

    /// The packs of other sessions it has found something in.
    pub(crate) fn used(&self) -> BTreeSet<PackId> {
        self.used.lock().expect("no holder panics").clone()
    }
}
