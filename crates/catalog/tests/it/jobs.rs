//! Jobs: each done once, whoever reaches for it and whoever dies.

use crate::scene::{at, on_both, vault};
use catalog::{Catalog, ErrorKind, JobFilter, NewJob};
use jiff::SignedDuration;
use model::{HolderId, JobId};
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

const LEASE: SignedDuration = SignedDuration::from_secs(30);

fn backup_of(subject: &str, ready: i64) -> NewJob {
    NewJob {
        id: JobId(Uuid::now_v7()),
        kind: "backup".into(),
        vault: Some(vault("v").id),
        subject: subject.into(),
        request: json!({ "full": false }),
        ready: at(ready),
        slot: None,
    }
}

fn holder() -> HolderId {
    HolderId(Uuid::now_v7())
}

async fn race(catalogs: &[Catalog], each: usize) -> anyhow::Result<Vec<JobId>> {
    let holders = catalogs.iter().cycle().take(each).map(|catalog| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            let (me, mut mine) = (holder(), Vec::new());
            while let Some((claim, _)) = catalog.claim_job(me, at(0), LEASE).await? {
                mine.push(claim.job);
                catalog.end_job(&claim, "completed", &json!({}), at(1)).await?;
            }
            Ok::<_, catalog::Error>(mine)
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
        for number in 0..100 {
            let job = backup_of(&number.to_string(), 0);
            catalog.add_job(&job, at(0)).await?;
            jobs.insert(job.id);
        }
        let done = race(&[catalog], 8).await?;
        assert_eq!(done.len(), 100, "none twice");
        assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), jobs, "none left out");
        Ok(())
    }

    a_job_waits_for_its_time_and_the_longest_ready_goes_first(catalog) {
        let (late, early) = (backup_of("late", 20), backup_of("early", 10));
        catalog.add_job(&late, at(0)).await?;
        catalog.add_job(&early, at(1)).await?;
        assert!(catalog.claim_job(holder(), at(9), LEASE).await?.is_none());
        let (claim, job) = catalog.claim_job(holder(), at(25), LEASE).await?.expect("two are ready");
        assert_eq!((claim.job, job.state.as_str(), job.attempt), (early.id, "running", 1));
        assert_eq!((job.started, job.new), (Some(at(25)), early));
        Ok(())
    }

    a_holder_that_was_too_slow_can_write_nothing(catalog) {
        catalog.add_job(&backup_of("db", 0), at(0)).await?;
        let (slow, _) = catalog.claim_job(holder(), at(0), LEASE).await?.expect("ready");
        assert!(catalog.claim_job(holder(), at(30), LEASE).await?.is_none(), "the lease holds");
        let (quick, job) = catalog.claim_job(holder(), at(31), LEASE).await?.expect("the lease has ended");
        assert_eq!((job.generation, job.attempt), (2, 2));
        let progress = json!({ "bytes": 7 });
        for refused in [
            catalog.renew_job(&slow, &progress, at(32), LEASE).await.map(drop),
            catalog.end_job(&slow, "completed", &json!({}), at(32)).await,
            catalog.put_job_back(&slow, &json!({}), at(32)).await,
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Changed);
        }
        assert!(!catalog.renew_job(&quick, &progress, at(60), LEASE).await?);
        assert!(catalog.claim_job(holder(), at(90), LEASE).await?.is_none(), "renewed");
        catalog.end_job(&quick, "completed", &json!({ "point": 1 }), at(61)).await?;
        assert_eq!(catalog.end_job(&quick, "failed", &json!({}), at(62)).await.unwrap_err().kind(), ErrorKind::Changed);
        let job = catalog.job(quick.job).await?;
        assert_eq!((job.state.as_str(), job.ended, job.owner), ("completed", Some(at(61)), None));
        assert_eq!((job.progress, job.result), (progress, Some(json!({ "point": 1 }))));
        Ok(())
    }

    one_backup_of_a_machine_at_a_time_and_one_run_for_a_slot(catalog) {
        let slot = |subject: &str| NewJob { slot: Some("2026-11-21/0".into()), ..backup_of(subject, 0) };
        assert!(catalog.add_job(&slot("db"), at(0)).await?);
        assert!(!catalog.add_job(&slot("db"), at(0)).await?, "the slot has its run");
        assert_eq!(catalog.add_job(&backup_of("db", 0), at(0)).await.unwrap_err().kind(), ErrorKind::Exists);
        assert!(catalog.add_job(&slot("web"), at(0)).await?);
        let restore = NewJob { kind: "restore".into(), ..backup_of("db", 0) };
        assert!(catalog.add_job(&restore, at(0)).await?);
        assert!(catalog.add_job(&NewJob { id: JobId(Uuid::now_v7()), ..restore }, at(0)).await?, "restores may be many");
        let (claim, _) = catalog.claim_job(holder(), at(0), LEASE).await?.expect("ready");
        catalog.end_job(&claim, "failed", &json!({}), at(1)).await?;
        assert!(!catalog.add_job(&slot("db"), at(2)).await?, "also when it is over");
        assert!(catalog.add_job(&backup_of("db", 0), at(2)).await?);
        Ok(())
    }

    a_job_given_back_is_tried_again_later(catalog) {
        catalog.add_job(&backup_of("db", 0), at(0)).await?;
        let (claim, _) = catalog.claim_job(holder(), at(0), LEASE).await?.expect("ready");
        catalog.put_job_back(&claim, &json!({ "error": "busy" }), at(60)).await?;
        assert!(catalog.claim_job(holder(), at(59), LEASE).await?.is_none());
        let (_, job) = catalog.claim_job(holder(), at(60), LEASE).await?.expect("ready again");
        assert_eq!((job.attempt, job.started, job.result), (2, Some(at(0)), Some(json!({ "error": "busy" }))));
        Ok(())
    }

    what_waits_is_cancelled_at_once_and_what_runs_is_told(catalog) {
        let (first, second) = (backup_of("db", 0), backup_of("web", 1));
        catalog.add_job(&first, at(0)).await?;
        catalog.add_job(&second, at(0)).await?;
        let (claim, _) = catalog.claim_job(holder(), at(2), LEASE).await?.expect("ready");
        assert!(catalog.cancel_job(first.id, at(3)).await? && catalog.cancel_job(second.id, at(3)).await?);
        assert_eq!(catalog.job(second.id).await?.state, "cancelled");
        assert!(catalog.claim_job(holder(), at(4), LEASE).await?.is_none());
        assert!(catalog.renew_job(&claim, &json!({}), at(5), LEASE).await?, "it is told");
        catalog.end_job(&claim, "cancelled", &json!({}), at(6)).await?;
        assert!(!catalog.cancel_job(first.id, at(7)).await?);
        let filter = JobFilter { state: Some("cancelled".into()), kind: Some("backup".into()), ..JobFilter::default() };
        assert_eq!(catalog.jobs(&filter, None, 10).await?.rows.len(), 2);
        assert_eq!(catalog.forget_jobs(at(6)).await?, 1);
        assert_eq!(catalog.job(second.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        Ok(())
    }
}

/// Two servers, each with connections of its own, on one PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_do_each_job_once() -> anyhow::Result<()> {
    let url = crate::scene::postgres("two_servers")?;
    let servers = [Catalog::open(&url).await?, Catalog::open(&url).await?];
    for number in 0..200 {
        servers[0].add_job(&backup_of(&number.to_string(), 0), at(0)).await?;
    }
    let done = race(&servers, 16).await?;
    assert_eq!((done.len(), done.iter().collect::<BTreeSet<_>>().len()), (200, 200));
    Ok(())
}
