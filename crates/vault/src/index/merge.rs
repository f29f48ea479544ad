//! Many runs become one order of entries, in a stream.
//!
//! Memory is a few hundred KiB and the table of packs for each chain of runs, whatever their size.

use super::Location;
use super::body::{Body, BodyBuilder, ENTRY_BYTES, id_of, location_of, row_of};
use super::run::Run;
use crate::{ChunkId, PackId, Result};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// Buckets that are read at once: 88 KiB.
const BUCKETS_READ: usize = 32;

/// Whose entries are worth keeping.
pub(super) type Keep = Box<dyn Fn(&PackId) -> bool + Send + Sync>;

/// Entries of many runs, ascending by id, none twice.
pub(super) struct Merge {
    keep: Keep,
    chains: Vec<Chain>,
    /// The next id of each chain that has one.
    heap: BinaryHeap<Reverse<(ChunkId, usize)>>,
    /// Where the last id that was given lies.
    given: (Option<ChunkId>, Vec<Location>),
}

impl Merge {
    /// The entries of `runs` whose packs `keep` likes.
    pub(super) fn new(mut runs: Vec<Arc<Run>>, keep: Keep) -> Result<Self> {
        // Runs that follow one another need one place in memory: a group of hundreds is one chain.
        let mut waiting: Vec<(u32, VecDeque<Arc<Run>>)> = Vec::new();
        runs.sort_by_key(|run| run.range());
        for run in runs {
            let Some((first, last)) = run.range() else { continue };
            match waiting.iter_mut().find(|(end, _)| *end < first) {
                Some((end, chain)) => {
                    *end = last;
                    chain.push_back(run);
                }
                None => waiting.push((last, VecDeque::from([run]))),
            }
        }
        let chains = waiting.into_iter().map(|(_, rest)| Chain { rest, ..Chain::default() }).collect();
        let mut merge = Self { keep, chains, heap: BinaryHeap::new(), given: (None, Vec::new()) };
        for chain in 0..merge.chains.len() {
            merge.advance(chain)?;
        }
        Ok(merge)
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.heap.is_empty()
    }

    /// The next entries, at most so many.
    ///
    /// # Errors
    /// `Store` if a run cannot be read. Nothing is ever left out instead.
    pub(super) fn body(&mut self, entries_max: usize) -> Result<Body> {
        let mut body = BodyBuilder::default();
        while body.count() < entries_max
            && let Some(Reverse((id, chain))) = self.heap.pop()
        {
            let at = self.chains[chain].at.expect("it stands in the heap");
            let (last, places) = &mut self.given;
            if *last != Some(id) {
                *last = Some(id);
                places.clear();
            }
            if !places.contains(&at) {
                places.push(at);
                body.push(&id, at);
            }
            self.advance(chain)?;
        }
        Ok(body.finish())
    }

    fn advance(&mut self, chain: usize) -> Result<()> {
        let next = self.chains[chain].next(&self.keep)?;
        self.heap.extend(next.map(|id| Reverse((id, chain))));
        Ok(())
    }
}

/// Runs that follow one another, and how far they have been read.
#[derive(Default)]
struct Chain {
    rest: VecDeque<Arc<Run>>,
    run: Option<Arc<Run>>,
    /// The run's packs; nothing where its entries are not wanted.
    packs: Vec<Option<PackId>>,
    next_bucket: usize,
    entries: Vec<u8>,
    next_entry: usize,
    at: Option<Location>,
}

impl Chain {
    /// The next entry that is wanted; `at` says where it lies.
    fn next(&mut self, keep: &Keep) -> Result<Option<ChunkId>> {
        loop {
            if let Some(entry) = self.entries[self.next_entry..].first_chunk::<ENTRY_BYTES>() {
                self.next_entry += ENTRY_BYTES;
                let Some(pack) = self.packs[row_of(entry)] else { continue };
                self.at = Some(location_of(entry, pack));
                return Ok(Some(ChunkId(id_of(entry).try_into().expect("ids have 32 bytes"))));
            }
            if !self.refill(keep)? {
                return Ok(None);
            }
        }
    }

    /// Reads on; `false` at the end.
    fn refill(&mut self, keep: &Keep) -> Result<bool> {
        (self.entries, self.next_entry) = (Vec::new(), 0);
        if let Some(run) = &self.run
            && self.next_bucket < run.bucket_count()
        {
            self.entries = run.buckets(self.next_bucket, BUCKETS_READ)?;
            self.next_bucket += BUCKETS_READ;
            return Ok(true);
        }
        self.run = self.rest.pop_front();
        let Some(run) = &self.run else { return Ok(false) };
        self.packs = run.packs()?.into_iter().map(|pack| keep(&pack).then_some(pack)).collect();
        self.next_bucket = 0;
        Ok(true)
    }
}
