//! Jobs by example: two-phase backup, retries, and what excludes what.

use super::*;
use crate::ClaimantId;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

fn claimant(number: u64) -> ClaimantId {
    ClaimantId(Uuid::from_u64_pair(8, number))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn claimed(kind: JobKind) -> (Job, Claim) {
    let job = Job::new(kind).apply(Event::Claim(claimant(1), at(60)), at(0)).unwrap();
    let claim = job.claimed().unwrap();
    (job, claim)
}

#[test]
fn a_backup_resumes_at_its_second_step() {
    let (job, first) = claimed(JobKind::Backup);
    let job = job.apply(Event::StepDone(first, Step::TakeSnapshot), at(10)).unwrap();
    assert_eq!(
        job.apply(Event::Claim(claimant(2), at(90)), at(59)),
        Err(Refusal::Held(job.lease().unwrap()))
    );
    // The claimant is gone; another goes on where it was.
    let job = job.apply(Event::Claim(claimant(2), at(120)), at(60)).unwrap();
    assert_eq!((job.step(), job.lapses), (Some(Step::TransferToVault), 1));
    assert_eq!(job.apply(Event::StepDone(first, Step::TransferToVault), at(61)), Err(Refusal::Stale));
    let second = job.claimed().unwrap();
    let job = job.apply(Event::Warn(second), at(62)).unwrap();
    let job = job.apply(Event::StepDone(second, Step::TransferToVault), at(63)).unwrap();
    assert_eq!(job.state, JobState::CompletedWithWarnings);
    assert_eq!(job.apply(Event::Cancel, at(64)), Err(Refusal::Over));
}

#[test]
fn steps_are_done_in_order_and_once() {
    let (job, claim) = claimed(JobKind::Backup);
    let done = |job: &Job, step| job.apply(Event::StepDone(claim, step), at(1));
    assert_eq!(done(&job, Step::TransferToVault), Err(Refusal::NotThatStep(Step::TransferToVault)));
    let job = done(&job, Step::TakeSnapshot).unwrap();
    assert_eq!(done(&job, Step::TakeSnapshot), Err(Refusal::NotThatStep(Step::TakeSnapshot)));
    assert_eq!(done(&job, Step::WriteDisks), Err(Refusal::NotThatStep(Step::WriteDisks)));
}

#[test]
fn a_lease_that_nobody_took_over_still_counts() {
    let (job, claim) = claimed(JobKind::Verify);
    let late = at(1000);
    assert!(job.apply(Event::Renew(claim, at(1060)), late).is_ok());
    assert_eq!(job.apply(Event::StepDone(claim, Step::ReadBack), late).unwrap().state, JobState::Completed);
}

#[test]
fn cancelling_waits_for_the_holder_unless_there_is_none() {
    let queued = Job::new(JobKind::Backup);
    assert_eq!(queued.apply(Event::Cancel, at(0)).unwrap().state, JobState::Cancelled);
    let (job, claim) = claimed(JobKind::Backup);
    assert_eq!(job.apply(Event::Cancelled(claim), at(1)), Err(Refusal::NotCancelling));
    let job = job.apply(Event::Cancel, at(1)).unwrap();
    assert_eq!(job.apply(Event::Cancelled(claim), at(2)).unwrap().state, JobState::Cancelled);
    // Too late: what is done is done.
    let job = job.apply(Event::StepDone(claim, Step::TakeSnapshot), at(2)).unwrap();
    let job = job.apply(Event::StepDone(claim, Step::TransferToVault), at(3)).unwrap();
    assert_eq!(job.state, JobState::Completed);
}

#[test]
fn what_kills_its_holders_fails_in_the_end() {
    let mut job = Job::new(JobKind::Verify);
    for round in 0..=i64::from(LAPSES_MAX) {
        assert!(!job.is_over(), "round {round}");
        job = job.apply(Event::Claim(claimant(1), at(60 * round + 60)), at(60 * round)).unwrap();
    }
    job = job.apply(Event::Claim(claimant(1), at(9999)), at(9000)).unwrap();
    assert_eq!((job.state, job.failure), (JobState::Failed, Some(Failure::Lost)));
}

#[test]
fn what_machines_run_on_is_claimed_again_however_often_its_holders_die() {
    let mut job = Job::new(JobKind::InstantRestore);
    for round in 0..=2 * i64::from(LAPSES_MAX) {
        job = job.apply(Event::Claim(claimant(1), at(60 * round + 60)), at(60 * round)).unwrap();
        if round == 0 {
            job = job.apply(Event::StepDone(job.claimed().unwrap(), Step::DefineMachine), at(1)).unwrap();
        }
    }
    assert!(matches!(job.state, JobState::InProgress { .. }), "{job:?}");
    assert!(job.lapses > LAPSES_MAX);
}

#[test]
fn failures_are_tried_again_as_they_deserve() {
    let (job, claim) = claimed(JobKind::Backup);
    let denied = job.apply(Event::Fail(claim, Failure::Denied, 1), at(5)).unwrap();
    assert_eq!(denied.state, JobState::Failed);
    let busy = job.apply(Event::Fail(claim, Failure::Busy, 1), at(5)).unwrap();
    let JobState::Waiting { until } = busy.state else { panic!("{busy:?}") };
    assert!((at(35)..=at(65)).contains(&until), "{until}");
    let early = until.saturating_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(busy.apply(Event::Claim(claimant(2), at(999)), early), Err(Refusal::NotBefore(until)));
    assert!(busy.apply(Event::Claim(claimant(2), at(999)), until).is_ok());
    // A job that is given back has lost nothing.
    let released = job.apply(Event::Release(claim), at(5)).unwrap();
    assert_eq!((released.state, released.attempts), (JobState::Queued, 0));
}

#[test]
fn waits_grow_stay_bounded_and_end() {
    for failure in Failure::ALL {
        let patience = failure.patience();
        for seed in 0..50 {
            let waits: Vec<_> = (1..100).map_while(|attempt| failure.wait(attempt, seed)).collect();
            assert_eq!(waits.len() as u32, patience.attempts - 1, "{failure:?}");
            for (wait, round) in waits.iter().zip(0..) {
                let whole = (patience.first_wait * (1 << round)).min(patience.longest_wait);
                assert!((whole / 2..=whole).contains(wait), "{failure:?} {round}: {wait}");
            }
        }
    }
}

#[test]
fn one_backup_at_a_time_and_deleting_alone() {
    use JobKind::*;
    let apart = |a: JobKind, b: JobKind| {
        assert_eq!(a.excludes(b), b.excludes(a));
        a.excludes(b)
    };
    assert!(apart(Backup, Backup));
    assert!(JobKind::ALL.iter().all(|kind| apart(DeleteData, *kind) && apart(Replace, *kind)));
    for (a, b) in [(Backup, Restore), (Backup, Verify), (Restore, Restore), (Restore, Verify)] {
        assert!(!apart(a, b), "{a:?} {b:?}");
    }
}
