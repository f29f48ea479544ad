//! What waits for ever is told, and what cannot be purged does not keep the rest waiting.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, minutes, on_both, tick};
use api::work::{Order, ReportEvent, Work};
use catalog::{Catalog, Mover, PointRow};
use control::Actor;
use model::job::Step;
use model::{Origin, Point, PointId, Policy, VaultCopy};
use std::collections::BTreeSet;
use uuid::Uuid;

async fn told(catalog: &Catalog) -> anyhow::Result<Vec<String>> {
    let rows = catalog.alerts(true, None, 9).await?.rows;
    Ok(rows.into_iter().filter(|one| one.category == "mover_gone").map(|one| one.text).collect())
}

/// More than one collection is told of.
const MANY: usize = 10_005;

/// So many points that were to be purged long ago.
async fn overdue(scene: &Scene, item: Uuid) -> anyhow::Result<BTreeSet<PointId>> {
    let taken = at("2026-01-01T00:00:00Z");
    let row = |_| PointRow {
        point: Point {
            archive: model::ArchiveCopy::Never,
            id: PointId(Uuid::now_v7()),
            taken,
            origin: Origin::OnDemand { keep_until: taken },
            in_snapshot_tier: false,
            vault: VaultCopy::There,
            pinned: false,
            locked_until: None,
            purge_at: Some(taken),
        },
        item,
        consistency: "crash".to_owned(),
        expires: None,
        stored_bytes: 1,
        detail: serde_json::json!({}),
    };
    let rows: Vec<_> = (0..MANY).map(row).collect();
    scene.catalog.put_points(&rows).await?;
    Ok(rows.into_iter().map(|row| row.point.id).collect())
}

async fn collection(scene: &Scene, mover: &FakeMover) -> anyhow::Result<(Order, Vec<PointId>)> {
    loop {
        let order = mover.claim(&scene.control).await?.expect("there is one every day");
        if let Work::Collect { purge, .. } = &order.work {
            let purge = purge.clone();
            return Ok((order, purge));
        }
        mover.carry_out(&scene.control, &order).await?;
    }
}

on_both! {
    jobs_of_a_mover_that_is_gone_are_told_of(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let far = Mover { name: "far".to_owned(), joined: scene.hand.now(), seen: None };
        scene.catalog.add_mover(&far).await?;
        let mover = FakeMover::new("far", &FakeVault::default());
        let db = scene.protect(scene.host("far").await?, "db").await?;
        let start = scene.start(&db, "2026-11-21T02:00:00Z");
        scene.go_to(start).await?;
        scene.go_to(start + minutes(5)).await?;
        assert!(told(&scene.catalog).await?.is_empty(), "it may come yet");
        scene.go_to(start + minutes(11)).await?;
        let text = told(&scene.catalog).await?.join("\n");
        assert!(text.contains("1 job waits") && text.contains("mover far, which was never heard of"), "{text}");
        assert!(text.contains("start it on its host"), "{text}");
        // It comes, and goes for good with a job on its hands.
        mover.work(&scene.control).await?;
        scene.go_to(scene.hand.now() + minutes(1)).await?;
        assert!(told(&scene.catalog).await?.is_empty());
        let next = scene.start(&db, "2026-11-22T02:00:00Z");
        scene.go_to(next).await?;
        mover.claim(&scene.control).await?.expect("the next night's");
        scene.control.remove_mover(&Actor("alice".to_owned()), "far").await?;
        scene.go_to(next + minutes(15)).await?;
        let text = told(&scene.catalog).await?.join("\n");
        assert!(text.contains("which was removed") && text.contains("join --name far"), "{text}");
        Ok(())
    }

    what_is_never_gone_keeps_nothing_else_waiting(catalog) {
        let now = at("2026-11-20T12:00:00Z");
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), now).await?;
        let db = scene.protect(scene.host("server").await?, "db").await?;
        let all = overdue(&scene, db.id).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let mut named = BTreeSet::new();
        for day in 1..=2 {
            scene.hand.set(now + hours(24 * day));
            tick(&scene.control).await?;
            let (order, purge) = collection(&scene, &mover).await?;
            assert_eq!(purge.len(), 10_000);
            named.extend(purge);
            let result = Some(serde_json::json!({ "gone": [] }));
            mover.say(&scene.control, &order, ReportEvent::StepDone { step: Step::FreeSpace, result }).await?;
        }
        assert_eq!(named, all);
        Ok(())
    }
}
