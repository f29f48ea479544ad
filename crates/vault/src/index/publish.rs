//! Putting runs into the store, and deleting those that others stand for.
//!
//! A group is put from its last sequence to its first: sequence 0 says how many others there are and what the group
//! replaces. INVARIANT: a run is passed over or deleted only where every run of a group that stands for it was
//! read, which holds every entry it has but those of packs that are gone for ever.
//!
//! CRASH, of a merge:
//! - before sequence 0: runs that repeat what others say. They are merged like any others one day;
//! - after it: readers go by the new group; the old runs lie about until a merge or a collection deletes them;
//! - between deletes: the same.
//!
//! Two merges at once may both write what one would have: the next one drops what is there twice. One may merge and
//! delete runs of a group whose sequence 0 is yet to come: then that group is never whole, stands for nothing, and
//! nothing is deleted on its account.

use super::body::{Body, REPLACED_MAX};
use super::levels::{Extent, is_wanted};
use super::merge::{Keep, Merge};
use super::{Index, Known, RunName};
use crate::protocol::State;
use crate::record::seal_record;
use crate::vault::Vault;
use crate::{ErrorKind, Result, SessionId, work};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Runs deleted at once.
const DELETES_MAX: usize = 16;
/// Merges in one go: what one leaves may fill the next class but once a class.
const MERGES_MAX: u32 = 8;

impl Vault {
    /// Publishes what a session has added.
    ///
    /// # Errors
    /// Of the store. A local copy that cannot be read leaves chunks unpublished: they are noted as trouble,
    /// and stored again by others until the index is rebuilt.
    pub(crate) async fn put_index(&self, session: SessionId, known: &Known) -> Result<()> {
        let put = async { self.put_group(session.0, known.take_added()?, Vec::new()).await };
        match put.await {
            Err(error) if known.has_lost() => {
                self.shelf().complain(error);
                Ok(())
            }
            other => other,
        }
    }

    /// Merges what is due, at the end of work that does not depend on it: trouble is noted, not an error.
    pub(crate) async fn tidy_index(&self, state: &State, extent: Extent) {
        if let Err(error) = self.merge_index(state, extent).await {
            self.shelf().complain(error);
        }
    }

    /// Merges what is due, and deletes what is replaced. Asks the store nothing if nothing seems to be due.
    ///
    /// `state` may be an old one: what is gone in it is gone for ever.
    pub(crate) async fn merge_index(&self, state: &State, extent: Extent) -> Result<()> {
        // Another one in this process is at it already.
        let Ok(_alone) = self.shelf().merging.try_lock() else { return Ok(()) };
        if extent == Extent::Small && self.shelf().index().await.due(state, extent)?.is_empty() {
            return Ok(());
        }
        let mut deleted = Ok(());
        for _ in 0..MERGES_MAX {
            let index = self.index().await?;
            // Where nothing may be deleted, merging helps all the same.
            deleted = self.delete_replaced(&index).await;
            let due = index.due(state, extent)?;
            if due.is_empty() {
                break;
            }
            self.merge_groups(&index, &due, state).await?;
        }
        deleted
    }

    async fn merge_groups(&self, index: &Index, due: &BTreeSet<Uuid>, state: &State) -> Result<()> {
        let runs: Vec<_> = due.iter().flat_map(|group| index.group(*group)).map(|(_, run)| run).collect();
        // What a group stands for must have somebody to stand for it when the group is gone.
        let left = due.iter().filter_map(|group| index.replaced.get(group)).flatten();
        let replaces = runs.iter().map(|run| &run.name).chain(left).take(REPLACED_MAX).copied().collect();
        let runs = runs.into_iter().cloned().collect();
        let state = state.clone();
        let wanted: Keep = Box::new(move |pack| is_wanted(&state, pack));
        self.put_group(self.ids().draw(), Merge::new(runs, wanted)?, replaces).await
    }

    /// Puts entries as a group of runs that stands for others.
    pub(super) async fn put_group(
        &self,
        group: Uuid,
        mut entries: Merge,
        replaces: Vec<RunName>,
    ) -> Result<()> {
        let entries_max = self.shelf().limits.run_entries;
        let mut others = 0;
        loop {
            let work = work::run(move || {
                let body = entries.body(entries_max);
                (entries, body)
            });
            let (rest, body) = work.await;
            let (body, is_last) = (body?, rest.is_done());
            entries = rest;
            if !is_last {
                others += 1;
                self.put_run(RunName { group, sequence: others }, body).await?;
                continue;
            }
            let head = Body { others, replaces, ..body };
            if head.count() == 0 && head.replaces.is_empty() {
                return Ok(());
            }
            return self.put_run(RunName { group, sequence: 0 }, head).await;
        }
    }

    async fn put_run(&self, name: RunName, body: Body) -> Result<()> {
        let (folder, keys, vault) = (self.shelf().folder.clone(), Arc::clone(self.keys_shared()), self.id());
        let work = work::run(move || {
            // A copy for ourselves: nobody here need fetch it.
            let kept = folder.keep_or_hold(name, &body);
            (kept, seal_record(&keys, vault, name.sealed_as(), &body.into_bytes()))
        });
        let ((run, trouble), sealed) = work.await;
        self.store().create(&name.object(), sealed).await?;
        self.shelf().adopt(run).await;
        // It is in the store, which is what counts.
        trouble.into_iter().for_each(|error| self.shelf().complain(error));
        Ok(())
    }

    /// Deletes runs that a whole group stands for, once that group was read back.
    pub(super) async fn delete_replaced(&self, index: &Index) -> Result<()> {
        for (group, left) in index.replaced.iter().filter(|(_, left)| !left.is_empty()) {
            if !self.reads_back(index, *group).await? {
                continue;
            }
            let objects: Vec<String> = left.iter().map(RunName::object).collect();
            let deletes =
                stream::iter(objects).map(|object| async move { self.store().delete(&object).await });
            deletes.buffer_unordered(DELETES_MAX).try_collect::<()>().await?;
        }
        Ok(())
    }

    /// Whether every run of a group can be read from the store; not if somebody else has merged it meanwhile, who
    /// names what it stands for in his.
    async fn reads_back(&self, index: &Index, group: Uuid) -> Result<bool> {
        for (name, _) in index.group(group) {
            match self.read_body(*name).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => {
                    // What it stood for counts again.
                    self.shelf().forget(*name).await;
                    return Err(error);
                }
            }
        }
        Ok(true)
    }
}
