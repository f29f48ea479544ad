//! What is written down of a job as it changes: what somebody reads afterwards to see how it went.

use super::state::{Job, JobState};
use serde::{Deserialize, Serialize};

/// Something that happened to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum JobEvent {
    /// It was asked for.
    Asked,
    /// A mover began an attempt.
    Begun,
    /// The mover that had it was not heard of any more.
    Lost,
    /// A part of it is done.
    StepDone,
    /// There is something that somebody should know.
    Warned,
    /// An attempt failed.
    AttemptFailed,
    /// Its mover gave it back unharmed.
    Released,
    /// Somebody wants it to end.
    CancelWanted,
    /// It is over.
    Ended,
}

/// What a change of a job is written down as, in the order in which it is read.
pub fn written(before: &Job, after: &Job) -> Vec<JobEvent> {
    use JobState::{Cancelled, Cancelling, Failed, InProgress, Queued, Waiting};
    let mut events = Vec::new();
    let (had, has) = (before.state, after.state);
    if after.lapses > before.lapses {
        events.push(JobEvent::Lost);
    }
    if after.generation > before.generation {
        events.push(JobEvent::Begun);
    }
    if after.steps_done > before.steps_done {
        events.push(JobEvent::StepDone);
    }
    let is_held = matches!(had, InProgress { .. } | Cancelling { .. });
    // Who went away too often has failed as well, but of no attempt that anybody could tell of.
    if is_held && matches!(has, Waiting { .. } | Failed) && after.lapses == before.lapses {
        events.push(JobEvent::AttemptFailed);
    }
    if is_held && has == Queued {
        events.push(JobEvent::Released);
    }
    let is_wanted = match had {
        InProgress { .. } => matches!(has, Cancelling { .. }),
        Queued | Waiting { .. } => has == Cancelled,
        _ => false,
    };
    if is_wanted {
        events.push(JobEvent::CancelWanted);
    }
    if after.is_over() && !before.is_over() {
        events.push(JobEvent::Ended);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::{Claim, Event, Failure, JobKind, LAPSES_MAX, Step};
    use super::*;
    use crate::ClaimantId;
    use jiff::Timestamp;
    use uuid::Uuid;

    const LEASE: i64 = 30;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn claim(second: i64) -> Event {
        Event::Claim(ClaimantId(Uuid::from_u128(1)), at(second + LEASE))
    }

    /// Something that happens at a second, given the claim that holds by then.
    type Change = fn(Option<Claim>, i64) -> Event;

    const fn on(second: i64, change: Change) -> (i64, Change) {
        (second, change)
    }

    /// What each of these is written down as, one after the other.
    fn log(changes: impl IntoIterator<Item = (i64, Change)>) -> Vec<JobEvent> {
        let mut job = Job::new(JobKind::Backup);
        let mut all = Vec::new();
        for (second, change) in changes {
            let next = job.apply(change(job.claimed(), second), at(second)).expect("it is allowed");
            all.extend(written(&job, &next));
            job = next;
        }
        all
    }

    fn held(claim: Option<Claim>) -> Claim {
        claim.expect("somebody holds it")
    }

    #[test]
    fn a_job_that_goes_well_is_told_of_by_its_steps() {
        use JobEvent::{Begun, Ended, StepDone};
        let told = log([
            on(0, |_, second| claim(second)),
            on(1, |held_by, second| Event::Renew(held(held_by), at(second + LEASE))),
            on(2, |held_by, _| Event::StepDone(held(held_by), Step::TakeSnapshot)),
            on(3, |held_by, _| Event::StepDone(held(held_by), Step::TransferToVault)),
        ]);
        assert_eq!(told, [Begun, StepDone, StepDone, Ended], "that it goes on is nothing to write down");
    }

    #[test]
    fn attempts_that_fail_and_holders_that_go_away_are_told_of() {
        use JobEvent::{AttemptFailed, Begun, CancelWanted, Ended, Lost, Released};
        let told = log([
            on(0, |_, second| claim(second)),
            on(1, |held_by, _| Event::Release(held(held_by))),
            on(2, |_, second| claim(second)),
            on(40, |_, second| claim(second)),
            on(41, |held_by, _| Event::Fail(held(held_by), Failure::Unreachable, 0)),
            on(42, |_, _| Event::Cancel),
        ]);
        assert_eq!(told, [Begun, Released, Begun, Lost, Begun, AttemptFailed, CancelWanted, Ended]);
        let told = log([
            on(0, |_, second| claim(second)),
            on(1, |_, _| Event::Cancel),
            on(2, |_, _| Event::Cancel),
            on(3, |held_by, _| Event::Cancelled(held(held_by))),
        ]);
        assert_eq!(told, [Begun, CancelWanted, Ended], "wanted twice is wanted");
    }

    #[test]
    fn a_job_whose_holders_all_went_away_ends_without_an_attempt_that_failed() {
        let rounds = 0..=i64::from(LAPSES_MAX) + 1;
        let told = log(rounds.map(|round| on(round * LEASE, |_, second| claim(second))));
        assert_eq!(told.iter().filter(|event| **event == JobEvent::Lost).count(), LAPSES_MAX as usize + 1);
        assert_eq!(told.last(), Some(&JobEvent::Ended));
        assert!(!told.contains(&JobEvent::AttemptFailed));
    }
}
