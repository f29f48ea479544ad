//! Commit, step by step.
//!
//! ```text
//! publish references ─► look for intents ─► look for the packs ─► read the log ─► append the commit ─► done
//!                            │ used pack        │ missing              │ refused        │ taken: read again
//!                            └──────────────────┴──────── conflict ────┘
//! ```
//! Packs and index runs are durable before the first step. CRASH: before the append, a reference without a
//! commit: it holds its packs until the session is aborted. After it, a point.

use super::{Record, Refusal, Rules, SessionState, State};
use crate::{PackId, PointId, SessionId};
use std::collections::BTreeSet;

/// What a session wants to commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Intention {
    pub(crate) session: SessionId,
    pub(crate) point: PointId,
    /// Packs it has written itself.
    pub(crate) own: BTreeSet<PackId>,
    /// Points whose maps it shares subtrees of.
    pub(crate) bases: BTreeSet<PointId>,
    /// Packs of other sessions that it found chunks in, other than through a base.
    pub(crate) uses: BTreeSet<PackId>,
}

/// What a writer has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriterDoes {
    /// Put the point's object.
    PublishReference,
    /// List and read every intent there is.
    ReadIntents,
    /// Look whether every pack, its own and those it uses, and the object of every base, is there.
    CheckPresence,
    /// Read the log to its end.
    ReadLog,
    /// Put this record at the position after the last one read.
    Append(Record),
    /// Tell whoever waits: the point exists.
    Acknowledge,
    /// Take the reference back and say that it must be done again.
    GiveUp(Refusal),
}

/// What it saw.
#[derive(Clone, Debug)]
pub(crate) enum WriterSees {
    Published,
    /// All packs named by any intent.
    Intents(BTreeSet<PackId>),
    /// Whether all were there.
    Present(bool),
    Log(State),
    /// Whether the position was free and the record stands there now.
    Appended(bool),
}

/// A writer at some step of its commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) wants: Intention,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Publish,
    Intents,
    Presence,
    Log,
    Append,
    Done,
    Refused(u8),
}

impl Writer {
    pub(crate) fn new(wants: Intention) -> Self {
        Self { wants, step: Step::Publish }
    }

    /// What to do next.
    pub(crate) fn does(&self) -> WriterDoes {
        match self.step {
            Step::Publish => WriterDoes::PublishReference,
            Step::Intents => WriterDoes::ReadIntents,
            Step::Presence => WriterDoes::CheckPresence,
            Step::Log => WriterDoes::ReadLog,
            Step::Append => WriterDoes::Append(self.record()),
            Step::Done => WriterDoes::Acknowledge,
            Step::Refused(why) => WriterDoes::GiveUp(REFUSALS[usize::from(why)]),
        }
    }

    /// Takes the next step, given what was seen.
    pub(crate) fn sees(&mut self, seen: &WriterSees, rules: Rules) {
        self.step = match (&self.step, seen) {
            (Step::Publish, WriterSees::Published) if !rules.presence_comes_last => Step::Presence,
            (Step::Publish, WriterSees::Published) => Step::Intents,
            (Step::Intents, WriterSees::Intents(doomed)) => {
                let wanted =
                    doomed.iter().any(|pack| self.wants.uses.contains(pack) || self.wants.own.contains(pack));
                if rules.writer_reads_intents && wanted {
                    refused(Refusal::PackGone)
                } else if rules.presence_comes_last {
                    Step::Presence
                } else {
                    Step::Log
                }
            }
            (Step::Presence, WriterSees::Present(all)) => {
                if rules.writer_checks_presence && !all {
                    refused(Refusal::PackGone)
                } else if rules.presence_comes_last {
                    Step::Log
                } else {
                    Step::Intents
                }
            }
            // Only this writer commits this session: a commit that stands is its own, whose answer was lost.
            (Step::Log, WriterSees::Log(state)) if self.has_committed(state) => Step::Done,
            (Step::Log, WriterSees::Log(state)) => match state.clone().apply(&self.record(), rules) {
                Ok(()) => Step::Append,
                Err(refusal) => refused(refusal),
            },
            (Step::Append, WriterSees::Appended(true)) => Step::Done,
            (Step::Append, WriterSees::Appended(false)) => Step::Log,
            (step, seen) => unreachable!("at {step:?} nobody sees {seen:?}"),
        };
    }

    fn has_committed(&self, state: &State) -> bool {
        state.sessions.get(&self.wants.session) == Some(&SessionState::Committed)
            && state.points.contains_key(&self.wants.point)
    }

    fn record(&self) -> Record {
        let Intention { session, point, bases, uses, .. } = self.wants.clone();
        Record::Commit { session, point, bases, uses }
    }
}

const REFUSALS: [Refusal; 4] =
    [Refusal::SessionEnded, Refusal::BaseGone, Refusal::PackGone, Refusal::Impossible];

fn refused(why: Refusal) -> Step {
    Step::Refused(REFUSALS.iter().position(|one| *one == why).expect("all are listed") as u8)
}
