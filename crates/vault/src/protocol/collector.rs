//! Collection, step by step.
//!
//! ```text
//! read the log ─► mark ─► append condemn ─► (grace) ─► read the log ─► publish intent ─► look for references again
//!                              │ taken: mark what is new                                        │
//!      drop intent ◄─ confirm gone ◄─ delete packs ◄─ append delete ◄─ read the log ◄───────────┘
//! ```
//! CRASH: after condemn, packs that any commit may save and any collector may go on with. After intent, an
//! intent that stays for ever: its packs are not used by new writers, and no other collector may drop it,
//! since its maker may only be paused. After delete, packs that any collector may delete again.

use super::{Doom, Record, Rules, State};
use crate::PackId;
use std::collections::BTreeSet;

/// What a collector has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CollectorDoes {
    /// Read the log to its end, list the packs, and find which are referred to by its roots.
    Mark,
    /// Put this record at the position after the last one read.
    Append(Record),
    /// Read the log to its end.
    ReadLog,
    /// Put an intent that names these packs.
    PublishIntent(BTreeSet<PackId>),
    /// List every point's object anew, whatever the log says of it, and find which of these packs any
    /// refers to.
    LookAgain(BTreeSet<PackId>),
    /// Delete these packs.
    Delete(BTreeSet<PackId>),
    /// Look whether these are gone.
    Confirm(BTreeSet<PackId>),
    /// Remove the intent.
    DropIntent,
    /// Nothing is left to do.
    Rest,
}

/// What it saw.
#[derive(Clone, Debug)]
pub(crate) enum CollectorSees {
    /// The state, the packs there are, and those of them that a root of that state refers to.
    Marked {
        state: State,
        packs: BTreeSet<PackId>,
        referred: BTreeSet<PackId>,
    },
    /// Whether the position was free and the record stands there now.
    Appended(bool),
    Log(State),
    Published,
    /// Of the packs asked for, those that are referred to.
    Referred(BTreeSet<PackId>),
    Deleted,
    /// Whether all are gone.
    Gone(bool),
    Dropped,
}

/// A collector at some step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Collector {
    step: Step,
    packs: BTreeSet<PackId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Mark,
    Condemn,
    ReadCondemned,
    Intend,
    LookAgain,
    ReadBeforeDelete,
    RecordDelete,
    Delete,
    Confirm,
    DropIntent,
    Rest,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self { step: Step::Mark, packs: BTreeSet::new() }
    }

    /// What to do next.
    pub(crate) fn does(&self) -> CollectorDoes {
        let packs = self.packs.clone();
        match self.step {
            Step::Mark => CollectorDoes::Mark,
            Step::Condemn => CollectorDoes::Append(Record::Condemn { packs }),
            Step::ReadCondemned | Step::ReadBeforeDelete => CollectorDoes::ReadLog,
            Step::Intend => CollectorDoes::PublishIntent(packs),
            Step::LookAgain => CollectorDoes::LookAgain(packs),
            Step::RecordDelete => CollectorDoes::Append(Record::Delete { packs }),
            Step::Delete => CollectorDoes::Delete(packs),
            Step::Confirm => CollectorDoes::Confirm(packs),
            Step::DropIntent => CollectorDoes::DropIntent,
            Step::Rest => CollectorDoes::Rest,
        }
    }

    /// Takes the next step, given what was seen.
    pub(crate) fn sees(&mut self, seen: CollectorSees, rules: Rules) {
        use CollectorSees as Sees;
        self.step = match (self.step, seen) {
            (Step::Mark, Sees::Marked { state, packs, referred }) => {
                let garbage = packs.difference(&referred).filter(|pack| state.is_condemnable(pack, rules));
                self.packs = garbage.copied().collect();
                // Nothing new to condemn: what was condemned before may still wait.
                if self.packs.is_empty() { Step::ReadCondemned } else { Step::Condemn }
            }
            (Step::Condemn, Sees::Appended(true)) => Step::ReadCondemned,
            (Step::Condemn, Sees::Appended(false)) => Step::Mark,
            (Step::ReadCondemned, Sees::Log(state)) => {
                let condemned = state.doomed.iter().filter(|(_, doom)| **doom == Doom::Condemned);
                self.packs = condemned.map(|(pack, _)| *pack).collect();
                if self.packs.is_empty() { Step::Rest } else { Step::Intend }
            }
            (Step::Intend, Sees::Published) if rules.collector_looks_again => Step::LookAgain,
            (Step::Intend, Sees::Published) => Step::ReadBeforeDelete,
            (Step::LookAgain, Sees::Referred(referred)) => {
                self.packs.retain(|pack| !referred.contains(pack));
                if self.packs.is_empty() { Step::DropIntent } else { Step::ReadBeforeDelete }
            }
            (Step::ReadBeforeDelete, Sees::Log(state)) => {
                let condemned = |pack: &PackId| state.doomed.get(pack) == Some(&Doom::Condemned);
                if rules.deleting_is_recorded {
                    self.packs.retain(condemned);
                }
                match (self.packs.is_empty(), rules.deleting_is_recorded) {
                    (true, _) => Step::DropIntent,
                    (false, true) => Step::RecordDelete,
                    (false, false) => Step::Delete,
                }
            }
            (Step::RecordDelete, Sees::Appended(true)) => Step::Delete,
            (Step::RecordDelete, Sees::Appended(false)) => Step::ReadBeforeDelete,
            (Step::Delete, Sees::Deleted) if rules.intent_outlives_deletes => Step::Confirm,
            (Step::Delete, Sees::Deleted) => Step::DropIntent,
            (Step::Confirm, Sees::Gone(true)) => Step::DropIntent,
            (Step::Confirm, Sees::Gone(false)) => Step::Confirm,
            (Step::DropIntent, Sees::Dropped) => Step::Rest,
            (step, seen) => unreachable!("at {step:?} nobody sees {seen:?}"),
        };
    }
}
