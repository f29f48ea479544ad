//! The second store: copied to, restored from when the vault is gone, and healed from. No guest: points are written by
//! the vault itself.

use super::desk::{Desk, Working};
use super::scene::{Scene, claimed_again, now};
use anyhow::{Context, Result, bail, ensure};
use api::RestoreFormat;
use api::work::{CopyOutcome, CopyWork, HealWork, Order, PointOfItem, ReportEvent, StoreAccess, Work};
use jiff::SignedDuration;
use model::job::{JobKind, Step};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    Base, CHUNK_BYTES, DiskRecord, MachineKey, Point, PointDraft, PointId, Session, SessionId, Vault,
};

/// Chunks of the disk.
pub(super) const CHUNKS: usize = 300;

/// Bytes that do not compress, others for each seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// A point of the scene's machine: its disk, of which everything or one chunk changed.
pub(super) async fn write(scene: &Scene, disk: &[u8], parent: Option<(&Point, usize)>) -> Result<Point> {
    let vault = scene.open("vault").await?;
    let session = Session::begin(&vault, SessionId(Uuid::now_v7()), now()).await?;
    let base = parent.map(|(point, _)| Base { point: point.id, map: &point.disks[0].map });
    let mut map = session.disk(disk.len() as u64, base).await?;
    let chunks = parent.map_or(0..CHUNKS, |(_, chunk)| chunk..chunk + 1);
    for chunk in chunks {
        let start = chunk * CHUNK_BYTES;
        let batch = session.store(start as u64, disk[start..start + CHUNK_BYTES].to_vec()).await?;
        map.record(&session, &batch).await?;
    }
    let map = map.finish(&session).await?;
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new(scene.item.to_string())?,
        machine_name: "db".into(),
        instant: now(),
        parent: parent.map(|(point, _)| point.id),
        consistency: serde_json::json!({ "level": "crash" }),
        description: Value::Null,
        service: Value::Null,
    };
    let record = DiskRecord { name: "vda".into(), map, tracking: String::new(), read_bytes: 0 };
    Ok(session.commit(draft, vec![record]).await?)
}

pub(super) fn second(scene: &Scene) -> StoreAccess {
    StoreAccess { location: scene.path("second").display().to_string(), credentials: Some("COPY_".into()) }
}

fn of_item(scene: &Scene, points: &[&Point]) -> Vec<PointOfItem> {
    points.iter().map(|point| PointOfItem { item: scene.item, point: model::PointId(point.id.0) }).collect()
}

fn copying(scene: &Scene, points: &[&Point]) -> CopyWork {
    CopyWork {
        to: second(scene),
        points: of_item(scene, points),
        let_go: Vec::new(),
        collect: None,
        now: now(),
        bytes_per_second: None,
    }
}

pub(super) fn copy_order(scene: &Scene, points: &[&Point]) -> Order {
    scene.order(JobKind::Copy, Work::Copy(Box::new(copying(scene, points))))
}

fn outcome(event: &ReportEvent) -> Result<CopyOutcome> {
    match event {
        ReportEvent::StepDone { step: Step::CopyPoints, result } => {
            Ok(serde_json::from_value(result.clone().context("a result")?)?)
        }
        other => bail!("{other:?}"),
    }
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (path, about) = {
            let entry = entry?;
            (entry.path(), entry.metadata()?)
        };
        bytes += if about.is_dir() { bytes_below(&path)? } else { about.len() };
    }
    Ok(bytes)
}

async fn has(vault: &Arc<Vault>, point: &Point) -> Result<bool> {
    Ok(vault.points().await?.iter().any(|there| there.id == point.id))
}

/// Restores the disk of a point by an order.
pub(super) async fn restored(scene: &Scene, desk: &Desk, order: (&str, &Point)) -> Result<Vec<u8>> {
    let (location, point) = order;
    let folder = scene.path(&format!("restored {}", Uuid::new_v4()));
    let mut restore = scene.order(
        JobKind::Restore,
        Work::Restore {
            item: scene.item,
            point: model::PointId(point.id.0),
            folder: folder.display().to_string(),
            disks: Vec::new(),
            format: RestoreFormat::Raw,
            machine: None,
        },
    );
    restore.vault.location = scene.path(location).display().to_string();
    restore.vault.credentials = Some("COPY_".into());
    desk.hand_out(restore.clone());
    let end = desk.end_of(&restore).await;
    ensure!(matches!(end, ReportEvent::StepDone { .. }), "{end:?}");
    Ok(std::fs::read(folder.join("vda.raw"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_days_change_costs_its_sealed_bytes_and_the_copy_restores_without_the_vault() -> Result<()> {
    let scene = Scene::new().await?;
    let mut disk = noise(1, CHUNKS * CHUNK_BYTES);
    let full = write(&scene, &disk, None).await?;
    let first = copy_order(&scene, &[&full]);
    let desk = Desk::kind(vec![first.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let told = outcome(&desk.end_of(&first).await)?;
    ensure!(told.copied.len() == 1 && told.copied[0].made.point.0 == full.id.0, "{told:?}");
    ensure!(told.stored_bytes > disk.len() as u64, "{told:?}");

    disk[7 * CHUNK_BYTES..8 * CHUNK_BYTES].copy_from_slice(&noise(2, CHUNK_BYTES));
    let day = write(&scene, &disk, Some((&full, 7))).await?;
    let before = bytes_below(&scene.path("second"))?;
    let next = copy_order(&scene, &[&full, &day]);
    desk.hand_out(next.clone());
    let told = outcome(&desk.end_of(&next).await)?;
    ensure!(told.copied.len() == 2, "one was there: {told:?}");
    // The chunk and the nodes above it are all that is sealed: as much as the backup itself sealed.
    ensure!(told.stored_bytes <= day.stats.stored_bytes + 1024, "{told:?} and {:?}", day.stats);
    let grown = bytes_below(&scene.path("second"))? - before;
    println!("one chunk of {CHUNKS} changed: {} sealed, the store grew by {grown}", told.stored_bytes);
    // Besides: heads, tables, index, log, the point's object.
    ensure!(grown < told.stored_bytes + (32 << 10), "{grown} for {}", told.stored_bytes);

    std::fs::remove_dir_all(scene.path("vault"))?;
    ensure!(restored(&scene, &desk, ("second", &day)).await? == disk, "the newest");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_in_the_copy_but_what_it_is_told_and_it_comes_back_when_it_is_wanted() -> Result<()> {
    let scene = Scene::new().await?;
    let disk = noise(3, CHUNKS * CHUNK_BYTES);
    let old = write(&scene, &disk, None).await?;
    let new = write(&scene, &disk, Some((&old, 1))).await?;
    let both = copy_order(&scene, &[&old, &new]);
    let desk = Desk::kind(vec![both.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    outcome(&desk.end_of(&both).await)?;
    // Deleted and purged in the vault; the next copying does not follow.
    let vault = scene.open("vault").await?;
    vault.delete_point(old.id, now()).await?;
    let order = copy_order(&scene, &[&new]);
    desk.hand_out(order.clone());
    outcome(&desk.end_of(&order).await)?;
    let copy = scene.open("second").await?;
    ensure!(has(&copy, &old).await? && has(&copy, &new).await?, "both stay");
    // Told to let go, softly; and wanted again.
    let mut work = copying(&scene, &[]);
    (work.let_go, work.collect) =
        (vec![model::PointId(old.id.0)], Some(SignedDuration::from_hours(24).as_secs()));
    let order = scene.order(JobKind::Copy, Work::Copy(Box::new(work)));
    desk.hand_out(order.clone());
    let told = outcome(&desk.end_of(&order).await)?;
    ensure!(told.let_go == [model::PointId(old.id.0)], "{told:?}");
    ensure!(!has(&copy, &old).await? && has(&copy, &new).await?, "it is gone, softly");
    vault.undelete_point(old.id, now()).await?;
    let order = copy_order(&scene, &[&old]);
    desk.hand_out(order.clone());
    ensure!(outcome(&desk.end_of(&order).await)?.copied.len() == 1, "it is back");
    ensure!(restored(&scene, &desk, ("second", &old)).await? == disk, "whole");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_damaged_or_gone_is_healed_from_its_copy() -> Result<()> {
    let scene = Scene::new().await?;
    let disk = noise(4, CHUNKS * CHUNK_BYTES);
    let point = write(&scene, &disk, None).await?;
    let copy = copy_order(&scene, &[&point]);
    let desk = Desk::kind(vec![copy.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    outcome(&desk.end_of(&copy).await)?;
    let heal = || {
        let work = HealWork { from: second(&scene), points: of_item(&scene, &[&point]) };
        scene.order(JobKind::Heal, Work::Heal(Box::new(work)))
    };
    let healed = async |order: &Order| -> Result<Value> {
        desk.hand_out(order.clone());
        match desk.end_of(order).await {
            ReportEvent::StepDone { step: Step::CopyBack, result } => result.context("a result"),
            other => bail!("{other:?}"),
        }
    };
    // A byte of a pack rots.
    let folder = std::fs::read_dir(scene.path("vault/packs"))?.next().context("a session")??.path();
    let pack = std::fs::read_dir(folder)?.next().context("a pack")??.path();
    let mut bytes = std::fs::read(&pack)?;
    bytes[100_000] ^= 1;
    std::fs::remove_file(&pack)?;
    std::fs::write(&pack, bytes)?;
    ensure!(!scene.open("vault").await?.verify(&|_| ()).await?.damage.is_empty(), "damaged");
    healed(&heal()).await?;
    ensure!(scene.open("vault").await?.verify(&|_| ()).await?.points.is_empty(), "no point is hurt any more");
    ensure!(restored(&scene, &desk, ("vault", &point)).await? == disk, "whole");

    // All of it is gone, and the mover has it open.
    std::fs::remove_dir_all(scene.path("vault"))?;
    let result = healed(&heal()).await?;
    ensure!(result["copied_back"].as_array().is_some_and(|back| back.len() == 1), "{result}");
    ensure!(restored(&scene, &desk, ("vault", &point)).await? == disk, "whole");
    ensure!(scene.open("vault").await?.verify(&|_| ()).await?.damage.is_empty(), "nothing is damaged");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_its_mover_did_not_finish_is_gone_on_with() -> Result<()> {
    let scene = Scene::new().await?;
    let disk = noise(5, CHUNKS * CHUNK_BYTES);
    let point = write(&scene, &disk, None).await?;
    let order = copy_order(&scene, &[&point]);
    // What a mover that died has left: the store, and a session of this very order with the packs it had uploaded.
    let vault = scene.open("vault").await?;
    std::fs::create_dir(scene.path("second"))?;
    let replica = scene.make_replica("second", &vault).await?;
    let bits = order.session.as_u128() ^ (point.id.0.as_u128() & ((1 << 62) - 1));
    let session = SessionId(Uuid::from_u128(bits));
    let dead = Session::begin(&replica, session, now()).await?;
    for (number, piece) in disk.chunks(16 * CHUNK_BYTES).take(CHUNKS / 32).enumerate() {
        dead.store((number * 16 * CHUNK_BYTES) as u64, piece.to_vec()).await?;
    }
    drop(dead);
    let left = bytes_below(&scene.path("second/packs"))?;
    ensure!(left > disk.len() as u64 / 5, "some packs are there: {left}");
    let again = claimed_again(&order, 0, None);
    let desk = Desk::kind(vec![again.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let told = outcome(&desk.end_of(&again).await)?;
    ensure!(told.stored_bytes + left < point.stats.stored_bytes + (64 << 10), "{told:?}, {left} were there");
    ensure!(restored(&scene, &desk, ("second", &point)).await? == disk, "whole");
    working.stop().await;
    Ok(())
}
