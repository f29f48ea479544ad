//! Slots become jobs: each once, missed ones caught up once, overlapping ones skipped, and all of it recorded.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, minutes, on_both, tick};
use api::JobState;
use catalog::Catalog;
use jiff::{SignedDuration, Timestamp};
use model::policy::Schedule;
use model::protection::{Keep, Protection};
use model::schedule::Skip;
use model::{Origin, Policy};

fn second() -> SignedDuration {
    SignedDuration::from_secs(1)
}

/// What was noted of a machine's slots without a run, the oldest first.
async fn skipped(scene: &Scene, item: &catalog::Item) -> anyhow::Result<Vec<(Timestamp, Skip)>> {
    let mut found = scene.catalog.skipped_runs(item.id, 100).await?;
    found.reverse();
    Ok(found.into_iter().map(|one| (one.slot.at, one.why)).collect())
}

on_both! {
    a_run_begins_at_its_own_moment_after_the_slot_and_not_before(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        let start = scene.start(&db, "2026-11-21T02:00:00Z");
        scene.go_to(start - second()).await?;
        assert!(scene.jobs().await?.is_empty());
        scene.go_to(start).await?;
        scene.go_to(start).await?;
        let jobs = scene.jobs().await?;
        assert_eq!((jobs.len(), jobs[0].state, jobs[0].scheduled, &*jobs[0].name), (1, JobState::Queued, true, "db"));
        let mover = FakeMover::new("server", &FakeVault::default());
        mover.work(&scene.control).await?;
        let point = &scene.catalog.points(db.id, None, 9).await?.rows[0].point;
        let Origin::Scheduled { slot, stands_for } = point.origin else { panic!("{point:?}") };
        assert_eq!((slot.at, stands_for.map(|days| days.last)), (at("2026-11-21T02:00:00Z"), Some(slot.day)));
        assert_eq!(scene.catalog.item(db.id).await?.protection, Protection::Protected { policy: scene.policy.id });
        Ok(())
    }

    what_was_missed_is_caught_up_once_and_told(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        // Nobody was there for three nights.
        scene.go_to(at("2026-11-24T04:00:00Z")).await?;
        scene.go_to(at("2026-11-24T04:00:01Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 1);
        let missed = [21, 22, 23].map(|day| (at(&format!("2026-11-{day}T02:00:00Z")), Skip::Missed));
        assert_eq!(skipped(&scene, &db).await?, missed);
        let alerts = scene.catalog.alerts(true, None, 9).await?.rows;
        assert_eq!((alerts.len(), &*alerts[0].category), (1, "backup_skipped"));
        FakeMover::new("server", &FakeVault::default()).work(&scene.control).await?;
        assert!(scene.catalog.alerts(true, None, 9).await?.rows.is_empty(), "the next run makes up for it");
        Ok(())
    }

    a_run_is_skipped_while_the_one_before_is_under_way(catalog) {
        let four_hourly = model::policy::PolicyDocument {
            schedule: Schedule::Hourly { every_hours: 4, window_start: "00:00".into(), window_hours: 24 },
            ..Policy::enhanced("UTC")
        };
        let scene = Scene::new(catalog, four_hourly, at("2026-11-20T23:00:00Z")).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        scene.go_to(scene.start(&db, "2026-11-21T00:00:00Z")).await?;
        let order = mover.claim(&scene.control).await?.expect("it is due");
        scene.go_to(at("2026-11-21T05:30:00Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 1);
        assert_eq!(skipped(&scene, &db).await?, [(at("2026-11-21T04:00:00Z"), Skip::StillRunning)]);
        mover.carry_out(&scene.control, &order).await?;
        scene.go_to(at("2026-11-21T07:59:00Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 1, "what was skipped is not made up for");
        scene.go_to(at("2026-11-21T09:30:00Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 2);
        Ok(())
    }

    a_changed_schedule_counts_from_now_on_and_changed_retention_changes_no_run(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let start = scene.start(&db, "2026-11-21T02:00:00Z");
        // After the slot and before the start: the run is still to come.
        scene.hand.set(start - second());
        let mut policy = scene.policy.clone();
        policy.document.snapshot_days = 3;
        policy.revision = scene.catalog.update_policy(&policy).await?;
        scene.go_to(start).await?;
        assert_eq!(mover.work(&scene.control).await?.len(), 1);
        scene.hand.set(at("2026-11-21T12:00:00Z"));
        policy.document.schedule = Schedule::Daily { time: "06:00".into() };
        policy.revision = scene.catalog.update_policy(&policy).await?;
        tick(&scene.control).await?;
        scene.go_to(at("2026-11-21T23:00:00Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 1, "this morning's slot was before the change");
        scene.go_to(at("2026-11-22T08:00:00Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 2);
        assert!(skipped(&scene, &db).await?.is_empty());
        Ok(())
    }

    what_is_stopped_does_not_run_and_what_is_resumed_does_not_catch_up(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        let mut item = scene.catalog.item(db.id).await?;
        item.protection = Protection::Stopped { keep: Keep::Forever {} };
        item.revision = scene.catalog.update_item(&item).await?;
        scene.go_to(at("2026-11-23T12:00:00Z")).await?;
        assert!(scene.jobs().await?.is_empty());
        item.protection = Protection::Protected { policy: scene.policy.id };
        scene.catalog.update_item(&item).await?;
        scene.go_to(at("2026-11-23T12:01:00Z")).await?;
        assert!(scene.jobs().await?.is_empty() && skipped(&scene, &db).await?.is_empty());
        scene.go_to(at("2026-11-24T04:00:00Z")).await?;
        assert_eq!(scene.jobs().await?.len(), 1);
        Ok(())
    }

    deleting_points_only_delays_a_run(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        let start = scene.start(&db, "2026-11-21T02:00:00Z");
        let delete = catalog::NewJob {
            id: model::JobId(uuid::Uuid::now_v7()),
            kind: model::job::JobKind::DeleteData,
            vault: Some(scene.vault),
            subject: db.id.to_string(),
            name: "db".into(),
            mover: None,
            host: None,
            request: serde_json::json!({ "request": "delete_points", "points": [], "expired": true }),
            ready: start,
            slot: None,
            asked_by: None,
        };
        scene.catalog.queue_job(&delete, start).await?;
        scene.go_to(start).await?;
        assert_eq!(scene.jobs().await?.len(), 1);
        FakeMover::new("server", &FakeVault::default()).work(&scene.control).await?;
        scene.go_to(start + minutes(2)).await?;
        assert_eq!(scene.jobs().await?.len(), 2);
        assert!(skipped(&scene, &db).await?.is_empty());
        Ok(())
    }

    in_spring_a_time_that_does_not_exist_runs_later_and_once(catalog) {
        // In Berlin 02:30 does not exist on 29 March 2026.
        changing_clocks(catalog, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z").await
    }

    in_autumn_a_time_that_comes_twice_runs_once(catalog) {
        // In Berlin 02:30 comes twice on 25 October 2026.
        changing_clocks(catalog, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z").await
    }
}

async fn changing_clocks(catalog: Catalog, from: &str, slot: &str) -> anyhow::Result<()> {
    let scene = Scene::new(catalog, Policy::standard("Europe/Berlin", "02:30"), at(from)).await?;
    let db = scene.protect(scene.host("server").await?, "db").await?;
    let vault = FakeVault::default();
    for step in 0..36 * 3 {
        scene.go_to(at(from) + minutes(20 * step)).await?;
        FakeMover::new("server", &vault).work(&scene.control).await?;
    }
    let points = scene.catalog.points(db.id, None, 9).await?.rows;
    let slots: Vec<_> = points.iter().filter_map(|row| row.point.slot()).map(|slot| slot.at).collect();
    assert_eq!(slots, [at(slot)]);
    Ok(())
}
