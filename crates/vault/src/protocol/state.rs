//! What the log says: its records, and which of them may follow which.

use super::Rules;
use crate::{PackId, PointId, SessionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Record {
    /// A session begins to write packs.
    Open { session: SessionId },
    /// A session's work becomes a point. It builds on `bases` and uses packs of other sessions.
    Commit { session: SessionId, point: PointId, bases: BTreeSet<PointId>, uses: BTreeSet<PackId> },
    /// A session is given up: it can never commit, and its packs are garbage.
    Abort { session: SessionId },
    /// A point is deleted but can be had back.
    SoftDelete { point: PointId },
    /// It is had back.
    Undelete { point: PointId },
    /// A point is gone for good.
    Purge { point: PointId },
    /// Packs that nothing refers to; a commit may still save them.
    Condemn { packs: BTreeSet<PackId> },
    /// Condemned packs that will be deleted now; nothing saves them any more.
    Delete { packs: BTreeSet<PackId> },
    /// Packs that are to be emptied, being mostly garbage or damaged: their chunks are looked for elsewhere
    /// first. A session that has copied what they hold is committed by this, without a point. `damaged` ones
    /// are among them; no commit uses these any more.
    Retire { session: Option<SessionId>, packs: BTreeSet<PackId>, damaged: BTreeSet<PackId> },
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SessionState {
    /// Writing; only its own commit or an abort ends that.
    Open,
    /// Its point exists.
    Committed,
    /// It will never have one.
    Aborted,
}

/// Where a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PointState {
    /// Listed, restorable.
    Live,
    /// Not listed, but everything it needs is kept.
    SoftDeleted,
    /// Nothing is kept for it.
    Purged,
}

/// What stands before a pack that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Doom {
    /// To be deleted unless a commit uses it.
    Condemned,
    /// Being deleted, for ever: its name is never used again.
    Deleting,
}

/// Why a record may not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session is not open: it was aborted, or has committed.
    SessionEnded,
    /// A point that is built on was purged.
    BaseGone,
    /// A pack that is used is being deleted, or never was committed.
    PackGone,
    /// The thing is not in a state from which this is possible.
    Impossible,
}

/// Everything the log says up to a position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The number of records read.
    pub(crate) position: u64,
    pub(crate) sessions: BTreeMap<SessionId, SessionState>,
    pub(crate) points: BTreeMap<PointId, PointState>,
    /// Packs not mentioned are as their session is.
    pub(crate) doomed: BTreeMap<PackId, Doom>,
    /// Packs whose chunks count as lying elsewhere if they do; for ever, whatever else becomes of the pack.
    pub(crate) retired: BTreeSet<PackId>,
    /// Those of them that are not what was written.
    pub(crate) damaged: BTreeSet<PackId>,
}

impl State {
    /// Follows the log by one record.
    ///
    /// # Errors
    /// The record may not stand here. In the log itself that never happens: whoever appends asks first.
    pub(crate) fn apply(&mut self, record: &Record, rules: Rules) -> Result<(), Refusal> {
        self.check(record, rules)?;
        self.position += 1;
        match record {
            Record::Open { session } => drop(self.sessions.insert(*session, SessionState::Open)),
            Record::Abort { session } => drop(self.sessions.insert(*session, SessionState::Aborted)),
            Record::Commit { session, point, uses, .. } => {
                self.sessions.insert(*session, SessionState::Committed);
                self.points.insert(*point, PointState::Live);
                // What was condemned and is used again is not to go.
                self.doomed.retain(|pack, doom| *doom == Doom::Deleting || !uses.contains(pack));
            }
            Record::SoftDelete { point } => drop(self.points.insert(*point, PointState::SoftDeleted)),
            Record::Undelete { point } => drop(self.points.insert(*point, PointState::Live)),
            Record::Purge { point } => drop(self.points.insert(*point, PointState::Purged)),
            Record::Condemn { packs } => {
                self.doomed.extend(packs.iter().map(|pack| (*pack, Doom::Condemned)));
            }
            Record::Delete { packs } => {
                self.doomed.extend(packs.iter().map(|pack| (*pack, Doom::Deleting)));
            }
            Record::Retire { session, packs, damaged } => {
                self.sessions.extend(session.map(|session| (session, SessionState::Committed)));
                self.retired.extend(packs);
                self.damaged.extend(damaged);
            }
        }
        Ok(())
    }

    fn check(&self, record: &Record, rules: Rules) -> Result<(), Refusal> {
        let possible = |yes: bool| if yes { Ok(()) } else { Err(Refusal::Impossible) };
        match record {
            Record::Open { session } => possible(!self.sessions.contains_key(session)),
            Record::Abort { session } => possible(self.sessions.get(session) == Some(&SessionState::Open)),
            Record::Commit { session, point, bases, uses } if rules.commit_is_validated => {
                // A copy keeps its point's id: what was purged here is not to come back under the same name.
                possible(!self.points.contains_key(point))?;
                self.check_commit(*session, bases, uses)
            }
            Record::Commit { .. } => Ok(()),
            Record::SoftDelete { point } => possible(self.points.get(point) == Some(&PointState::Live)),
            Record::Undelete { point } => possible(self.points.get(point) == Some(&PointState::SoftDeleted)),
            Record::Purge { point } => possible(self.is_root(point)),
            Record::Condemn { packs } => possible(packs.iter().all(|pack| !self.doomed.contains_key(pack))),
            Record::Delete { packs } => {
                possible(packs.iter().all(|pack| self.doomed.get(pack) == Some(&Doom::Condemned)))
            }
            Record::Retire { session, packs, damaged } => {
                let is_open = |session| self.sessions.get(session) == Some(&SessionState::Open);
                let sound = packs.iter().all(|pack| self.is_usable(pack)) && damaged.is_subset(packs);
                possible(session.as_ref().is_none_or(is_open) && sound)
            }
        }
    }

    fn check_commit(
        &self,
        session: SessionId,
        bases: &BTreeSet<PointId>,
        uses: &BTreeSet<PackId>,
    ) -> Result<(), Refusal> {
        if self.sessions.get(&session) != Some(&SessionState::Open) {
            return Err(Refusal::SessionEnded);
        }
        if !bases.iter().all(|base| self.is_root(base)) {
            return Err(Refusal::BaseGone);
        }
        if !uses.iter().all(|pack| self.is_usable(pack) && !self.damaged.contains(pack)) {
            return Err(Refusal::PackGone);
        }
        Ok(())
    }

    /// Whether everything a point needs is kept.
    pub(crate) fn is_root(&self, point: &PointId) -> bool {
        matches!(self.points.get(point), Some(PointState::Live | PointState::SoftDeleted))
    }

    /// Whether a writer may use a pack of another session.
    pub(crate) fn is_usable(&self, pack: &PackId) -> bool {
        self.sessions.get(&pack.session) == Some(&SessionState::Committed)
            && self.doomed.get(pack) != Some(&Doom::Deleting)
    }

    /// Whether a chunk that lies in this pack has a home there: one that readers and markers take before others.
    pub(crate) fn is_home(&self, pack: &PackId) -> bool {
        self.is_usable(pack) && !self.doomed.contains_key(pack) && !self.retired.contains(pack)
    }

    /// Whether a pack may be condemned if nothing refers to it.
    ///
    /// Never one of an open session: that may commit at any moment, and only its abort in the log keeps it
    /// from doing so, whatever a clock says of how long it has been silent.
    pub(crate) fn is_condemnable(&self, pack: &PackId, rules: Rules) -> bool {
        let ended = match self.sessions.get(&pack.session) {
            Some(SessionState::Committed | SessionState::Aborted) => true,
            Some(SessionState::Open) | None => !rules.orphans_are_fenced,
        };
        ended && !self.doomed.contains_key(pack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackKind;
    use uuid::Uuid;

    #[test]
    fn no_commit_uses_what_is_damaged_whenever_its_session_began() {
        let [old, new] = [1, 2].map(|n| SessionId(Uuid::from_u128(n)));
        let pack = PackId { kind: PackKind::Data, session: old, sequence: 0 };
        let packs = BTreeSet::from([pack]);
        let commit = |session: SessionId, uses| Record::Commit {
            session,
            point: PointId(session.0),
            bases: BTreeSet::new(),
            uses,
        };
        let mut state = State::default();
        let retire = |damaged| Record::Retire { session: None, packs: [pack].into(), damaged };
        let records = [
            Record::Open { session: old },
            commit(old, BTreeSet::new()),
            Record::Open { session: new },
            retire(BTreeSet::new()),
        ];
        records.iter().for_each(|record| state.apply(record, Rules::ALL).expect("may follow"));
        let uses = commit(new, packs.clone());
        state.clone().apply(&uses, Rules::ALL).expect("a pack that is merely retired serves");
        state.apply(&retire(packs), Rules::ALL).expect("found damaged later");
        assert_eq!(state.apply(&uses, Rules::ALL), Err(Refusal::PackGone));
    }
}
