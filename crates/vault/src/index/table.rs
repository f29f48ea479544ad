//! Runs to look something up in.

use super::Location;
use super::run::Run;
use crate::{ChunkId, Result};
use std::sync::Arc;

/// Runs with the ranges of their ids side by side: a large index has hundreds of them, of which a handful can hold an
/// id, and looking at each run itself would cost more than reading.
#[derive(Default)]
pub(super) struct Table(Vec<(u32, u32, Arc<Run>)>);

impl Table {
    pub(super) fn new(runs: impl IntoIterator<Item = Arc<Run>>) -> Self {
        let ranged = |run: Arc<Run>| run.range().map(|(first, last)| (first, last, run));
        Self(runs.into_iter().filter_map(ranged).collect())
    }

    /// Every place at which a run says that the chunk lies.
    pub(super) fn find(&self, id: &ChunkId) -> Result<Vec<Location>> {
        let mut found = Vec::new();
        let prefix = Run::prefix(id);
        let may_hold = |(first, last, _): &&(u32, u32, Arc<Run>)| (*first..=*last).contains(&prefix);
        self.0.iter().filter(may_hold).try_for_each(|(_, _, run)| run.find(id, &mut found))?;
        Ok(found)
    }

    /// Whether any of them cannot be read any more.
    pub(super) fn has_broken(&self) -> bool {
        self.0.iter().any(|(_, _, run)| run.is_broken())
    }
}
