//! Jobs: each done once, whoever reaches for it and whoever dies.

use crate::scene::{at, on_both, vault};
use catalog::{Catalog, ClaimWish, JobFilter, JobRow, NewJob, Queued, Told};
use jiff::{SignedDuration, Timestamp};
use model::job::{Claim, Event, Failure, JobEvent, JobKind, JobState, Refusal, Step};
use model::schedule::Limits;
use model::{ClaimantId, HostId, JobId};
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

const LEASE: SignedDuration = SignedDuration::from_secs(30);

fn backup_of(subject: &str, ready: i64) -> NewJob {
    NewJob {
        id: JobId(Uuid::now_v7()),
        kind: JobKind::Backup,
        vault: Some(vault("v").id),
        subject: subject.into(),
        name: subject.into(),
        mover: None,
        host: None,
        request: json!({ "full": false }),
        ready: at(ready),
        slot: None,
        asked_by: None,
    }
}

fn holder() -> ClaimantId {
    ClaimantId(Uuid::now_v7())
}

/// Many at once.
const LIMITS: Limits = Limits { per_host: 1000, per_store: 1000, overall: 1000 };

/// Claims a job as the mover within the server.
async fn claim_one(
    catalog: &Catalog,
    claimant: ClaimantId,
    now: Timestamp,
) -> anyhow::Result<Option<(Claim, JobRow)>> {
    let session = Uuid::now_v7();
    let wish = ClaimWish { claimant, mover: "server", session, lease: LEASE, limits: LIMITS };
    let row = catalog.claim_job(&wish, now).await?;
    Ok(row.and_then(|row| row.job.claimed().map(|claim| (claim, row))))
}

async fn change(
    catalog: &Catalog,
    claim_of: &JobRow,
    event: Event,
    second: i64,
) -> anyhow::Result<Result<JobRow, Refusal>> {
    Ok(catalog.change_job(claim_of.id, event, Told::default(), at(second)).await?)
}

async fn complete(catalog: &Catalog, (claim, row): (Claim, JobRow), second: i64) -> anyhow::Result<JobRow> {
    change(catalog, &row, Event::StepDone(claim, Step::TakeSnapshot), second).await??;
    Ok(change(catalog, &row, Event::StepDone(claim, Step::TransferToVault), second).await??)
}

async fn race(catalogs: &[Catalog], each: usize) -> anyhow::Result<Vec<JobId>> {
    let holders = catalogs.iter().cycle().take(each).map(|catalog| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            let (me, mut mine) = (holder(), Vec::new());
            while let Some(claimed) = claim_one(&catalog, me, at(0)).await? {
                mine.push(complete(&catalog, claimed, 1).await?.id);
            }
            anyhow::Ok(mine)
        })
    });
    let mut done = Vec::new();
    for holder in holders.collect::<Vec<_>>() {
        done.extend(holder.await??);
    }
    Ok(done)
}

on_both! {
    many_holders_share_the_jobs_and_do_each_once(catalog) {
        let mut jobs = BTreeSet::new();
        for number in 0..60 {
            let job = backup_of(&number.to_string(), 0);
            assert_eq!(catalog.queue_job(&job, at(0)).await?, Queued::New);
            jobs.insert(job.id);
        }
        let done = race(&[catalog], 6).await?;
        assert_eq!(done.len(), 60, "none twice");
        assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), jobs, "none left out");
        Ok(())
    }

    a_job_waits_for_its_time_and_the_longest_ready_goes_first(catalog) {
        let (late, early) = (backup_of("late", 20), backup_of("early", 10));
        catalog.queue_job(&late, at(0)).await?;
        catalog.queue_job(&early, at(1)).await?;
        assert!(claim_one(&catalog, holder(), at(9)).await?.is_none());
        assert_eq!(catalog.next_claimable().await?, Some(at(10)));
        let (_, row) = claim_one(&catalog, holder(), at(25)).await?.expect("two are ready");
        assert_eq!((row.id, row.job.attempts, row.request.clone()), (early.id, 1, early.request));
        assert_eq!(catalog.job(row.id).await?, row, "what is given is what is stored");
        Ok(())
    }

    a_holder_that_was_too_slow_can_write_nothing(catalog) {
        catalog.queue_job(&backup_of("db", 0), at(0)).await?;
        let (slow, row) = claim_one(&catalog, holder(), at(0)).await?.expect("ready");
        assert!(claim_one(&catalog, holder(), at(29)).await?.is_none(), "the lease holds");
        let (quick, taken) = claim_one(&catalog, holder(), at(31)).await?.expect("the lease has lapsed");
        assert_eq!((taken.id, taken.job.lapses), (row.id, 1));
        for event in [
            Event::Renew(slow, at(99)),
            Event::StepDone(slow, Step::TakeSnapshot),
            Event::Fail(slow, Failure::Busy, 0),
            Event::Release(slow),
        ] {
            assert_eq!(change(&catalog, &row, event, 32).await?, Err(Refusal::Stale));
        }
        let told = Told { progress: Some(json!({ "bytes": 7 })), ..Told::default() };
        catalog.change_job(row.id, Event::Renew(quick, at(90)), told, at(60)).await??;
        assert!(claim_one(&catalog, holder(), at(89)).await?.is_none(), "renewed");
        let done = complete(&catalog, (quick, taken), 61).await?;
        assert_eq!((done.job.state, done.ended, done.progress), (JobState::Completed, Some(at(61)), json!({ "bytes": 7 })));
        assert_eq!(change(&catalog, &row, Event::Cancel, 62).await?, Err(Refusal::Over));
        assert_eq!(catalog.next_claimable().await?, None);
        Ok(())
    }

    what_excludes_each_other_is_not_queued_together_and_a_slot_has_one_run(catalog) {
        let slot = |subject: &str| NewJob { slot: Some("2026-11-21/0".into()), ..backup_of(subject, 0) };
        let first = slot("db");
        assert_eq!(catalog.queue_job(&first, at(0)).await?, Queued::New);
        assert_eq!(catalog.queue_job(&slot("db"), at(0)).await?, Queued::SlotIsTaken);
        let Queued::Excluded(other) = catalog.queue_job(&backup_of("db", 0), at(0)).await? else { panic!("queued") };
        assert_eq!(other.id, first.id);
        assert_eq!(catalog.queue_job(&slot("web"), at(0)).await?, Queued::New);
        let restore = || NewJob { kind: JobKind::Restore, ..backup_of("db", 50) };
        assert_eq!(catalog.queue_job(&restore(), at(0)).await?, Queued::New);
        assert_eq!(catalog.queue_job(&restore(), at(0)).await?, Queued::New, "restores may be many");
        let replace = NewJob { kind: JobKind::Replace, ..backup_of("db", 0) };
        assert!(matches!(catalog.queue_job(&replace, at(0)).await?, Queued::Excluded(_)));
        let claimed = claim_one(&catalog, holder(), at(0)).await?.expect("ready");
        assert_eq!(claimed.1.id, first.id);
        complete(&catalog, claimed, 1).await?;
        assert_eq!(catalog.queue_job(&slot("db"), at(2)).await?, Queued::SlotIsTaken, "also when it is over");
        assert_eq!(catalog.queue_job(&backup_of("db", 0), at(2)).await?, Queued::New);
        Ok(())
    }

    many_queue_for_one_machine_and_one_succeeds(catalog) {
        let tries: Vec<_> = (0..8).map(|_| {
            let catalog = catalog.clone();
            tokio::spawn(async move { catalog.queue_job(&backup_of("db", 0), at(0)).await })
        }).collect();
        let mut queued = 0;
        for one in tries {
            queued += usize::from(one.await?? == Queued::New);
        }
        assert_eq!(queued, 1);
        assert_eq!(catalog.jobs(&JobFilter::default(), None, 10).await?.rows.len(), 1);
        Ok(())
    }

    what_happens_to_a_job_is_written_down(catalog) {
        catalog.queue_job(&backup_of("db", 0), at(0)).await?;
        let (claim, row) = claim_one(&catalog, holder(), at(1)).await?.expect("ready");
        change(&catalog, &row, Event::Renew(claim, at(60)), 2).await??;
        let slow = Told { progress: Some(json!({ "warnings": ["it is slow"] })), ..Told::default() };
        catalog.change_job(row.id, Event::Warn(claim), slow.clone(), at(3)).await??;
        catalog.change_job(row.id, Event::StepDone(claim, Step::TakeSnapshot), slow, at(4)).await??;
        let full = Told { error: Some(json!({ "text": "no room" })), ..Told::default() };
        catalog.change_job(row.id, Event::Fail(claim, Failure::Busy, 1), full, at(5)).await??;
        let alice = Told { by: Some("alice".to_owned()), ..Told::default() };
        catalog.change_job(row.id, Event::Cancel, alice.clone(), at(6)).await??;
        let again = catalog.change_job(row.id, Event::Cancel, alice, at(7)).await?;
        assert_eq!(again, Err(Refusal::Over), "what changes nothing is not written down");
        let log = catalog.job_log(row.id).await?;
        let lines: Vec<_> = log.iter().map(|line| (line.at, line.event, line.text.as_str())).collect();
        let wanted = [
            (at(1), JobEvent::Begun, "server"),
            (at(3), JobEvent::Warned, "it is slow"),
            (at(4), JobEvent::StepDone, "Take snapshot"),
            (at(5), JobEvent::AttemptFailed, "no room"),
            (at(6), JobEvent::CancelWanted, "alice"),
            (at(6), JobEvent::Ended, "cancelled"),
        ];
        assert_eq!(lines, wanted, "that it goes on is no line");
        assert_eq!(catalog.forget_jobs(at(1000)).await?, 1);
        assert_eq!(catalog.job_log(row.id).await?, [], "it goes with its job");
        Ok(())
    }

    a_failed_attempt_is_tried_again_later(catalog) {
        catalog.queue_job(&backup_of("db", 0), at(0)).await?;
        let (claim, row) = claim_one(&catalog, holder(), at(0)).await?.expect("ready");
        let told = Told { error: Some(json!({ "text": "busy" })), ..Told::default() };
        let failed = catalog.change_job(row.id, Event::Fail(claim, Failure::Busy, 1), told, at(1)).await??;
        let JobState::Waiting { until } = failed.job.state else { panic!("{:?}", failed.job.state) };
        assert!(claim_one(&catalog, holder(), until - SignedDuration::from_secs(1)).await?.is_none());
        let (_, again) = claim_one(&catalog, holder(), until).await?.expect("ready again");
        assert_eq!((again.job.attempts, again.error), (2, Some(json!({ "text": "busy" }))));
        Ok(())
    }

    what_waits_is_cancelled_at_once_and_what_runs_is_told(catalog) {
        let (first, second) = (backup_of("db", 0), backup_of("web", 1));
        catalog.queue_job(&first, at(0)).await?;
        catalog.queue_job(&second, at(0)).await?;
        let (claim, row) = claim_one(&catalog, holder(), at(2)).await?.expect("ready");
        let waits = catalog.job(second.id).await?;
        assert_eq!(change(&catalog, &waits, Event::Cancel, 3).await??.job.state, JobState::Cancelled);
        let told = change(&catalog, &row, Event::Cancel, 3).await??;
        assert!(matches!(told.job.state, JobState::Cancelling { .. }));
        let over = change(&catalog, &row, Event::Cancelled(claim), 6).await??;
        assert_eq!((over.job.state, over.ended), (JobState::Cancelled, Some(at(6))));
        assert!(claim_one(&catalog, holder(), at(99)).await?.is_none());
        let filter = JobFilter { state: Some("cancelled".into()), kind: Some("backup".into()), ..JobFilter::default() };
        let page = catalog.jobs(&filter, None, 1).await?;
        assert_eq!((page.rows.len(), page.next.is_some()), (1, true));
        assert_eq!(catalog.jobs(&filter, page.next.as_ref(), 1).await?.rows.len(), 1);
        assert_eq!(catalog.forget_jobs(at(6)).await?, 1);
        assert!(catalog.job(second.id).await.is_err() && catalog.job(first.id).await.is_ok());
        Ok(())
    }

    there_is_room_for_so_many_and_no_more(catalog) {
        let (one, other) = (HostId(Uuid::now_v7()), HostId(Uuid::now_v7()));
        for number in 0..4 {
            let host = Some(if number < 3 { one } else { other });
            catalog.queue_job(&NewJob { host, ..backup_of(&format!("{number}"), number) }, at(0)).await?;
        }
        catalog.queue_job(&NewJob { kind: JobKind::Restore, ..backup_of("r", 9) }, at(0)).await?;
        let limits = Limits { per_host: 2, per_store: 9, overall: 3 };
        let take = async || {
            let (claimant, session) = (holder(), Uuid::now_v7());
            let wish = ClaimWish { claimant, mover: "server", session, lease: LEASE, limits };
            anyhow::Ok(catalog.claim_job(&wish, at(10)).await?.map(|row| row.subject))
        };
        assert_eq!((take().await?.as_deref(), take().await?.as_deref()), (Some("0"), Some("1")));
        assert_eq!(take().await?.as_deref(), Some("3"), "the first host is full");
        assert_eq!(take().await?.as_deref(), Some("r"), "somebody waits for a restore");
        assert_eq!(take().await?, None);
        let again = claim_one(&catalog, holder(), at(41)).await?.expect("the leases have lapsed: there is room");
        assert_eq!(again.1.subject, "2", "it has waited for longest");
        Ok(())
    }

    a_mover_gets_its_own_jobs_and_every_claim_a_session_of_its_own(catalog) {
        catalog.queue_job(&NewJob { mover: Some("far".to_owned()), ..backup_of("db", 0) }, at(0)).await?;
        assert!(claim_one(&catalog, holder(), at(1)).await?.is_none(), "another mover's");
        let sessions = [Uuid::now_v7(), Uuid::now_v7()];
        for (session, second) in sessions.iter().zip([1, 40]) {
            let wish = ClaimWish { claimant: holder(), mover: "far", session: *session, lease: LEASE, limits: LIMITS };
            let row = catalog.claim_job(&wish, at(second)).await?.expect("its own");
            assert_eq!((row.sessions.last(), row.claimed), (Some(session), Some(at(second))));
            assert_eq!(catalog.job(row.id).await?, row, "what is given is what is stored");
        }
        assert_eq!(catalog.jobs(&JobFilter::default(), None, 9).await?.rows[0].sessions, sessions);
        Ok(())
    }

    what_was_reported_is_followed_until_it_is_marked(catalog) {
        let job = backup_of("db", 0);
        catalog.queue_job(&job, at(0)).await?;
        let (first, row) = claim_one(&catalog, holder(), at(0)).await?.expect("ready");
        assert!(catalog.jobs_to_follow(at(3), 9).await?.is_empty());
        let stepped = change(&catalog, &row, Event::StepDone(first, Step::TakeSnapshot), 1).await??;
        assert_eq!(catalog.jobs_to_follow(at(3), 9).await?, std::slice::from_ref(&stepped));
        let ended = change(&catalog, &row, Event::Fail(first, Failure::Denied, 0), 2).await??;
        catalog.job_followed(&stepped).await?;
        assert_eq!(catalog.jobs_to_follow(at(3), 9).await?, std::slice::from_ref(&ended), "it was changed since");
        catalog.follow_later(&ended, at(9)).await?;
        assert!(catalog.jobs_to_follow(at(8), 9).await?.is_empty(), "it has to wait");
        let again = catalog.jobs_to_follow(at(9), 9).await?;
        assert_eq!(again.iter().map(|row| row.follow_at).collect::<Vec<_>>(), [Some(at(9))]);
        catalog.job_followed(&ended).await?;
        assert!(catalog.jobs_to_follow(at(10), 9).await?.is_empty());
        Ok(())
    }
}

/// Two servers, each with connections of its own, on one PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_do_each_job_once() -> anyhow::Result<()> {
    let url = crate::scene::postgres("two_servers")?;
    let servers = [Catalog::open(&url).await?, Catalog::open(&url).await?];
    for number in 0..100 {
        servers[0].queue_job(&backup_of(&number.to_string(), 0), at(0)).await?;
    }
    let done = race(&servers, 8).await?;
    assert_eq!((done.len(), done.iter().collect::<BTreeSet<_>>().len()), (100, 100));
    Ok(())
}

/// Whoever hangs up in the middle leaves no connection that swallows what others write.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_halfway_takes_nothing_with_it() -> anyhow::Result<()> {
    let url = crate::scene::postgres("given_up_halfway")?;
    let (catalog, other) = (Catalog::open(&url).await?, Catalog::open(&url).await?);
    for polls in 0..20 {
        let job = backup_of(&polls.to_string(), 0);
        let (mut work, mut left) = (std::pin::pin!(catalog.queue_job(&job, at(0))), polls);
        let given_up = std::future::poll_fn(|context| {
            if left == 0 {
                return std::task::Poll::Ready(None);
            }
            left -= 1;
            std::future::Future::poll(work.as_mut(), context).map(Some)
        });
        let _ = given_up.await;
        let vault = vault(&polls.to_string());
        catalog.add_vault(&vault).await?;
        assert_eq!(other.vault(vault.id).await?, vault, "given up after {polls} polls");
    }
    Ok(())
}
