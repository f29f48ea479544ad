//! Images by order: a machine becomes a version once, machines are made of it once, and it is copied once.

use super::desk::{Desk, Working};
use super::scene::{Guest, Scene, claimed_again, now};
use crate::image::program;
use anyhow::{Context, Result, ensure};
use api::images::{CreateMachines, ImageWork, KeptImage, MadeImage, MadeMachine, NewImage};
use api::work::{AssignedHost, Order, ReportEvent, VaultAccess, Work};
use api::{NewNetwork, StopMachine};
use model::job::{Failure, JobKind};
use model::{HostId, MachineId, PointId};
use serde_json::Value;
use std::path::Path;
use uuid::Uuid;
use vault::{KeyFile, Store, Vault, VaultId};

fn order(scene: &Scene, kind: JobKind, work: ImageWork) -> Order {
    scene.order(kind, Work::Image(Box::new(work)))
}

/// The machine has no system on its disks: nobody can say whose it is.
pub(super) fn capture(scene: &Scene, guest: &Guest, stop: Option<StopMachine>) -> Order {
    let wish = NewImage {
        name: "web".into(),
        machine: MachineId(scene.item),
        stop,
        generalize: false,
        specialized: true,
        exclude_from_latest: false,
    };
    let work = |kept| ImageWork::Capture {
        wish: wish.clone(),
        host: AssignedHost { id: HostId(Uuid::now_v7()), address: "local".into() },
        known_as: guest.machine.options().uuid.to_string(),
        machine_name: guest.machine.options().name.clone(),
        kept,
    };
    let mut order = order(scene, JobKind::CaptureImage, work(KeptImage::unknown()));
    let kept = KeptImage { job: Some(order.job), ..KeptImage::unknown() };
    order.work = Work::Image(Box::new(work(kept)));
    order
}

pub(super) fn create(scene: &Scene, point: PointId, (name, count): (&str, u32)) -> Order {
    let wish = CreateMachines {
        name: name.into(),
        count,
        first: 1,
        host: HostId(Uuid::now_v7()),
        folder: scene.path("made").display().to_string(),
        full: false,
        start: false,
        at_once: false,
        network: NewNetwork::Isolated {},
        cpus: None,
        memory_mib: None,
        user_data: None,
    };
    let work = ImageWork::Create { point, image: "web:1".into(), wish, libvirt: None, same_as: None };
    order(scene, JobKind::CreateMachines, work)
}

fn result(event: &ReportEvent) -> Result<Value> {
    match event {
        ReportEvent::StepDone { result: Some(result), .. } => Ok(result.clone()),
        other => anyhow::bail!("{other:?}"),
    }
}

/// The last word on an order that is handed out now, once more or for the first time.
pub(super) async fn done(desk: &Desk, order: &Order) -> Result<Value> {
    let before = desk.news(order.job).len();
    desk.hand_out(order.clone());
    desk.until(|desk| desk.news(order.job).len() > before).await;
    result(&desk.end_of(order).await)
}

pub(super) fn made(result: &Value) -> Result<MadeImage> {
    Ok(serde_json::from_value(result["image"].clone())?)
}

pub(super) fn machines(result: &Value) -> Result<Vec<MadeMachine>> {
    Ok(serde_json::from_value(result["machines"].clone())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_made_once_and_so_are_its_machines_and_its_copy() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let runs = capture(&scene, &guest, None);
    let desk = Desk::kind(vec![runs.clone()]);
    let mut settings = scene.settings("mover");
    settings.files_program = Some(program()?);
    let working = Working::start(&desk, settings);
    let ReportEvent::Failed { error } = desk.end_of(&runs).await else { anyhow::bail!("it runs") };
    ensure!(error.failure == Failure::Invalid && error.text.contains("machine that is off"), "{error:?}");

    let first = capture(&scene, &guest, Some(StopMachine::PowerOff));
    let told = made(&done(&desk, &first).await?)?;
    ensure!((told.record.name.as_str(), told.record.version) == ("web", 1), "{told:?}");
    ensure!(told.record.systems.is_empty() && told.made.disks.len() == 2, "{told:?}");
    let point = told.made.point;
    // Its machine is off by now; whoever claims the job again finds what was made.
    let again = made(&done(&desk, &claimed_again(&first, 1, None)).await?)?;
    ensure!(again.made.point == point, "once, however often it is claimed");
    let again = made(&done(&desk, &claimed_again(&first, 0, None)).await?)?;
    ensure!(again.made.point == point && scene.points("vault").await?.len() == 1, "and nothing else");
    ensure!(std::fs::read_dir(scene.path("mover/captures"))?.count() == 0, "nothing is left written down");

    machines_once(&scene, &desk, point).await?;
    copy_once(&scene, &desk, point).await?;
    working.stop().await;
    Ok(())
}

async fn machines_once(scene: &Scene, desk: &Desk, point: PointId) -> Result<()> {
    let order = create(scene, point, ("web-{}", 3));
    let told = done(desk, &order).await?;
    let first = machines(&told)?;
    ensure!(first.len() == 3 && first.iter().all(|one| one.shares && one.error.is_none()), "{told}");
    ensure!(told["fetched_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{told}");
    // As an attempt leaves it that was cut off: one is made, one unfinished, one not begun.
    let folder = scene.path("made");
    let unfinished = folder.join(format!(".web-2.{}", first[1].uuid));
    std::fs::rename(folder.join("web-2"), &unfinished)?;
    std::fs::remove_file(unfinished.join("start.sh"))?;
    std::fs::remove_dir_all(folder.join("web-3"))?;
    let kept = std::fs::metadata(folder.join("web-1/seed.iso"))?.modified()?;
    let told = done(desk, &claimed_again(&order, 0, None)).await?;
    ensure!(
        machines(&told)? == first && told["fetched_bytes"] == 0,
        "the same, and the image is here: {told}"
    );
    ensure!(!unfinished.exists() && names(&folder)? == ["image-web-1", "web-1", "web-2", "web-3"]);
    ensure!(std::fs::metadata(folder.join("web-1/seed.iso"))?.modified()? == kept, "what is made stays");
    // Another job's are others: it does not take these for its own.
    let other = create(scene, point, ("web-{}", 1));
    desk.hand_out(other.clone());
    let ReportEvent::Failed { error } = desk.end_of(&other).await else { anyhow::bail!("it is taken") };
    ensure!(error.text.contains("is there already"), "{error:?}");
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
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
    let copy = |kept| ImageWork::Copy { point, image: "web:1".into(), to: to.clone(), kept };
    let mut first = order(scene, JobKind::CopyImage, copy(KeptImage::unknown()));
    let kept = KeptImage { job: Some(first.job), copy_of: Some(point), ..KeptImage::unknown() };
    first.work = Work::Image(Box::new(copy(kept)));
    let told = made(&done(desk, &first).await?)?;
    ensure!(told.made.point != point && told.kept.copy_of == Some(point), "{told:?}");
    let again = made(&done(desk, &claimed_again(&first, 0, None)).await?)?;
    ensure!(again.made.point == told.made.point, "it is there");
    let versions = mover::capture::images(&there, None).await?;
    ensure!(versions.len() == 1 && versions[0].record.shown() == "web:1", "{versions:?}");
    let other = order(scene, JobKind::CopyImage, copy(KeptImage::unknown()));
    desk.hand_out(other.clone());
    let ReportEvent::Failed { error } = desk.end_of(&other).await else { anyhow::bail!("it has one") };
    ensure!(error.text.contains("another web:1"), "{error:?}");
    versions.first().context("a version").map(drop)
}
