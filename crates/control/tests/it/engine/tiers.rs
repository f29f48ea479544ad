//! The life of points through the tiers, with the clock moved by days: `Snapshot`, `Snapshot and vault`, `Vault`.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, on_both};
use api::VaultSettings;
use api::work::Work;
use control::{Actor, Paging, PointPlace};
use model::policy::Transfer;
use model::{Origin, Point, Policy, VaultCopy};

const SNAPSHOT_DAYS: i64 = 3;

/// Days of a machine with a point every four hours, of which each day's last one, or all, get to the vault.
async fn days(
    catalog: catalog::Catalog,
    transfer: Transfer,
    count: i64,
) -> anyhow::Result<(Scene, catalog::Item, FakeMover)> {
    let mut document = Policy::enhanced("UTC");
    document.snapshot_days = SNAPSHOT_DAYS as u16;
    document.vault.transfer = transfer;
    let settings =
        VaultSettings { snapshot_store: Some("/snapshots".to_owned()), ..VaultSettings::default() };
    let scene = Scene::with(catalog, document, at("2026-09-01T06:00:00Z"), settings).await?;
    let db = scene.protect(scene.host("server").await?, "db").await?;
    let mover = FakeMover::new("server", &FakeVault::default());
    for _ in 0..count * 6 {
        scene.go_to(scene.hand.now() + hours(4)).await?;
        mover.work(&scene.control).await?;
        scene.go_to(scene.hand.now()).await?;
        mover.work(&scene.control).await?;
    }
    Ok((scene, db, mover))
}

async fn points(scene: &Scene, item: &catalog::Item) -> anyhow::Result<Vec<Point>> {
    Ok(scene.catalog.points_to_plan(item.id).await?.into_iter().map(|one| one.point).collect())
}

fn closes_day(point: &Point) -> bool {
    matches!(point.origin, Origin::Scheduled { slot, .. } if slot.closes_day)
}

on_both! {
    the_days_last_point_gets_to_the_vault_and_the_others_end_with_their_snapshot_days(catalog) {
        let (scene, db, _) = days(catalog, Transfer::LastOfDay, 8).await?;
        let (all, now) = (points(&scene, &db).await?, scene.hand.now());
        let (mut snapshots, mut both, mut vault) = (0, 0, 0);
        for point in &all {
            assert_eq!(point.vault == VaultCopy::There, closes_day(point), "{point:?}");
            // Expiry is seen to at the next look, four hours later at most.
            let age = now.duration_since(point.taken);
            if age < hours(24 * SNAPSHOT_DAYS) {
                assert!(point.in_snapshot_tier, "{point:?}");
            } else if age > hours(24 * SNAPSHOT_DAYS + 5) {
                assert!(!point.in_snapshot_tier, "{point:?}");
            }
            match (point.in_snapshot_tier, point.vault == VaultCopy::There) {
                (true, false) => snapshots += 1,
                (true, true) => both += 1,
                (false, true) => vault += 1,
                (false, false) => panic!("it is nowhere: {point:?}"),
            }
        }
        assert!((3..=4).contains(&both) && (4..=5).contains(&vault), "{snapshots}, {both}, {vault}");
        assert!((14..=17).contains(&snapshots), "{snapshots}, {both}, {vault}");
        Ok(())
    }

    all_points_get_to_the_vault_where_the_policy_says_so(catalog) {
        let (scene, db, _) = days(catalog, Transfer::All, 5).await?;
        let all = points(&scene, &db).await?;
        assert!(all.iter().all(|point| point.vault == VaultCopy::There), "{all:?}");
        assert!((29..=30).contains(&all.len()), "{}", all.len());
        assert!(all.iter().any(|point| !point.in_snapshot_tier) && all.iter().any(|point| point.in_snapshot_tier));
        Ok(())
    }

    a_deleted_point_comes_back_in_every_tier_that_still_has_it(catalog) {
        let (scene, db, mover) = days(catalog, Transfer::All, 2).await?;
        let actor = Actor("somebody".to_owned());
        let listed = scene.control.points(scene.vault, db.id, &Paging { after: None, limit: None }).await?.items;
        let places = [1, 2].map(|at| PointPlace { vault: scene.vault, item: db.id, point: listed[at].id });
        for place in places {
            scene.control.delete_point(&actor, place).await?;
            let order = mover.claim(&scene.control).await?.expect("the deletion");
            let Work::DeletePoints { points, snapshots, .. } = &order.work else { panic!("{:?}", order.work) };
            assert_eq!((points, snapshots), (&vec![place.point], &vec![place.point]), "from every tier");
            mover.carry_out(&scene.control, &order).await?;
        }
        for (place, gone_near) in places.into_iter().zip([false, true]) {
            scene.control.undelete_point(&actor, place).await?;
            let order = mover.claim(&scene.control).await?.expect("the undeletion");
            let Work::UndeletePoints { snapshots, .. } = &order.work else { panic!("{:?}", order.work) };
            assert_eq!(snapshots, &[place.point], "in every tier");
            mover.bring_back(&scene.control, &order, gone_near).await?;
            let point = scene.control.point(place).await?;
            assert_eq!((point.in_vault_tier, point.in_snapshot_tier), (true, !gone_near));
        }
        Ok(())
    }
}
