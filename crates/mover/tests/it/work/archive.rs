//! The archive store: points moved to it and dropped in the vault tier, brought back after that has purged them, expired
//! in it; and restored from it alone. The clock goes by months, as the server tells it. No guest: points are written by
//! the vault itself.

use super::copies::{CHUNKS, noise, restored, write};
use super::desk::{Desk, Working};
use super::scene::{Scene, claimed_again, now};
use anyhow::{Context, Result, bail, ensure};
use api::work::{
    ArchiveOutcome, ArchiveWork, InArchive, Order, RehydrateWork, ReportEvent, StoreAccess, Work,
};
use jiff::{SignedDuration, Timestamp};
use model::job::{Failure, JobKind, Step};
use serde_json::Value;
use vault::{CHUNK_BYTES, MachineKey, Point, Standing};

fn store(scene: &Scene) -> StoreAccess {
    let location = scene.path("archive").display().to_string();
    StoreAccess { location, credentials: Some("ARCHIVE_".into()) }
}

fn ids(points: &[&Point]) -> Vec<model::PointId> {
    points.iter().map(|point| model::PointId(point.id.0)).collect()
}

fn archiving(scene: &Scene, (moves, drops): (&[&Point], &[&Point]), now: Timestamp) -> Order {
    let work = ArchiveWork {
        to: store(scene),
        make: true,
        item: scene.item,
        moves: ids(moves),
        drops: ids(drops),
        now,
        bytes_per_second: None,
    };
    scene.order(JobKind::Archive, Work::Archive(Box::new(work)))
}

fn coming_back(scene: &Scene, point: &Point) -> Order {
    let (from, item) = (store(scene), scene.item);
    let work = RehydrateWork { from, item, point: model::PointId(point.id.0), bytes_per_second: None };
    scene.order(JobKind::Rehydrate, Work::Rehydrate(Box::new(work)))
}

/// A collection of the vault tier, and of the archive if points are to be purged there.
fn collecting(scene: &Scene, near: &[&Point], far: &[&Point], now: Timestamp) -> Order {
    let archive = (!far.is_empty()).then(|| InArchive { store: store(scene), points: ids(far) });
    let soft_delete_seconds = SignedDuration::from_hours(24 * 14).as_secs();
    let work = Work::Collect { soft_delete_seconds, now, purge: ids(near), archive };
    scene.order(JobKind::Collect, work)
}

fn result(event: ReportEvent) -> Result<Value> {
    match event {
        ReportEvent::StepDone { result, .. } => result.context("a result"),
        other => bail!("{other:?}"),
    }
}

async fn done(desk: &Desk, order: &Order) -> Result<Value> {
    desk.hand_out(order.clone());
    result(desk.end_of(order).await)
}

/// What archiving came to.
async fn archived(desk: &Desk, order: &Order) -> Result<ArchiveOutcome> {
    Ok(serde_json::from_value(done(desk, order).await?)?)
}

async fn standing(scene: &Scene, store: &str, point: &Point) -> Result<Standing> {
    Ok(scene.open(store).await?.standing_of(point.id).await?.1)
}

fn months(count: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * 30 * count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_moves_is_purged_near_comes_back_and_restores_the_same_bytes() -> Result<()> {
    let scene = Scene::new().await?;
    let mut disk = noise(11, CHUNKS * CHUNK_BYTES);
    let january = write(&scene, &disk, None).await?;
    let then = disk.clone();
    disk[7 * CHUNK_BYTES..8 * CHUNK_BYTES].copy_from_slice(&noise(12, CHUNK_BYTES));
    let today = write(&scene, &disk, Some((&january, 7))).await?;
    let desk = Desk::kind(Vec::new());
    let working = Working::start(&desk, scene.settings("mover"));

    let order = archiving(&scene, (&[&january], &[]), months(4));
    let told = archived(&desk, &order).await?;
    ensure!(told.archived.len() == 1 && told.dropped == ids(&[&january]) && told.kept.is_empty(), "{told:?}");
    ensure!(told.stored_bytes > then.len() as u64, "the archive is complete by itself: {told:?}");
    let step = |event: &ReportEvent| match event {
        ReportEvent::StepDone { step, .. } => Some(*step),
        _ => None,
    };
    let steps: Vec<Step> = desk.news(order.job).iter().filter_map(step).collect();
    ensure!(steps == [Step::CopyToArchive, Step::DropFromVault], "told one after the other: {steps:?}");
    ensure!(standing(&scene, "vault", &january).await? == Standing::Deleted, "softly");
    ensure!(standing(&scene, "archive", &january).await? == Standing::Listed);
    // Within the soft-delete days nothing is purged, whoever asks.
    done(&desk, &collecting(&scene, &[&january], &[], months(4) + SignedDuration::from_hours(24 * 10)))
        .await?;
    ensure!(standing(&scene, "vault", &january).await? == Standing::Deleted);
    // Back at once, and dropped again.
    done(&desk, &coming_back(&scene, &january)).await?;
    ensure!(restored(&scene, &desk, ("vault", &january)).await? == then, "brought back from soft deletion");
    archived(&desk, &archiving(&scene, (&[], &[&january]), months(5))).await?;

    // The vault tier purges it, and gives its space back; the archive is not asked.
    let gone = done(&desk, &collecting(&scene, &[&january], &[], months(6))).await?;
    ensure!(gone["gone"] == serde_json::to_value(ids(&[&january]))?, "{gone}");
    ensure!(standing(&scene, "vault", &january).await? == Standing::Purged);
    for round in 0..2 {
        let came = done(&desk, &coming_back(&scene, &january)).await?;
        // The rest of its chunks are today's, too.
        let few = 4 * CHUNK_BYTES as u64;
        ensure!(came["stored_bytes"].as_u64().is_some_and(|bytes| bytes < few), "round {round}: {came}");
        ensure!(restored(&scene, &desk, ("vault", &january)).await? == then, "round {round}: the same bytes");
        let again = archived(&desk, &archiving(&scene, (&[], &[&january]), months(7 + 2 * round))).await?;
        ensure!(again.dropped == ids(&[&january]), "{again:?}");
        done(&desk, &collecting(&scene, &[&january], &[], months(8 + 2 * round))).await?;
        ensure!(standing(&scene, "vault", &january).await? == Standing::Purged, "round {round}");
        ensure!(standing(&scene, "archive", &january).await? == Standing::Listed, "never from the archive");
    }
    ensure!(restored(&scene, &desk, ("vault", &today)).await? == disk, "what stayed is whole");

    // The vault and its server are gone: the archive is a vault by itself.
    std::fs::rename(scene.path("vault"), scene.path("lost"))?;
    let archive = scene.open("archive").await?;
    ensure!(archive.verify(&|_| ()).await?.damage.is_empty());
    ensure!(restored(&scene, &desk, ("archive", &january)).await? == then, "from the archive alone");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_dies_at_any_step_leaves_the_point_somewhere_and_the_next_claim_finishes() -> Result<()>
{
    let scene = Scene::new().await?;
    let disk = noise(13, CHUNKS * CHUNK_BYTES);
    let point = write(&scene, &disk, None).await?;
    let order = archiving(&scene, (&[&point], &[]), months(4));
    // The first claim's mover has copied, and died before it told: the copy is found, read back, dropped.
    let vault = scene.open("vault").await?;
    std::fs::create_dir(scene.path("archive"))?;
    let replica = scene.make_replica("archive", &vault).await?;
    let run = vault::CopyRun { session: vault::SessionId(uuid::Uuid::now_v7()), now: now() };
    vault::copy_point(&vault, &replica, &point, run, &|_| ()).await?;
    let again = claimed_again(&order, 0, None);
    let desk = Desk::kind(vec![again.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let told: ArchiveOutcome = serde_json::from_value(result(desk.end_of(&again).await)?)?;
    ensure!(told.stored_bytes == 0 && told.dropped == ids(&[&point]), "{told:?}");
    // It has dropped, and died before it told: done again, nothing changes.
    let first = ArchiveOutcome { dropped: Vec::new(), ..told.clone() };
    let mut third = claimed_again(&again, 1, Some(serde_json::to_value(first)?));
    third.job = model::JobId(uuid::Uuid::now_v7());
    ensure!(archived(&desk, &third).await? == told);
    ensure!(standing(&scene, "archive", &point).await? == Standing::Listed);
    ensure!(restored(&scene, &desk, ("archive", &point)).await? == disk);
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_dropped_for_an_archive_that_lacks_it_or_is_away() -> Result<()> {
    let scene = Scene::new().await?;
    let disk = noise(14, CHUNKS * CHUNK_BYTES);
    let point = write(&scene, &disk, None).await?;
    let other = write(&scene, &disk, Some((&point, 3))).await?;
    let desk = Desk::kind(Vec::new());
    let working = Working::start(&desk, scene.settings("mover"));
    archived(&desk, &archiving(&scene, (&[&other], &[]), months(4))).await?;
    // The server believes that it is there, and it is not: whatever became of it.
    let told = archived(&desk, &archiving(&scene, (&[], &[&point]), months(4))).await?;
    ensure!((told.dropped.len(), &told.kept) == (0, &ids(&[&point])), "{told:?}");
    ensure!(standing(&scene, "vault", &point).await? == Standing::Listed);

    // A mount that is away looks like an empty folder: nothing is made there, nothing dropped.
    working.stop().await;
    std::fs::rename(scene.path("archive"), scene.path("unplugged"))?;
    let desk = Desk::kind(Vec::new());
    let working = Working::start(&desk, scene.settings("another mover"));
    let mut order = archiving(&scene, (&[&point], &[]), months(5));
    let Work::Archive(work) = &mut order.work else { unreachable!("it is no other") };
    work.make = false;
    for order in [order, coming_back(&scene, &other)] {
        desk.hand_out(order.clone());
        let end = desk.end_of(&order).await;
        ensure!(
            matches!(&end, ReportEvent::Failed { error } if error.failure == Failure::Invalid),
            "{end:?}"
        );
    }
    ensure!(!scene.path("archive").exists(), "it was not made anew");
    ensure!(standing(&scene, "vault", &point).await? == Standing::Listed);
    // And its points are not said to be purged.
    let gone = done(&desk, &collecting(&scene, &[&other], &[&other], months(6))).await?;
    ensure!(gone["gone"] == serde_json::json!([]), "{gone}");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_is_deleted_in_the_archive_comes_back_there_and_is_purged() -> Result<()> {
    let scene = Scene::new().await?;
    let disk = noise(15, CHUNKS * CHUNK_BYTES);
    let point = write(&scene, &disk, None).await?;
    let today = write(&scene, &disk, Some((&point, 3))).await?;
    let desk = Desk::kind(Vec::new());
    let working = Working::start(&desk, scene.settings("mover"));
    archived(&desk, &archiving(&scene, (&[&point, &today], &[]), months(4))).await?;
    let archive = || Some(InArchive { store: store(&scene), points: ids(&[&point]) });
    let (item, points, snapshots) = (scene.item, ids(&[&point]), Vec::new());
    let delete =
        Work::DeletePoints { item, points: points.clone(), snapshots: snapshots.clone(), archive: archive() };
    done(&desk, &scene.order(JobKind::DeleteData, delete.clone())).await?;
    ensure!(standing(&scene, "archive", &point).await? == Standing::Deleted);
    let undelete = Work::UndeletePoints { item, points, snapshots, archive: archive() };
    done(&desk, &scene.order(JobKind::Undelete, undelete)).await?;
    ensure!(standing(&scene, "archive", &point).await? == Standing::Listed);
    ensure!(standing(&scene, "vault", &point).await? == Standing::Deleted, "there alone");
    done(&desk, &scene.order(JobKind::DeleteData, delete)).await?;
    let gone = done(&desk, &collecting(&scene, &[&point], &[&point], months(6))).await?;
    ensure!(gone["gone"] == serde_json::to_value(ids(&[&point]))?, "{gone}");
    ensure!(standing(&scene, "archive", &point).await? == Standing::Purged);
    let key = MachineKey::new(scene.item.to_string())?;
    ensure!(scene.open("archive").await?.points_of(&key).await?.len() == 1, "the other stays");
    ensure!(restored(&scene, &desk, ("archive", &today)).await? == disk);
    working.stop().await;
    Ok(())
}
