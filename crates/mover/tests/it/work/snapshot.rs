//! Snapshots by order: taken once, made into files once, copied once, compared and measured.

use super::desk::{Desk, Working};
use super::scene::{Guest, Scene, assert_equal, claimed_again, now};
use anyhow::{Context, Result, ensure};
use api::snapshots::{Differences, KeptSnapshot, MadeSnapshot, SnapshotFormat, SnapshotMember, SnapshotWork};
use api::work::{AssignedHost, Order, ReportEvent, VaultAccess, Work};
use model::job::{Failure, JobKind, Step};
use model::policy::ConsistencyWish;
use model::{HostId, MachineId, PointId};
use serde_json::Value;
use std::process::Command;
use uuid::Uuid;
use vault::{KeyFile, Store, Vault, VaultId};

fn snapshots(scene: &Scene, kind: JobKind, work: SnapshotWork) -> Order {
    scene.order(kind, Work::Snapshot(Box::new(work)))
}

/// An order to take a snapshot of some of a guest's disks.
fn take(scene: &Scene, guest: &Guest, disks: &[&str]) -> Order {
    let machine = MachineId(scene.item);
    let kept = KeptSnapshot { machine: Some(machine), name: "kept".into(), ..KeptSnapshot::unknown() };
    let mut member = SnapshotMember {
        machine,
        host: AssignedHost { id: HostId(Uuid::now_v7()), address: "local".into() },
        known_as: guest.machine.options().uuid.to_string(),
        name: guest.machine.options().name.clone(),
        disks: disks.iter().map(|&disk| disk.to_owned()).collect(),
        kept,
    };
    let work = |member| SnapshotWork::Take { members: vec![member], consistency: ConsistencyWish::Crash };
    let mut order = snapshots(scene, JobKind::Snapshot, work(member.clone()));
    member.kept.job = Some(order.job);
    order.work = Work::Snapshot(Box::new(work(member)));
    order
}

fn result(event: &ReportEvent) -> Result<Value> {
    match event {
        ReportEvent::StepDone { result: Some(result), .. } => Ok(result.clone()),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn done(desk: &Desk, order: &Order) -> Result<Value> {
    desk.hand_out(order.clone());
    result(&desk.end_of(order).await)
}

fn made(result: &Value) -> Result<MadeSnapshot> {
    Ok(serde_json::from_value(result["snapshots"][0].clone())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_taken_exported_copied_compared_and_measured_once() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let truth = guest.copy_disks(&scene)?;
    let first = take(&scene, &guest, &[]);
    let desk = Desk::kind(vec![first.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let told = made(&result(&desk.end_of(&first).await)?)?;
    ensure!(told.kept.name == "kept" && told.made.disks.len() == 2, "{told:?}");
    let disk = told.made.disks[0].name.clone();
    let point = told.made.point;
    desk.hand_out(claimed_again(&first, 0, None));
    let ends = |desk: &Desk| {
        let is_end =
            |event: &&ReportEvent| matches!(event, ReportEvent::StepDone { step: Step::TransferToVault, .. });
        desk.news(first.job).iter().filter(is_end).count()
    };
    desk.until(|desk| ends(desk) == 2).await;
    let again = made(&result(&desk.end_of(&first).await)?)?;
    ensure!(again.made.point == point, "once, however often it is claimed");
    ensure!(scene.points("vault").await?.len() == 1, "and nothing else");
    guest.assert_left_alone()?;

    export_once(&scene, &desk, (point, &disk), &truth[0]).await?;
    let second = made(&done(&desk, &take(&scene, &guest, &[&disk])).await?)?.made;
    ensure!(second.disks.len() == 1 && second.disks[0].read_bytes < 4 << 20, "nothing changed: {second:?}");
    let compare = SnapshotWork::Compare { old: point, new: second.point, disk: None, from: 0 };
    let compared = done(&desk, &snapshots(&scene, JobKind::CompareSnapshots, compare)).await?;
    let compared: Differences = serde_json::from_value(compared)?;
    ensure!(compared.ranges.is_empty() && compared.next.is_none() && compared.disk == disk, "{compared:?}");

    let measure = SnapshotWork::Measure { points: vec![point, second.point] };
    let measured = done(&desk, &snapshots(&scene, JobKind::MeasureSnapshots, measure)).await?;
    ensure!(measured["measured"].as_array().is_some_and(|all| all.len() == 2), "{measured}");
    copy_once(&scene, &desk, point).await?;
    working.stop().await;
    Ok(())
}

async fn export_once(
    scene: &Scene,
    desk: &Desk,
    (point, disk): (PointId, &str),
    truth: &std::path::Path,
) -> Result<()> {
    let file = scene.path("exported.vhd");
    let export = |disk: Option<String>| SnapshotWork::Export {
        point,
        disk,
        path: file.display().to_string(),
        format: SnapshotFormat::Vhd,
    };
    let vague = snapshots(scene, JobKind::ExportSnapshot, export(None));
    desk.hand_out(vague.clone());
    let ReportEvent::Failed { error } = desk.end_of(&vague).await else { anyhow::bail!("which disk?") };
    ensure!(error.failure == Failure::Invalid && error.text.contains("say which disk"), "{error:?}");
    let order = snapshots(scene, JobKind::ExportSnapshot, export(Some(disk.to_owned())));
    let told = done(desk, &order).await?;
    ensure!(told["disk_bytes"] == 1u64 << 30, "{told}");
    let raw = scene.path("exported.raw");
    let convert =
        Command::new("qemu-img").args(["convert", "-f", "vpc", "-O", "raw"]).arg(&file).arg(&raw).status()?;
    ensure!(convert.success(), "qemu-img reads it");
    assert_equal(&raw, truth)?;
    // Another job does not take it for its own.
    let other = snapshots(scene, JobKind::ExportSnapshot, export(Some(disk.to_owned())));
    desk.hand_out(other.clone());
    let ReportEvent::Failed { error } = desk.end_of(&other).await else { anyhow::bail!("it is taken") };
    ensure!(error.text.contains("is there already"), "{error:?}");
    let marks =
        std::fs::read_dir(scene.path(""))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let left: Vec<String> = marks.filter(|name| name.contains("strongroom-")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

async fn copy_once(scene: &Scene, desk: &Desk, point: PointId) -> Result<()> {
    let (folder, id, holder) = (scene.path("region"), VaultId(Uuid::new_v4()), KeyFile::generate());
    std::fs::create_dir(&folder)?;
    let path = scene.path("region.key");
    holder.write(&path, id)?;
    let there = Vault::create(Store::local(&folder)?, id, now(), &holder).await?;
    let to = VaultAccess {
        id: model::VaultId(id.0),
        location: folder.display().to_string(),
        snapshot_store: None,
        credentials: None,
        transfer_bytes_per_second: None,
        key: std::fs::read_to_string(path)?,
    };
    let kept = KeptSnapshot { copy_of: Some(point), ..KeptSnapshot::unknown() };
    let order = snapshots(scene, JobKind::CopySnapshot, SnapshotWork::Copy { point, to, kept });
    let copied = made(&done(desk, &order).await?)?;
    ensure!(copied.made.point != point && copied.made.disks.len() == 2, "{copied:?}");
    let again = snapshots(
        scene,
        JobKind::CopySnapshot,
        match &order.work {
            Work::Snapshot(work) => (**work).clone(),
            other => anyhow::bail!("{other:?}"),
        },
    );
    ensure!(made(&done(desk, &again).await?)?.made.point == copied.made.point, "it is there");
    let points = there.points().await?;
    let copy = points.first().context("the copy")?;
    ensure!(
        points.len() == 1 && KeptSnapshot::of(&copy.service).and_then(|kept| kept.copy_of) == Some(point)
    );
    Ok(())
}
