//! The index: which chunks the vault has, and where. A cache: the tables of contents of the packs are
//! the truth, and it can be rebuilt from them.
//!
//! It is made of immutable sorted **runs**. Each session publishes what it added as a group of them; groups of
//! like size are merged, so that there are few to look through however many sessions there were. Each run in
//! the store has a copy at hand, a file of the local cache that is read by position: memory holds an eighth of a
//! byte a chunk, never a map of everything.
//!
//! | file | holds |
//! | --- | --- |
//! | `body.rs` | a run as it lies in the store |
//! | `run.rs`, `filter.rs`, `folder.rs`, `table.rs` | runs at hand: looked up in, checked, kept |
//! | `shelf.rs` | which runs there are: in step with the store |
//! | `known.rs`, `spill.rs` | what a session knows, and what it adds |
//! | `merge.rs` | many runs as one order |
//! | `levels.rs`, `publish.rs` | which runs are due to be merged; putting runs, and deleting what they replace |
//! | `rebuild.rs` | the index anew, from the packs |
//!
//! INVARIANT: whoever finds something here believes only packs that the log lets it use. But for chunks of retired
//! packs, which are found here alone, nothing but the speed of readers and the deduplication of writers depends on it.

mod body;
mod filter;
mod folder;
mod known;
mod levels;
#[cfg(test)]
mod measure;
mod merge;
mod name;
mod publish;
mod rebuild;
mod run;
mod shelf;
mod spill;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use known::Known;
pub(crate) use levels::Extent;
pub use rebuild::Rebuilt;
pub(crate) use shelf::Shelf;
#[cfg(test)]
pub(crate) use tests::{fuzz_body, fuzz_run};

use crate::{ChunkId, PackId, Result};
use folder::Folder;
use name::RunName;
use run::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use table::Table;
use uuid::Uuid;

/// Where a sealed chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// How large things grow; smaller in tests.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Chunks of a session in memory.
    fresh: usize,
    /// Entries of a run that is written: half of what a run may have, since fetching one takes its object, its
    /// body and a copy, 70 MiB.
    run_entries: usize,
    /// So many groups of like size are merged: few enough to look through seven of each size, enough that an
    /// entry is written again but five times on the way to a hundred million.
    fan_in: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fresh: known::FRESH_MAX, run_entries: body::RUN_ENTRIES_MAX / 2, fan_in: 8 }
    }
}

/// The runs that there were when somebody looked.
pub(crate) struct Index {
    folder: Folder,
    limits: Limits,
    /// Those that count.
    runs: BTreeMap<RunName, Arc<Run>>,
    table: Table,
    /// Those that others stand for, but are in the store still; by the group that stands for them.
    replaced: BTreeMap<Uuid, BTreeSet<RunName>>,
    /// Those that cannot be read.
    damaged: BTreeSet<RunName>,
}

impl Index {
    /// Every place at which a run says that the chunk lies. Whether it may be used, or is there still, only the
    /// log and the store can say.
    ///
    /// # Errors
    /// `Store` if the local copy of a run cannot be read. [`Vault::index`](crate::Vault::index) fetches it again.
    pub(crate) fn find(&self, id: &ChunkId) -> Result<Vec<Location>> {
        self.table.find(id)
    }

    /// A run that cannot be read: what it says, nobody knows.
    pub(crate) fn damaged_run(&self) -> Option<String> {
        self.damaged.first().map(RunName::object)
    }

    /// Whether every run of a group is at hand, and so everything can be found that it names.
    pub(crate) fn has_whole(&self, group: Uuid) -> bool {
        let has = |sequence| self.runs.get(&RunName { group, sequence });
        has(0).is_some_and(|first| (1..=first.others()).all(|sequence| has(sequence).is_some()))
    }

    /// The runs of a group.
    fn group(&self, group: Uuid) -> impl Iterator<Item = (&RunName, &Arc<Run>)> {
        let bounds = [0, u32::MAX].map(|sequence| RunName { group, sequence });
        self.runs.range(bounds[0]..=bounds[1])
    }
}
