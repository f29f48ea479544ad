//! Which groups of runs are due to be merged: a plan, without doing anything.
//!
//! Groups fall into classes by size, each eight times the one before. Where a class has eight of them they become
//! one, with all that is smaller, and with the next class if that is full then.

use super::Index;
use super::body::REPLACED_MAX;
use crate::protocol::{Doom, SessionState, State};
use crate::{PackId, Result};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Groups below this many entries are of one class: 180 KiB, where a request costs more than its bytes.
const SMALL: usize = 1 << 12;
/// What is merged at the end of a backup at most: 180 MiB, some seconds. What is larger waits for a collection;
/// there are never many of those.
const AT_COMMIT_MAX: usize = 1 << 22;
/// A group of which so large a share of packs is gone is written anew.
const DEAD_SHARE_MAX: f64 = 0.5;

/// How much may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What takes seconds.
    Small,
    /// Everything that is due, and what is mostly entries of packs that are gone.
    All,
}

/// A group, as far as the plan needs to know it.
#[derive(Clone, Copy, Debug)]
struct Group {
    id: Uuid,
    entries: usize,
    runs: usize,
    /// Most of its packs are gone.
    is_dead: bool,
}

/// Whether entries for this pack are of use to anybody. What is not can never become it again.
pub(super) fn is_wanted(state: &State, pack: &PackId) -> bool {
    state.doomed.get(pack) != Some(&Doom::Deleting)
        && state.sessions.get(&pack.session) != Some(&SessionState::Aborted)
}

impl Index {
    /// The groups that should become one.
    pub(super) fn due(&self, state: &State, extent: Extent) -> Result<BTreeSet<Uuid>> {
        let ids: BTreeSet<Uuid> = self.runs.keys().map(|name| name.group).collect();
        let mut groups = Vec::new();
        for id in ids {
            // One that cannot be read whole stays, and with it what scrub says of it, until the index is rebuilt.
            if self.damaged.iter().any(|name| name.group == id) {
                continue;
            }
            let entries = self.group(id).map(|(_, run)| run.count()).sum();
            let is_dead = extent == Extent::All && self.is_dead(id, state)?;
            groups.push(Group { id, entries, runs: self.group(id).count(), is_dead });
        }
        let entries_max = if extent == Extent::Small { AT_COMMIT_MAX } else { usize::MAX };
        Ok(plan(groups, self.limits.fan_in, entries_max))
    }

    fn is_dead(&self, group: Uuid, state: &State) -> Result<bool> {
        let (mut all, mut dead) = (0, 0);
        for (_, run) in self.group(group) {
            let packs = run.packs()?;
            all += packs.len();
            dead += packs.iter().filter(|pack| !is_wanted(state, pack)).count();
        }
        Ok(all > 0 && dead as f64 >= all as f64 * DEAD_SHARE_MAX)
    }
}

fn class(entries: usize) -> u32 {
    (entries / SMALL).checked_ilog(8).map_or(0, |class| class + 1)
}

fn plan(mut groups: Vec<Group>, fan_in: usize, entries_max: usize) -> BTreeSet<Uuid> {
    groups.sort_by_key(|group| (group.entries, group.id));
    let (mut entries, mut runs) = (0, 0);
    let within = groups.iter().take_while(|group| {
        (entries, runs) = (entries + group.entries, runs + group.runs);
        entries <= entries_max && runs <= REPLACED_MAX
    });
    let within = within.count();
    let (mut taken, mut end) = (0, 0);
    for like in groups[..within].chunk_by(|a, b| class(a.entries) == class(b.entries)) {
        end += like.len();
        // What was taken so far counts as one group of the class that it comes to.
        let merged = groups[..taken].iter().map(|group| group.entries).sum();
        let joins = taken > 0 && class(merged) == class(like[0].entries);
        if like.len() + usize::from(joins) >= fan_in {
            taken = end;
        }
    }
    let full = groups[..taken].iter();
    let dead = groups[taken..].iter().filter(|group| group.is_dead);
    full.chain(dead).map(|group| group.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(sizes: &[usize], entries_max: usize) -> usize {
        let group = |(id, entries): (u128, &usize)| Group {
            id: Uuid::from_u128(id),
            entries: *entries,
            runs: 1,
            is_dead: false,
        };
        plan((0..).zip(sizes).map(group).collect(), 8, entries_max).len()
    }

    #[test]
    fn eight_of_a_class_are_merged_with_all_that_is_smaller() {
        assert_eq!(taken(&[1; 7], usize::MAX), 0);
        assert_eq!(taken(&[1; 8], usize::MAX), 8);
        let mut sizes = vec![SMALL; 8];
        sizes.extend([1; 5]);
        assert_eq!(taken(&sizes, usize::MAX), 13);
        sizes.extend([SMALL * 64; 7]);
        assert_eq!(taken(&sizes, usize::MAX), 13, "the larger ones are seven");
        assert_eq!(taken(&[SMALL; 20], SMALL * 10), 10, "no more than is allowed");
        assert_eq!(taken(&[SMALL; 20], SMALL * 7), 0, "too few");
    }

    #[test]
    fn a_merge_that_fills_the_next_class_takes_that_along() {
        let mut sizes = vec![SMALL - 1; 8];
        sizes.extend([SMALL * 2; 7]);
        assert_eq!(taken(&sizes, usize::MAX), 15);
    }

    #[test]
    fn groups_stay_few_however_many_sessions_there_are() {
        let mut sizes: Vec<usize> = Vec::new();
        for session in 0..2000 {
            sizes.push(1 + session % 500);
            sizes.sort_unstable();
            let merged = taken(&sizes, usize::MAX);
            let rest = sizes.split_off(merged);
            sizes = std::iter::once(sizes.iter().sum()).filter(|_| merged > 0).chain(rest).collect();
            assert!(sizes.len() <= 24, "{sizes:?}");
        }
    }

    #[test]
    fn what_is_dead_is_written_anew_by_itself() {
        let group = Group { id: Uuid::nil(), entries: 9, runs: 1, is_dead: true };
        assert_eq!(plan(vec![group], 8, usize::MAX).len(), 1);
    }
}
