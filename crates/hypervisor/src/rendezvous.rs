//! Where several machines meet, so that their disks show one instant.
//!
//! Each machine's freeze passes three gates, and at each waits for all the others:
//!
//! | gate | what is held while it waits | patience |
//! | --- | --- | --- |
//! | [`Gate::Prepared`] | nothing of the guest's | half a minute: preparing opens files and asks agents |
//! | [`Gate::Quiesced`] | the guest is frozen | 8 s from when it was: a guest is held for 10 s at most |
//! | [`Gate::Stopped`] | the machine stands still, its disks are fixed | 2 s |
//!
//! Whoever passes the last gate knows that every other machine had fixed its disks and none ran on: at that
//! moment all stood still, and what each shows is what it held then. So nothing that one machine did after it
//! had heard of another's write can be shown without that write.
//!
//! INVARIANT: all pass a gate or none does. The count and the giving up lie under one lock: a machine whose
//! patience ends gives up for all unless the last one has arrived, and who arrives after that is not counted.

use crate::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Preparing opens scratch files and takes back what an earlier freeze left.
const PREPARED_PATIENCE: Duration = Duration::from_secs(30);
/// Frozen guests wait for the slowest: a little less than what any guest is held for.
const HELD_PATIENCE: Duration = Duration::from_secs(8);
/// So that who cannot freeze in time still comes before the others' patience ends, and is taken as it is.
pub(crate) const FREEZE_TIMEOUT_MAX: Duration = Duration::from_secs(6);
/// The processors stand still: what a guest takes for a slow disk, and no more.
const STOPPED_PATIENCE: Duration = Duration::from_secs(2);

/// A place that a machine's freeze passes only together with all others of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everything is there that can be had before the guest notices.
    Prepared,
    /// The guest is frozen, or cannot be.
    Quiesced,
    /// Its processors stand still and its disks are fixed.
    Stopped,
}

/// The meeting of one group, for one instant; made anew for the next.
#[derive(Debug)]
pub struct Rendezvous {
    members: usize,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    arrived: [usize; 3],
    given_up: Option<(ErrorKind, String)>,
}

impl Rendezvous {
    /// A meeting of so many machines.
    pub fn new(members: usize) -> Self {
        Self { members, state: watch::Sender::new(State::default()) }
    }

    /// Lets nobody pass any more who has not passed yet. For a member that cannot come: the others fail as it did.
    pub fn give_up(&self, error: &Error) {
        self.state.send_modify(|state| {
            state.given_up.get_or_insert_with(|| (error.kind(), error.chain()));
        });
    }

    /// Waits until all have arrived, and no longer than the gate allows. `held` is how long the guest has stood.
    pub(crate) async fn pass(&self, gate: Gate, held: Duration) -> Result<()> {
        let patience = match gate {
            Gate::Prepared => PREPARED_PATIENCE,
            Gate::Quiesced => HELD_PATIENCE.saturating_sub(held),
            Gate::Stopped => STOPPED_PATIENCE,
        };
        self.wait(gate, patience).await
    }

    async fn wait(&self, gate: Gate, patience: Duration) -> Result<()> {
        let (place, members) = (gate as usize, self.members);
        let mut watched = self.state.subscribe();
        self.state.send_modify(|state| {
            if state.given_up.is_none() {
                state.arrived[place] += 1;
            }
        });
        let settled = |state: &State| state.given_up.is_some() || state.arrived[place] >= members;
        let met = timeout(patience, watched.wait_for(settled)).await;
        if met.is_err() {
            self.state.send_if_modified(|state| {
                let late = state.arrived[place] < members && state.given_up.is_none();
                if late {
                    let text = format!("not all machines of the group came within {patience:?}");
                    state.given_up = Some((ErrorKind::Busy, text));
                }
                late
            });
        }
        let state = self.state.borrow();
        match &state.given_up {
            Some((kind, reason)) if state.arrived[place] < members => {
                Err(Error::new(*kind, format!("freeze machines at one instant: {reason}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn all_pass_or_none() {
        let meeting = Rendezvous::new(2);
        for gate in [Gate::Prepared, Gate::Quiesced, Gate::Stopped] {
            let (one, other) = tokio::join!(meeting.wait(gate, LONG), meeting.wait(gate, LONG));
            assert!(one.is_ok() && other.is_ok(), "{gate:?}");
        }
    }

    #[tokio::test]
    async fn who_comes_too_late_passes_no_more_than_who_waited() {
        let meeting = Rendezvous::new(2);
        assert!(meeting.wait(Gate::Stopped, Duration::ZERO).await.is_err());
        assert!(meeting.wait(Gate::Stopped, LONG).await.is_err(), "it waits not for what cannot be");
    }

    #[tokio::test]
    async fn a_member_that_cannot_come_lets_the_others_go() {
        let meeting = Rendezvous::new(2);
        let give_up = async { meeting.give_up(&Error::new(ErrorKind::Guest, "m2 has no agent")) };
        let (waited, ()) = tokio::join!(meeting.wait(Gate::Quiesced, LONG), give_up);
        let error = waited.unwrap_err();
        assert!(error.kind() == ErrorKind::Guest && error.to_string().contains("m2 has no agent"));
        // What all passed stays passed; what comes later is passed by none.
        let meeting = Rendezvous::new(1);
        meeting.wait(Gate::Prepared, LONG).await.unwrap();
        meeting.give_up(&error);
        assert!(meeting.wait(Gate::Stopped, LONG).await.is_err());
    }
}
