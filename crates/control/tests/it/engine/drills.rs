//! Drills: asked for by a policy, made one at a time, and kept with their points.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, minutes, on_both, tick};
use api::work::{Instruction, Order, PictureReport, ReportEvent, Work};
use api::{Drill, JobState, Screenshot};
use catalog::Item;
use control::{Actor, PointPlace};
use jiff::Timestamp;
use model::drill::{CheckRecord, DrillRecord, DrillStage, Verdict};
use model::job::JobKind;
use model::policy::{DrillOptions, DrillRhythm, Drills, PolicyDocument, Weekday};
use model::{PointId, Policy};

/// Points every night; drills every Sunday from 10:00 for eight hours, or as is said.
fn document(every: DrillRhythm) -> PolicyDocument {
    let options = DrillOptions { memory_mib: Some(512), ..DrillOptions::default() };
    let (window_start, window_hours) = ("10:00".to_owned(), 8);
    let drills = Some(Drills { every, window_start, window_hours, proof_days: 10, options });
    PolicyDocument { drills, ..Policy::standard("UTC", "02:00") }
}

const SUNDAYS: DrillRhythm = DrillRhythm::Weekly { weekday: Weekday::Sunday };

pub(super) fn record(verdict: Verdict) -> DrillRecord {
    DrillRecord {
        verdict,
        restore_ms: Some(900),
        boot_ms: Some(7000),
        read_bytes: 40 << 20,
        guest: Some("Debian".to_owned()),
        checks: vec![CheckRecord { name: "db".into(), failure: None, output: "t".into(), took_ms: 30 }],
        console: "login:".to_owned(),
        left_out: Vec::new(),
    }
}

fn bad() -> DrillRecord {
    record(Verdict::Failed { stage: DrillStage::Boot, reason: "no agent".to_owned() })
}

/// A machine with a point of the night before.
async fn saved(scene: &Scene, mover: &FakeMover, name: &str) -> anyhow::Result<Item> {
    let item = scene.protect(scene.host("server").await?, name).await?;
    scene.go_to(scene.hand.now() + hours(16)).await?;
    mover.work(&scene.control).await?;
    Ok(item)
}

async fn newest(scene: &Scene, item: &Item) -> anyhow::Result<PointPlace> {
    let point = scene.catalog.points(item.id, None, 1).await?.rows[0].point.id;
    Ok(PointPlace { vault: scene.vault, item: item.id, point })
}

/// All drills that there were.
async fn drills(scene: &Scene) -> anyhow::Result<Vec<api::Job>> {
    Ok(scene.jobs().await?.into_iter().filter(|job| job.kind == JobKind::Drill).collect())
}

/// Reports a drill's steps, the record with the last.
pub(super) async fn drilled(
    scene: &Scene,
    mover: &FakeMover,
    order: &Order,
    record: &DrillRecord,
) -> anyhow::Result<()> {
    for (place, step) in order.kind.steps().iter().enumerate().skip(order.steps_done) {
        let is_last = place + 1 == order.kind.steps().len();
        let result = if is_last { Some(serde_json::to_value(record)?) } else { None };
        mover.say(&scene.control, order, ReportEvent::StepDone { step: *step, result }).await?;
    }
    Ok(())
}

/// The next drill that the mover may make, if any; it does all else that comes first.
async fn next_drill(scene: &Scene, mover: &FakeMover) -> anyhow::Result<Option<Order>> {
    while let Some(order) = mover.claim(&scene.control).await? {
        if order.kind == JobKind::Drill {
            return Ok(Some(order));
        }
        mover.carry_out(&scene.control, &order).await?;
    }
    Ok(None)
}

async fn claimed(scene: &Scene, mover: &FakeMover) -> anyhow::Result<Order> {
    Ok(next_drill(scene, mover).await?.expect("a drill is to be done"))
}

async fn alerts(scene: &Scene) -> anyhow::Result<Vec<String>> {
    let rows = scene.catalog.alerts(true, None, 9).await?.rows;
    Ok(rows.into_iter().filter(|one| one.category == "drill_failed").map(|one| one.text).collect())
}

async fn put_policy(scene: &Scene, document: PolicyDocument) -> anyhow::Result<()> {
    let mut row = scene.catalog.policy(scene.policy.id).await?;
    row.document = document;
    scene.catalog.update_policy(&row).await?;
    Ok(())
}

/// 2026-11-22 is a Sunday.
const SATURDAY: &str = "2026-11-21T12:00:00Z";

fn sunday(time: &str) -> Timestamp {
    at(&format!("2026-11-22T{time}:00Z"))
}

on_both! {
    a_policy_has_its_newest_point_tried_once_a_week(catalog) {
        let scene = Scene::new(catalog, document(SUNDAYS), at(SATURDAY)).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let db = saved(&scene, &mover, "db").await?;
        scene.go_to(sunday("09:59")).await?;
        assert!(drills(&scene).await?.is_empty());
        scene.go_to(sunday("10:00")).await?;
        // Another server looks as well.
        tick(&scene.server(&scene.catalog, super::scene::WIDE)).await?;
        assert_eq!(drills(&scene).await?.len(), 1);
        scene.go_to(sunday("14:00")).await?;
        let order = claimed(&scene, &mover).await?;
        let place = newest(&scene, &db).await?;
        let Work::Drill { item, point, options } = &order.work else { panic!("{order:?}") };
        assert_eq!((*item, *point, options.memory_mib), (db.id, place.point, Some(512)));
        assert!(order.vault.key.contains("the key"));
        drilled(&scene, &mover, &order, &record(Verdict::Proved)).await?;
        let told = scene.control.point(place).await?.drill.expect("it stands on the point");
        assert_eq!((told.record, told.job, told.ended), (record(Verdict::Proved), order.job, sunday("14:00")));
        assert!(!told.has_screenshot && alerts(&scene).await?.is_empty());
        // Once a week, and not again before the next.
        scene.go_to(sunday("17:00")).await?;
        assert_eq!(drills(&scene).await?.len(), 1);
        scene.go_to(at("2026-11-29T10:00:00Z")).await?;
        assert_eq!(drills(&scene).await?.len(), 2);
        Ok(())
    }

    a_bad_point_is_told_until_one_is_good(catalog) {
        let scene = Scene::new(catalog, document(DrillRhythm::Never {}), at(SATURDAY)).await?;
        let (mover, actor) = (FakeMover::new("server", &FakeVault::default()), Actor("alice".to_owned()));
        let db = saved(&scene, &mover, "db").await?;
        let place = newest(&scene, &db).await?;
        scene.control.drill(&actor, place, Drill::default()).await?;
        let order = claimed(&scene, &mover).await?;
        drilled(&scene, &mover, &order, &bad()).await?;
        let texts = alerts(&scene).await?;
        assert!(texts.len() == 1 && texts[0].contains("db") && texts[0].contains("failed to boot: no agent"), "{texts:?}");
        // What could not be tried at all is told, too, and says nothing of the point.
        let wish = Drill { options: Some(DrillOptions { cpus: Some(1), ..DrillOptions::default() }), mover: None, from_copy: false };
        scene.control.drill(&actor, place, wish).await?;
        let order = claimed(&scene, &mover).await?;
        let Work::Drill { options, .. } = &order.work else { panic!("{order:?}") };
        assert_eq!((options.cpus, options.memory_mib), (Some(1), None), "as was asked for, not as the policy says");
        drilled(&scene, &mover, &order, &record(Verdict::Proved)).await?;
        assert!(alerts(&scene).await?.is_empty());
        assert_eq!(scene.control.point(place).await?.drill.expect("the last one").record.verdict, Verdict::Proved);
        // Nonsense is refused with its place.
        let options = Some(DrillOptions { boot_limit_s: 0, ..DrillOptions::default() });
        let refused = scene.control.drill(&actor, place, Drill { options, mover: None, from_copy: false }).await.unwrap_err();
        assert_eq!(refused.into_problem().violations[0].pointer, "/options/boot_limit_s");
        let stranger = Drill { options: None, mover: Some("nobody".to_owned()), from_copy: false };
        assert!(scene.control.drill(&actor, place, stranger).await.is_err());
        Ok(())
    }

    a_mover_makes_one_at_a_time_and_others_go_on(catalog) {
        let scene = Scene::new(catalog, document(SUNDAYS), at(SATURDAY)).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let host = scene.host("server").await?;
        for name in ["a", "b", "c"] {
            scene.protect(host, name).await?;
        }
        scene.go_to(sunday("04:30")).await?;
        mover.work(&scene.control).await?;
        scene.go_to(sunday("10:00")).await?;
        scene.go_to(sunday("14:00")).await?;
        assert_eq!(drills(&scene).await?.len(), 3);
        let first = claimed(&scene, &mover).await?;
        assert!(next_drill(&scene, &mover).await?.is_none(), "a host has memory for one");
        drilled(&scene, &mover, &first, &record(Verdict::Proved)).await?;
        let second = claimed(&scene, &mover).await?;
        // Its mover dies: when its lease is over, it takes no room.
        scene.go_to(sunday("14:00") + minutes(2)).await?;
        let third = claimed(&scene, &mover).await?;
        assert_ne!(third.job, first.job);
        assert!(second.steps_done == 0 && third.steps_done == 0);
        // What nobody has begun by the window's end is left out.
        drilled(&scene, &mover, &third, &bad()).await?;
        scene.go_to(sunday("18:00")).await?;
        assert!(next_drill(&scene, &mover).await?.is_none());
        let states: Vec<_> = drills(&scene).await?.into_iter().map(|job| job.state).collect();
        assert_eq!(states.iter().filter(|state| **state == JobState::Completed).count(), 2, "{states:?}");
        assert_eq!(states.iter().filter(|state| **state == JobState::Cancelled).count(), 1, "{states:?}");
        Ok(())
    }

    every_nth_point_is_tried(catalog) {
        let scene = Scene::new(catalog, document(DrillRhythm::Points { count: 2 }), at(SATURDAY)).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let db = saved(&scene, &mover, "db").await?;
        let mut tried = Vec::new();
        for day in 0..6 {
            scene.go_to(sunday("10:00") + hours(24 * day)).await?;
            scene.go_to(sunday("14:00") + hours(24 * day)).await?;
            if let Some(order) = next_drill(&scene, &mover).await? {
                let place = newest(&scene, &db).await?;
                assert!(matches!(order.work, Work::Drill { point, .. } if point == place.point), "{order:?}");
                drilled(&scene, &mover, &order, &bad()).await?;
                tried.push(day);
            }
            scene.go_to(sunday("05:00") + hours(24 * (day + 1))).await?;
            mover.work(&scene.control).await?;
        }
        assert_eq!(tried, [1, 3, 5]);
        Ok(())
    }

    a_report_puts_machines_without_a_proof_first(catalog) {
        let scene = Scene::new(catalog, document(DrillRhythm::Never {}), at(SATURDAY)).await?;
        let (mover, actor) = (FakeMover::new("server", &FakeVault::default()), Actor("alice".to_owned()));
        let host = scene.host("server").await?;
        let mut items = Vec::new();
        for name in ["never", "failed", "old", "fresh"] {
            items.push(scene.protect(host, name).await?);
        }
        let mut try_out = Vec::new();
        scene.go_to(sunday("05:00")).await?;
        mover.work(&scene.control).await?;
        try_out.push((2, record(Verdict::Proved)));
        try_out.push((1, bad()));
        for (of, came) in &try_out {
            scene.control.drill(&actor, newest(&scene, &items[*of]).await?, Drill::default()).await?;
            drilled(&scene, &mover, &claimed(&scene, &mover).await?, came).await?;
        }
        scene.go_to(sunday("05:00") + hours(24 * 9)).await?;
        mover.work(&scene.control).await?;
        scene.control.drill(&actor, newest(&scene, &items[3]).await?, Drill::default()).await?;
        drilled(&scene, &mover, &claimed(&scene, &mover).await?, &record(Verdict::Proved)).await?;
        scene.hand.set(sunday("05:00") + hours(24 * 11));
        let told = scene.control.proofs(scene.vault).await?.items;
        let short: Vec<_> = told.iter().map(|one| (one.name.as_str(), one.is_overdue, one.verdict.as_deref())).collect();
        assert_eq!(
            short,
            [("failed", true, Some("failed")), ("never", true, None), ("old", true, Some("proved")), ("fresh", false, Some("proved"))]
        );
        assert!(told.iter().all(|one| one.allowed_days == 10 && one.policy.as_deref() == Some("daily")));
        // Without a word of the policy's it is a month.
        put_policy(&scene, Policy::standard("UTC", "02:00")).await?;
        let told = scene.control.proofs(scene.vault).await?.items;
        assert!(told[2].allowed_days == 30 && !told[2].is_overdue, "{told:?}");
        Ok(())
    }

    a_picture_is_kept_for_who_holds_the_claim(catalog) {
        let scene = Scene::new(catalog, document(DrillRhythm::Never {}), at(SATURDAY)).await?;
        let (mover, actor) = (FakeMover::new("server", &FakeVault::default()), Actor("alice".to_owned()));
        let db = saved(&scene, &mover, "db").await?;
        let place = newest(&scene, &db).await?;
        scene.control.drill(&actor, place, Drill::default()).await?;
        let order = claimed(&scene, &mover).await?;
        let picture = |data: &str| PictureReport {
            claimant: mover.claimant,
            generation: order.generation,
            screenshot: Screenshot { format: "png".to_owned(), data: data.to_owned() },
        };
        assert!(scene.control.screenshot(place, false).await.is_err());
        assert!(scene.control.keep_picture("server", order.job, &picture("<svg>")).await.is_err());
        scene.control.keep_picture("server", order.job, &picture("aGVsbG8=")).await?;
        drilled(&scene, &mover, &order, &record(Verdict::Proved)).await?;
        assert_eq!(scene.control.screenshot(place, false).await?.data, "aGVsbG8=");
        assert!(scene.control.point(place).await?.drill.expect("it was tried").has_screenshot);
        let late = scene.control.keep_picture("server", order.job, &picture("bGF0ZQ==")).await;
        assert!(late.is_err(), "the claim is over");
        let nothing = PointPlace { point: PointId(uuid::Uuid::now_v7()), ..place };
        assert!(scene.control.screenshot(nothing, false).await.is_err());
        let lost = mover.say(&scene.control, &order, ReportEvent::GoesOn {}).await?;
        assert!(matches!(lost, Instruction::Over {}), "{lost:?}");
        Ok(())
    }
}
