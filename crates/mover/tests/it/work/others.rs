//! What is done with points that are there.

use super::desk::{Desk, Working};
use super::scene::{Guest, Scene, made, now};
use anyhow::{Result, ensure};
use api::work::{ReportEvent, Work};
use jiff::SignedDuration;
use model::PointId;
use model::job::{Failure, JobKind, Step};
use std::sync::Arc;
use uuid::Uuid;
use vault::{CollectOptions, Standing, Vault};

async fn is_read_back(scene: &Scene, desk: &Desk, point: PointId) -> Result<()> {
    let read_back = scene.order(JobKind::Verify, Work::Verify { item: scene.item, point });
    desk.hand_out(read_back.clone());
    let end = desk.end_of(&read_back).await;
    let ReportEvent::StepDone { step: Step::ReadBack, result: Some(result) } = &end else {
        anyhow::bail!("{end:?}")
    };
    ensure!(result["bytes"] == 3u64 << 29, "{result}");
    Ok(())
}

/// Whose the bytes are is told, and is all that lies there; the machine's data can be had back, so they are stored.
async fn all_that_is_stored_is_somebodys(scene: &Scene, desk: &Desk, vault: &Vault) -> Result<()> {
    let told = desk.usages().pop().expect("the vault was measured");
    let sum: u64 = told.usages.iter().map(|usage| usage.share_bytes).sum();
    ensure!(sum == vault.usage().await?.1, "{told:?}");
    let own = told.usages.iter().find(|usage| usage.subject == scene.item.to_string());
    ensure!(own.is_some_and(|own| own.used_bytes.is_none() && own.alone_bytes > sum / 2), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_read_back_deleted_brought_back_and_collected() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let backup = scene.back_up(&guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;
    let item = scene.item;
    let vault = scene.open("vault").await?;
    let standing = async || vault.standing_of(vault::PointId(point.0)).await.map(|(_, standing)| standing);

    is_read_back(&scene, &desk, point).await?;
    // Twice: what is done already is done.
    for _ in 0..2 {
        let delete = scene.order(
            JobKind::DeleteData,
            Work::DeletePoints { item, points: vec![point], snapshots: vec![point], archive: None },
        );
        desk.hand_out(delete.clone());
        let end = desk.end_of(&delete).await;
        ensure!(matches!(end, ReportEvent::StepDone { step: Step::DeletePoints, .. }), "{end:?}");
        ensure!(standing().await? == Standing::Deleted, "deleted");
    }
    for _ in 0..2 {
        let undelete = scene.order(
            JobKind::Undelete,
            Work::UndeletePoints { item, points: vec![point], snapshots: Vec::new(), archive: None },
        );
        desk.hand_out(undelete.clone());
        let end = desk.end_of(&undelete).await;
        ensure!(matches!(end, ReportEvent::StepDone { step: Step::BringPointsBack, .. }), "{end:?}");
        ensure!(standing().await? == Standing::Listed, "back");
    }
    what_is_there_is_back_all_the_same(&scene, &desk, point).await?;
    let delete = scene.order(
        JobKind::DeleteData,
        Work::DeletePoints { item, points: vec![point], snapshots: vec![point], archive: None },
    );
    let collect = scene.order(
        JobKind::Collect,
        Work::Collect {
            soft_delete_seconds: 0,
            now: now() + SignedDuration::from_mins(1),
            purge: vec![point],
            archive: None,
        },
    );
    for order in [&delete, &collect] {
        desk.hand_out(order.clone());
        desk.end_of(order).await;
    }
    let end = desk.end_of(&collect).await;
    let ReportEvent::StepDone { step: Step::FreeSpace, result: Some(result) } = &end else {
        anyhow::bail!("{end:?}")
    };
    ensure!(result["gone"] == serde_json::json!([]), "{result}");
    ensure!(standing().await? == Standing::Deleted, "what cannot be taken back waits for somebody's word");
    let warnings =
        desk.last(collect.job).and_then(|report| report.progress).map(|progress| progress.warnings);
    let is_told = |text: &String| text.contains("--allow-large");
    ensure!(warnings.is_some_and(|texts| texts.iter().any(is_told)), "all of the vault would go");

    all_that_is_stored_is_somebodys(&scene, &desk, &vault).await?;
    purged_only_if_listed(&scene, &desk, &vault, point).await?;

    what_is_gone_is_told(&scene, &desk, point).await?;
    working.stop().await;
    Ok(())
}

/// Neither a point that was purged comes back, nor one that never was.
async fn what_is_gone_is_told(scene: &Scene, desk: &Desk, point: PointId) -> Result<()> {
    let item = scene.item;
    let too_late = scene.order(
        JobKind::Undelete,
        Work::UndeletePoints { item, points: vec![point], snapshots: Vec::new(), archive: None },
    );
    let stranger = PointId(Uuid::now_v7());
    let unknown = scene.order(JobKind::Verify, Work::Verify { item, point: stranger });
    for order in [&too_late, &unknown] {
        desk.hand_out(order.clone());
        let end = desk.end_of(order).await;
        let ReportEvent::Failed { error } = &end else { anyhow::bail!("{end:?}") };
        ensure!(error.failure == Failure::Invalid, "{error:?}");
    }
    Ok(())
}

/// Of two points one is in no store.
async fn what_is_there_is_back_all_the_same(scene: &Scene, desk: &Desk, point: PointId) -> Result<()> {
    let points = vec![PointId(Uuid::now_v7()), point];
    let half = Work::UndeletePoints {
        item: scene.item,
        points: points.clone(),
        snapshots: Vec::new(),
        archive: None,
    };
    let half = scene.order(JobKind::Undelete, half);
    desk.hand_out(half.clone());
    let end = desk.end_of(&half).await;
    let ReportEvent::StepDone { result: Some(result), .. } = &end else { anyhow::bail!("{end:?}") };
    ensure!(result["gone"] == serde_json::json!([points[0]]), "{result}");
    Ok(())
}

/// What the catalog does not list is not purged, however long ago it was deleted; what is gone is told.
async fn purged_only_if_listed(scene: &Scene, desk: &Desk, vault: &Arc<Vault>, point: PointId) -> Result<()> {
    let standing = async || vault.standing_of(vault::PointId(point.0)).await.map(|(_, standing)| standing);
    let none = Work::Collect { soft_delete_seconds: 0, now: now(), purge: Vec::new(), archive: None };
    let none = scene.order(JobKind::Collect, none);
    desk.hand_out(none.clone());
    desk.end_of(&none).await;
    ensure!(standing().await? == Standing::Deleted, "it may have been brought back");
    let again = Work::Collect { soft_delete_seconds: 0, now: now(), purge: vec![point], archive: None };
    let again = scene.order(JobKind::Collect, again);
    let soft_delete = SignedDuration::ZERO;
    let options = CollectOptions { soft_delete, share_max: 1.0, ..CollectOptions::new(now()) };
    Box::pin(vault.collect(&options)).await?;
    ensure!(standing().await? == Standing::Purged, "gone");
    desk.hand_out(again.clone());
    let end = desk.end_of(&again).await;
    let ReportEvent::StepDone { result: Some(result), .. } = &end else { anyhow::bail!("{end:?}") };
    ensure!(result["gone"] == serde_json::json!([point]), "{result}");
    Ok(())
}
