//! The shelf: the runs at hand, kept in step with the store.
//!
//! A run that is in the store and not on the shelf is opened in the cache, else fetched; what is gone from the
//! store goes from the shelf. Runs that a whole group stands for do not count, and are not fetched.

use super::body::{Body, RUN_BODY_BYTES_MAX};
use super::folder::Folder;
use super::run::Run;
use super::table::Table;
use super::{Index, Limits, RunName};
use crate::record::open_record;
use crate::seal::HEAD_BYTES;
use crate::vault::Vault;
use crate::{Error, ErrorKind, Result, VaultId, work};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Runs fetched at once, if they are small.
const FETCHES_MAX: usize = 16;
/// Bytes of objects being fetched and opened at once, a MiB at least each; one of them may be larger. Three
/// times as much memory.
const FETCH_MIB_MAX: u32 = 24;
/// How often the store is listed again because runs vanished while they were read. Each time somebody has merged
/// meanwhile, which takes longer than looking.
const LOOKS_MAX: u32 = 10;

/// How often a run is fetched that turns out to be damaged: a store may give wrong bytes once.
const DAMAGED_TRIES: u32 = 2;

/// The runs at hand, and what belongs to them.
pub(crate) struct Shelf {
    pub(super) folder: Folder,
    pub(super) limits: Limits,
    held: tokio::sync::Mutex<Held>,
    /// Whoever merges in this process.
    pub(super) merging: tokio::sync::Mutex<()>,
    trouble: Mutex<Option<Error>>,
}

/// What is on the shelf.
#[derive(Default)]
struct Held {
    listed: BTreeSet<RunName>,
    runs: BTreeMap<RunName, Arc<Run>>,
    /// Runs that cannot be read, and how often that was tried.
    damaged: BTreeMap<RunName, u32>,
}

/// What became of a run that was fetched.
enum Fetched {
    Run(Box<Run>),
    Damaged,
    Gone,
}

impl Shelf {
    /// An empty one, in memory.
    pub(crate) fn new(vault: VaultId) -> Self {
        Self {
            folder: Folder::none(vault),
            limits: Limits::default(),
            held: tokio::sync::Mutex::default(),
            merging: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The same, for a vault with a cache.
    pub(crate) fn below(cache: &Path, vault: VaultId) -> Self {
        Self { folder: Folder::below(cache, vault), ..Self::new(vault) }
    }

    #[cfg(test)]
    pub(crate) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What is at hand, without a look at the store.
    pub(super) async fn index(&self) -> Index {
        self.index_of(&*self.held.lock().await)
    }

    fn index_of(&self, held: &Held) -> Index {
        let mut replaced = BTreeMap::new();
        for (group, names) in held.replacements() {
            let left: BTreeSet<RunName> = names.filter(|name| held.listed.contains(name)).collect();
            replaced.insert(group, left);
        }
        let runs: BTreeMap<_, _> = held.runs.iter().map(|(name, run)| (*name, Arc::clone(run))).collect();
        let (table, damaged) = (Table::new(runs.values().cloned()), held.damaged.keys().copied().collect());
        Index { folder: self.folder.clone(), limits: self.limits, runs, table, replaced, damaged }
    }

    /// Takes a run in that was put.
    pub(super) async fn adopt(&self, run: Run) {
        let mut held = self.held.lock().await;
        held.listed.insert(run.name);
        held.runs.insert(run.name, Arc::new(run));
        held.drop_replaced();
    }

    /// Forgets a run whose object has turned out to be damaged.
    pub(super) async fn forget(&self, name: RunName) {
        let mut held = self.held.lock().await;
        held.runs.remove(&name);
        self.folder.remove(name);
    }

    /// Notes what went wrong where only speed and space were at stake.
    pub(crate) fn complain(&self, error: Error) {
        *self.trouble.lock().expect("no holder panics") = Some(error);
    }

    pub(crate) fn take_trouble(&self) -> Option<Error> {
        self.trouble.lock().expect("no holder panics").take()
    }
}

impl Held {
    /// Whole groups that stand for other runs, and these.
    fn replacements(&self) -> impl Iterator<Item = (Uuid, impl Iterator<Item = RunName>)> {
        let is_whole = |run: &&Arc<Run>| {
            let other = |sequence| RunName { sequence, ..run.name };
            (1..=run.others()).all(|sequence| self.runs.contains_key(&other(sequence)))
        };
        let heads = self.runs.values().filter(|run| run.name.sequence == 0 && !run.replaces.is_empty());
        heads.filter(is_whole).map(|run| {
            let others = run.replaces.iter().copied().filter(|name| name.group != run.name.group);
            (run.name.group, others)
        })
    }

    fn replaced(&self) -> BTreeSet<RunName> {
        self.replacements().flat_map(|(_, names)| names).collect()
    }

    /// Runs whose files could not be read, or have rotted.
    fn broken(&self) -> Vec<RunName> {
        self.runs.values().filter(|run| run.is_broken()).map(|run| run.name).collect()
    }

    fn drop_replaced(&mut self) {
        for name in self.replaced() {
            self.runs.remove(&name);
            self.damaged.remove(&name);
        }
    }

    /// Whether a run is known to be damaged in the store. Names are never used again: it stays so.
    fn is_damaged(&self, name: &RunName) -> bool {
        self.damaged.get(name).is_some_and(|tries| *tries >= DAMAGED_TRIES)
    }
}

impl Vault {
    /// What went wrong with the index since somebody last asked: a cache that could not be tidied costs speed and
    /// space, and fails no work.
    pub fn index_trouble(&self) -> Option<Error> {
        self.shelf().take_trouble()
    }

    /// The index as it is now. A run that is damaged is passed over: what only it names is stored again, and
    /// nothing else depends on it. `scrub` names it.
    ///
    /// A merge that happens between the pages of a listing can hide its runs from it, old and new: then
    /// chunks are not found that are there.
    pub(crate) async fn index(&self) -> Result<Arc<Index>> {
        let shelf = self.shelf();
        let mut held = shelf.held.lock().await;
        for look in 1..=LOOKS_MAX {
            let listed = self.list_runs().await?;
            let vanished = !held.runs.keys().all(|name| listed.contains_key(name));
            for name in held.broken() {
                held.runs.remove(&name);
                shelf.folder.remove(name);
            }
            held.runs.retain(|name, _| listed.contains_key(name));
            held.damaged.retain(|name, _| listed.contains_key(name));
            held.listed = listed.keys().copied().collect();
            let replaced = held.replaced();
            let is_here = |name: &RunName| held.runs.contains_key(name) || held.is_damaged(name);
            let is_missing = |name: &RunName| !is_here(name) && !replaced.contains(name);
            let missing = listed.into_iter().filter(|(name, _)| is_missing(name)).collect();
            let all_there = self.fetch_runs(&mut held, missing).await?;
            held.drop_replaced();
            if (all_there && !vanished) || look == LOOKS_MAX {
                break;
            }
        }
        let index = Arc::new(shelf.index_of(&held));
        shelf.folder.sweep(&held.runs.keys().copied().collect());
        Ok(index)
    }

    /// The runs in the store, and the bytes of their objects.
    pub(super) async fn list_runs(&self) -> Result<BTreeMap<RunName, u64>> {
        let objects = self.store().list("index").await?;
        let named = objects.into_iter().filter_map(|(name, size)| Some((RunName::from_object(&name)?, size)));
        Ok(named.collect())
    }

    /// Brings runs onto the shelf; `false` if any was gone.
    async fn fetch_runs(&self, held: &mut Held, missing: BTreeMap<RunName, u64>) -> Result<bool> {
        let budget = Semaphore::new(FETCH_MIB_MAX as usize);
        let fetch = |(name, size): (RunName, u64)| {
            let budget = &budget;
            async move {
                let mib = u32::try_from(size >> 20).unwrap_or(u32::MAX).clamp(1, FETCH_MIB_MAX);
                let _share = budget.acquire_many(mib).await.expect("never closed");
                Ok::<_, Error>((name, self.fetch_run(name).await?))
            }
        };
        let mut fetched = stream::iter(missing).map(fetch).buffer_unordered(FETCHES_MAX);
        let mut all_there = true;
        while let Some((name, fetched)) = fetched.try_next().await? {
            match fetched {
                Fetched::Run(run) => {
                    held.damaged.remove(&name);
                    held.runs.insert(name, Arc::from(run));
                }
                Fetched::Damaged => *held.damaged.entry(name).or_default() += 1,
                Fetched::Gone => all_there = false,
            }
        }
        Ok(all_there)
    }

    /// A run from the cache or the store.
    async fn fetch_run(&self, name: RunName) -> Result<Fetched> {
        let folder = self.shelf().folder.clone();
        let cached = work::run(move || folder.open(name));
        if let Some(run) = cached.await {
            return Ok(Fetched::Run(Box::new(run)));
        }
        let body = match self.read_body(name).await {
            Ok(body) => body,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fetched::Gone),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Fetched::Damaged),
            Err(error) => return Err(error),
        };
        let folder = self.shelf().folder.clone();
        let (run, trouble) = work::run(move || folder.keep_or_hold(name, &body)).await;
        trouble.into_iter().for_each(|error| self.shelf().complain(error));
        Ok(Fetched::Run(Box::new(run)))
    }

    /// What the store has under a run's name.
    pub(super) async fn read_body(&self, name: RunName) -> Result<Body> {
        let bytes = self.store().get(&name.object()).await?;
        let open = |keys: &_| open_record(keys, self.id(), name.sealed_as(), &bytes, RUN_BODY_BYTES_MAX);
        let body = self.open_fresh(open).await?;
        drop(bytes);
        Body::decode(body).map_err(|found| Error::corrupt(name.object(), HEAD_BYTES as u64, found))
    }
}
