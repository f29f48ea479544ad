//! Two tiers: the snapshot beside the host, and the vault.

use super::desk::{Answer, Desk, Working, says};
use super::scene::{Guest, Scene, claimed_again, made};
use anyhow::{Context, Result, ensure};
use api::RestoreFormat;
use api::work::{Order, Report, ReportEvent, Work};
use model::job::{JobKind, Step};
use serde_json::Value;
use vault::Holders;

fn tiered(scene: &Scene, guest: &Guest) -> Order {
    let mut order = scene.back_up(guest);
    order.vault = scene.access(Some("snapshots"));
    order
}

/// What the first step of a job told.
fn first_step(desk: &Desk, order: &Order) -> Result<Option<Value>> {
    let mut steps = desk.news(order.job).into_iter();
    let first = steps.find_map(|event| match event {
        ReportEvent::StepDone { step: Step::TakeSnapshot, result } => Some(result),
        _ => None,
    });
    first.context("the first step")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_gets_to_the_vault_by_the_snapshot_tier_and_the_next_one_builds_on_that() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let first = tiered(&scene, &guest);
    let desk = Desk::kind(vec![first.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&first).await)?;
    ensure!(point.in_snapshot_tier && point.in_vault_tier, "{point:?}");
    let snapshot: api::work::MadePoint =
        serde_json::from_value(first_step(&desk, &first)?.context("a result")?)?;
    ensure!(snapshot.in_snapshot_tier && !snapshot.in_vault_tier, "{snapshot:?}");
    ensure!(snapshot.point == point.point, "the same in every tier");
    let both = [scene.points("snapshots").await?, scene.points("vault").await?];
    ensure!(both.iter().all(|points| points.len() == 1 && points[0].id.0 == point.point.0), "{both:?}");
    // INVARIANT: keys are made of the session, so the two must never share one.
    ensure!(both[0][0].session != both[1][0].session, "{both:?}");
    ensure!(both[0][0].service == both[1][0].service, "{both:?}");

    let mut second = tiered(&scene, &guest);
    let Work::BackUp(work) = &mut second.work else { unreachable!("it is a backup") };
    work.transfer = false;
    desk.hand_out(second.clone());
    let kept = made(&desk.end_of(&second).await)?;
    ensure!(kept.in_snapshot_tier && !kept.in_vault_tier, "{kept:?}");
    let points = scene.points("snapshots").await?;
    ensure!(points.len() == 2 && points[1].parent == Some(points[0].id), "{points:?}");
    ensure!(scene.points("vault").await?.len() == 1, "it stays in the snapshot tier");
    let read = |point: &api::work::MadePoint| point.disks.iter().map(|disk| disk.read_bytes).sum::<u64>();
    ensure!(read(&kept) * 4 < read(&point), "{} and {}", read(&kept), read(&point));
    working.stop().await;
    guest.assert_left_alone()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_sealed_under_the_vaults_new_data_key() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let first = tiered(&scene, &guest);
    let desk = Desk::kind(vec![first.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    made(&desk.end_of(&first).await)?;
    let key = scene.key()?;
    let mut holders = Holders::open(scene.store("vault")?, &key).await?;
    holders.rotate().await?;
    let second = tiered(&scene, &guest);
    desk.hand_out(second.clone());
    made(&desk.end_of(&second).await)?;
    let snapshots = Holders::open(scene.store("snapshots")?, &key).await?;
    ensure!(
        snapshots.epoch() == holders.epoch() && snapshots.keyring() == holders.keyring(),
        "it is followed"
    );
    // The snapshot that is taken next builds on ones of the key before.
    let third = tiered(&scene, &guest);
    desk.hand_out(third.clone());
    let point = made(&desk.end_of(&third).await)?;
    working.stop().await;
    for name in ["snapshots", "vault"] {
        let vault = scene.open(name).await?;
        ensure!(scene.points(name).await?.iter().any(|there| there.id.0 == point.point.0), "{name}");
        ensure!(vault.verify(&|_| ()).await?.damage.is_empty(), "{name}");
    }
    guest.assert_left_alone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_without_its_machine_after_its_mover_died() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = tiered(&scene, &guest);
    // It dies when the snapshot is there and before anything is copied.
    let desk = Desk::new(vec![order.clone()], |report: &Report| match says(report, Step::TakeSnapshot) {
        true => Answer::Silence,
        false => Answer::GoOn,
    });
    let working = Working::start(&desk, scene.settings("mover"));
    desk.until(|desk| desk.news(order.job).len() == 1).await;
    working.kill().await;
    ensure!(scene.points("snapshots").await?.len() == 1, "the snapshot");
    // What the first step needs is gone.
    tokio::task::block_in_place(|| guest.machine.kill())?;
    desk.decide(|_| Answer::GoOn);
    let result = first_step(&desk, &order)?;
    let again = claimed_again(&order, 1, result.clone());
    desk.hand_out(again.clone());
    let working = Working::start(&desk, scene.settings("another mover"));
    let point = made(&desk.end_of(&again).await)?;
    let snapshot: api::work::MadePoint = serde_json::from_value(result.context("a result")?)?;
    ensure!(point.point == snapshot.point && point.in_vault_tier, "{point:?}");
    let steps = desk.news(order.job);
    ensure!(steps.len() == 2, "the first step is not told twice: {steps:?}");
    ensure!(scene.points("vault").await?.len() == 1, "one job, one point");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_that_is_away_keeps_nobody_from_the_other() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let backup = tiered(&scene, &guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?;
    working.stop().await;
    for away in ["vault", "snapshots"] {
        std::fs::rename(scene.path(away), scene.path("away"))?;
        // One that has opened neither.
        let working = Working::start(&desk, scene.settings(&format!("mover without {away}")));
        let folder = scene.path(&format!("restored without {away}"));
        let work = Work::Restore {
            item: scene.item,
            point: point.point,
            folder: folder.display().to_string(),
            disks: Vec::new(),
            format: RestoreFormat::Raw,
            machine: None,
        };
        let mut restore = scene.order(JobKind::Restore, work);
        restore.vault = scene.access(Some("snapshots"));
        desk.hand_out(restore.clone());
        let end = desk.end_of(&restore).await;
        ensure!(matches!(end, ReportEvent::StepDone { .. }), "without {away}: {end:?}");
        ensure!(std::fs::read_dir(&folder)?.count() > 1, "disks and their description");
        ensure!(!scene.path(away).exists(), "nobody makes {away} anew by reading");
        working.stop().await;
        std::fs::rename(scene.path("away"), scene.path(away))?;
    }
    guest.assert_left_alone()
}
