//! A machine put back in its own place, as the catalog comes to know of it.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, on_both};
use anyhow::Result;
use api::work::{MadePoint, Order, ReplacedDisk, ReportEvent, ToldReplacement, Work};
use api::{Code, RemoveKept, Replace, ReplacementState, StopMachine, UndoReplacement};
use catalog::{Item, PointRow};
use control::{Actor, PointPlace};
use model::job::{Failure, JobKind, Step};
use model::{Origin, Point, PointId, Policy, VaultCopy};
use serde_json::json;
use uuid::Uuid;

const NOON: &str = "2026-11-20T12:00:00Z";

fn alice() -> Actor {
    Actor("alice".to_owned())
}

/// A machine with a point.
async fn machine(scene: &Scene) -> Result<(Item, PointPlace)> {
    let item = scene.protect(scene.host("server").await?, "db").await?;
    let point = Point {
        id: PointId(Uuid::now_v7()),
        taken: at(NOON),
        origin: Origin::OnDemand { keep_until: at("2027-11-20T12:00:00Z") },
        in_snapshot_tier: false,
        vault: VaultCopy::There,
        pinned: false,
        locked_until: None,
        purge_at: None,
        archive: model::ArchiveCopy::Never,
    };
    let place = PointPlace { vault: scene.vault, item: item.id, point: point.id };
    let consistency = "crash".to_owned();
    let row =
        PointRow { point, item: item.id, consistency, expires: None, stored_bytes: 1, detail: json!({}) };
    scene.catalog.put_point(&row).await?;
    Ok((item, place))
}

/// What the script's mover tells of a replacement.
fn told(order: &Order, safety: Option<PointId>, kept: &[&str]) -> serde_json::Value {
    let replacement = match &order.work {
        Work::Replace(work) => work.replacement,
        Work::UndoReplace { replacement, .. } => *replacement,
        other => panic!("{other:?}"),
    };
    let made = |point| MadePoint {
        point,
        taken: at(NOON),
        consistency: "crash".to_owned(),
        evidence: json!({}),
        disks: Vec::new(),
        stored_bytes: 3,
        in_snapshot_tier: false,
        in_vault_tier: true,
    };
    json!(ToldReplacement {
        replacement,
        journal: "/m/strongroom-restore-1.json".to_owned(),
        disks: vec![ReplacedDisk { name: "vda".to_owned(), file: "/m/vda".to_owned(), bytes: 1 }],
        was_running: true,
        kept: kept.iter().map(|file| (*file).to_owned()).collect(),
        safety: safety.map(made),
    })
}

async fn say(
    scene: &Scene,
    mover: &FakeMover,
    order: &Order,
    step: Step,
    result: serde_json::Value,
) -> Result<()> {
    mover.say(&scene.control, order, ReportEvent::StepDone { step, result: Some(result) }).await?;
    Ok(())
}

async fn state(scene: &Scene, item: &Item) -> Result<Vec<ReplacementState>> {
    let all = scene.control.replacements(scene.vault, item.id).await?;
    Ok(all.into_iter().map(|one| one.state).collect())
}

on_both! {
    a_machine_goes_back_fails_is_finished_undone_and_forgotten(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at(NOON)).await?;
        let (item, place) = machine(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let wish = Replace { stop: Some(StopMachine::ShutDown), keep_days: Some(7), ..Replace::default() };

        // A plan changes nothing, and is noted nowhere.
        scene.control.replace(&alice(), place, &Replace { plan: true, ..wish.clone() }).await?;
        let order = mover.claim(&scene.control).await?.expect("a plan");
        assert_eq!(order.kind, JobKind::Plan);
        say(&scene, &mover, &order, Step::Plan, told(&order, None, &[])).await?;
        assert!(state(&scene, &item).await?.is_empty() && scene.catalog.audit(0, 9).await?.is_empty());

        scene.control.replace(&alice(), place, &wish).await?;
        let excluded = scene.control.replace(&alice(), place, &wish).await;
        assert_eq!(excluded.expect_err("one at a time").code(), Code::Conflict);
        let order = mover.claim(&scene.control).await?.expect("it");
        let Work::Replace(work) = &order.work else { panic!("{:?}", order.work) };
        let service = work.safety.clone().expect("a point is made of what is there");
        let keep_until = at(NOON) + super::scene::hours(7 * 24);
        assert_eq!((service.job, service.origin), (order.job, Origin::OnDemand { keep_until }));
        say(&scene, &mover, &order, Step::Plan, told(&order, None, &[])).await?;
        assert_eq!(state(&scene, &item).await?, [ReplacementState::UnderWay]);
        let saved = PointId(Uuid::now_v7());
        say(&scene, &mover, &order, Step::KeepCurrent, told(&order, Some(saved), &[])).await?;
        let point = scene.catalog.point(saved).await?;
        assert_eq!((point.item, point.point.origin), (item.id, Origin::OnDemand { keep_until }));
        mover.fail(&scene.control, &order, Failure::Invalid).await?;
        assert_eq!(state(&scene, &item).await?, [ReplacementState::Unfinished]);
        let another = scene.control.replace(&alice(), place, &wish).await.expect_err("the first is open");
        assert!(another.into_problem().hint.is_some_and(|hint| hint.contains("restore finish db")));

        // Another job means the same replacement.
        let one = scene.control.replacements(scene.vault, item.id).await?.remove(0);
        let at_it = (scene.vault, item.id, one.id);
        let early = scene.control.remove_kept(&alice(), at_it, RemoveKept::default()).await;
        assert_eq!(early.expect_err("it is not finished").code(), Code::Conflict);
        scene.control.finish_replacement(&alice(), at_it).await?;
        let order = mover.claim(&scene.control).await?.expect("another job");
        let Work::Replace(again) = &order.work else { panic!("{:?}", order.work) };
        assert_eq!((again.replacement, order.steps_done), (one.id, 0));
        for step in JobKind::Replace.steps() {
            say(&scene, &mover, &order, *step, told(&order, Some(saved), &["/m/vda.before"])).await?;
        }
        let done = scene.control.replacements(scene.vault, item.id).await?.remove(0);
        assert_eq!((done.state, done.safety_point), (ReplacementState::Done, Some(saved)));
        assert_eq!(done.kept, ["/m/vda.before"]);
        assert!(scene.control.finish_replacement(&alice(), at_it).await.is_err());

        let undo = UndoReplacement { stop: None };
        scene.control.undo_replacement(&alice(), at_it, &undo).await?;
        let order = mover.claim(&scene.control).await?.expect("to undo it");
        let Work::UndoReplace { journal, .. } = &order.work else { panic!("{:?}", order.work) };
        assert_eq!(*journal, done.journal);
        say(&scene, &mover, &order, Step::PutBack, told(&order, None, &["/m/vda.undone"])).await?;
        let undone = scene.control.replacements(scene.vault, item.id).await?.remove(0);
        assert_eq!((undone.state, undone.safety_point), (ReplacementState::Undone, Some(saved)));

        let unseen = RemoveKept { files: done.kept };
        let unseen = scene.control.remove_kept(&alice(), at_it, unseen).await;
        assert_eq!(unseen.expect_err("that is not kept any more").code(), Code::Changed);
        scene.control.remove_kept(&alice(), at_it, RemoveKept { files: undone.kept }).await?;
        let order = mover.claim(&scene.control).await?.expect("to remove it");
        mover.carry_out(&scene.control, &order).await?;
        assert!(state(&scene, &item).await?.is_empty());
        let audit = scene.catalog.audit(0, 9).await?;
        let verbs: Vec<_> = audit.iter().map(|entry| entry.action.as_str()).collect();
        let replace = "point.replace"; // one of them was excluded
        assert_eq!(verbs, [replace, replace, "replacement.finish", "replacement.undo", "replacement.remove"]);
        Ok(())
    }
}
