//! What expires is deleted, what is to be kept by then is not, and a dry run told the truth.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, on_both, tick};
use api::VaultSettings;
use api::work::Work;
use jiff::{SignedDuration, Timestamp};
use model::policy::Daily;
use model::protection::Protection;
use model::retention::{Tier, difference};
use model::{Point, Policy};
use std::collections::BTreeSet;
use uuid::Uuid;

const NIGHTS: i64 = 40;

/// A machine with a point of each of many nights, in a vault that keeps them for 30 days.
async fn many_nights(
    catalog: catalog::Catalog,
    settings: VaultSettings,
) -> anyhow::Result<(Scene, catalog::Item, FakeMover)> {
    let from = at("2026-09-01T12:00:00Z");
    let scene = Scene::with(catalog, Policy::standard("UTC", "02:00"), from, settings).await?;
    let db = scene.protect(scene.host("server").await?, "db").await?;
    let mover = FakeMover::new("server", &FakeVault::default());
    nights(&scene, &mover, from, NIGHTS).await?;
    Ok((scene, db, mover))
}

async fn nights(scene: &Scene, mover: &FakeMover, from: Timestamp, count: i64) -> anyhow::Result<()> {
    for night in 0..count {
        scene.go_to(from + hours(24 * night + 16)).await?;
        mover.work(&scene.control).await?;
    }
    Ok(())
}

async fn points(scene: &Scene, item: Uuid) -> anyhow::Result<Vec<Point>> {
    Ok(scene.catalog.points_to_plan(item).await?.into_iter().map(|one| one.point).collect())
}

/// Which points of an item are not deleted.
async fn live(scene: &Scene, item: Uuid) -> anyhow::Result<BTreeSet<Uuid>> {
    Ok(points(scene, item)
        .await?
        .into_iter()
        .filter(|point| !point.is_deleted())
        .map(|point| point.id.0)
        .collect())
}

on_both! {
    points_expire_when_their_days_are_over_and_are_purged_later(catalog) {
        let (scene, db, mover) = many_nights(catalog, VaultSettings::default()).await?;
        let all = points(&scene, db.id).await?;
        assert_eq!(all.len() as i64, NIGHTS, "none is forgotten before it could be purged");
        let live_now = live(&scene, db.id).await?;
        assert_eq!(live_now.len(), 30);
        let deleted: BTreeSet<Uuid> = mover.vault.0.lock().unwrap().deleted.clone();
        assert_eq!(all.iter().map(|point| point.id.0).filter(|id| !live_now.contains(id)).collect::<BTreeSet<_>>(), deleted);
        // Two weeks on, the first of them are gone for good.
        nights(&scene, &mover, at("2026-10-11T12:00:00Z"), 14).await?;
        assert!(points(&scene, db.id).await?.len() < all.len() + 14);
        assert!(points(&scene, db.id).await?.iter().all(|point| point.purge_at.is_none_or(|at| at > scene.hand.now() - hours(48))));
        Ok(())
    }

    a_dry_run_tells_what_retention_then_deletes(catalog) {
        let (scene, db, mover) = many_nights(catalog, VaultSettings::default()).await?;
        let before = live(&scene, db.id).await?;
        let mut row = scene.policy.clone();
        row.document.vault.daily = Some(Daily { keep_days: 7 });
        let (old, new) = (scene.policy.document.clone().check()?, row.document.clone().check()?);
        let told = difference(&points(&scene, db.id).await?, &old, &new, scene.hand.now());
        let lost: BTreeSet<Uuid> = told.lost.iter().filter(|one| one.tier == Tier::Vault).map(|one| one.point.0).collect();
        assert_eq!(lost.len(), 23);
        scene.catalog.update_policy(&row).await?;
        tick(&scene.control).await?;
        mover.work(&scene.control).await?;
        let gone: BTreeSet<Uuid> = before.difference(&live(&scene, db.id).await?).copied().collect();
        assert_eq!(gone, lost);
        Ok(())
    }

    what_is_to_be_kept_by_the_time_of_the_claim_stays(catalog) {
        let (scene, db, mover) = many_nights(catalog, VaultSettings::default()).await?;
        let before = live(&scene, db.id).await?;
        let mut row = scene.policy.clone();
        row.document.vault.daily = Some(Daily { keep_days: 7 });
        row.revision = scene.catalog.update_policy(&row).await?;
        tick(&scene.control).await?;
        assert!(scene.jobs().await?.last().is_some_and(|job| !job.state.is_over()), "deletion is ordered");
        // Somebody thinks better of it before a mover takes the order.
        row.document.vault.daily = Some(Daily { keep_days: 30 });
        scene.catalog.update_policy(&row).await?;
        assert!(mover.claim(&scene.control).await?.is_none(), "nothing is left to be deleted");
        tick(&scene.control).await?;
        assert_eq!(live(&scene, db.id).await?, before);
        Ok(())
    }

    an_immutable_vault_keeps_its_promises(catalog) {
        let settings = VaultSettings { immutable: true, ..VaultSettings::default() };
        let (scene, db, mover) = many_nights(catalog, settings).await?;
        let before = live(&scene, db.id).await?;
        let locks: Vec<_> = points(&scene, db.id).await?.iter().filter(|point| !point.is_deleted()).map(|point| point.locked_until).collect();
        assert!(locks.iter().all(Option::is_some));
        let mut row = scene.policy.clone();
        row.document.vault.daily = Some(Daily { keep_days: 7 });
        scene.catalog.update_policy(&row).await?;
        tick(&scene.control).await?;
        mover.work(&scene.control).await?;
        assert_eq!(live(&scene, db.id).await?, before, "whatever the policy comes to say");
        Ok(())
    }

    what_is_left_of_a_deleted_machine_is_purged_and_it_is_unprotected(catalog) {
        let (scene, db, mover) = many_nights(catalog, VaultSettings::default()).await?;
        let now = scene.hand.now();
        let mut item = scene.catalog.item(db.id).await?;
        let purge_at = now + hours(24 * 14);
        item.protection = Protection::Deleted { purge_at };
        scene.catalog.update_item(&item).await?;
        let delete = catalog::NewJob {
            id: model::JobId(Uuid::now_v7()),
            kind: model::job::JobKind::DeleteData,
            vault: Some(scene.vault),
            subject: db.id.to_string(),
            name: "db".into(),
            mover: None,
            host: None,
            request: serde_json::json!({ "request": "delete_points", "points": [], "expired": false }),
            ready: now,
            slot: None,
            asked_by: None,
        };
        scene.catalog.queue_job(&delete, now).await?;
        let order = mover.claim(&scene.control).await?.expect("the order");
        let Work::DeletePoints { points: ordered, .. } = &order.work else { panic!("{order:?}") };
        assert_eq!(ordered.len() as i64, NIGHTS);
        mover.carry_out(&scene.control, &order).await?;
        assert!(live(&scene, db.id).await?.is_empty());
        scene.go_to(purge_at - SignedDuration::from_secs(1)).await?;
        mover.work(&scene.control).await?;
        assert!(!points(&scene, db.id).await?.is_empty(), "it can be brought back");
        for day in 0..3 {
            scene.go_to(purge_at + hours(24 * day)).await?;
            mover.work(&scene.control).await?;
        }
        assert!(points(&scene, db.id).await?.is_empty());
        assert_eq!(scene.catalog.item(db.id).await?.protection, Protection::Unprotected {});
        Ok(())
    }
}
