//! Entries that came in no order, as sorted runs in levels: many times more than memory holds.
//!
//! What fills memory once is a run of level 0. Eight groups of one level become one of the next, so that there are
//! at most seven a level to look a chunk up in, and each entry is written once a level.

use super::body::{Body, BodyBuilder};
use super::folder::Folder;
use super::merge::Merge;
use super::name::RunName;
use super::run::Run;
use super::{Limits, Location};
use crate::{ChunkId, Result};
use std::sync::Arc;
use uuid::Uuid;

/// Sorted runs in levels.
pub(super) struct Spill {
    folder: Folder,
    limits: Limits,
    group: Uuid,
    made: u32,
    /// Per level its groups; the runs of a group hold ranges apart from one another.
    levels: Vec<Vec<Vec<Arc<Run>>>>,
}

impl Spill {
    pub(super) fn new(folder: Folder, limits: Limits, group: Uuid) -> Self {
        Self { folder, limits, group, made: 0, levels: vec![Vec::new()] }
    }

    /// All runs there are.
    pub(super) fn runs(&self) -> Vec<Arc<Run>> {
        self.levels.iter().flatten().flatten().cloned().collect()
    }

    /// Takes entries in.
    pub(super) fn add(&mut self, entries: &mut [(ChunkId, Location)]) {
        if entries.is_empty() {
            return;
        }
        entries.sort_unstable_by_key(|(id, _)| *id);
        let mut group = Vec::new();
        for part in entries.chunks(self.limits.run_entries) {
            let mut body = BodyBuilder::default();
            part.iter().for_each(|(id, at)| body.push(id, *at));
            group.push(self.keep(&body.finish()));
        }
        self.levels[0].push(group);
    }

    /// Merges levels that are full.
    ///
    /// # Errors
    /// A run cannot be read: its level stays as it is.
    pub(super) fn settle(&mut self) -> Result<()> {
        let mut level = 0;
        while level < self.levels.len() {
            if self.levels[level].len() >= self.limits.fan_in {
                let runs = self.levels[level].iter().flatten().cloned().collect();
                let mut merge = Merge::new(runs, Box::new(|_| true))?;
                let mut group = Vec::new();
                while !merge.is_done() {
                    group.push(self.keep(&merge.body(self.limits.run_entries)?));
                }
                if level + 1 == self.levels.len() {
                    self.levels.push(Vec::new());
                }
                self.levels[level + 1].push(group);
                self.levels[level].clear();
            }
            level += 1;
        }
        Ok(())
    }

    /// Everything that was taken in, in order.
    pub(super) fn into_merge(self) -> Result<Merge> {
        Merge::new(self.runs(), Box::new(|_| true))
    }

    fn keep(&mut self, body: &Body) -> Arc<Run> {
        let name = RunName { group: self.group, sequence: self.made };
        self.made += 1;
        Arc::new(self.folder.spill(name, body))
    }
}
