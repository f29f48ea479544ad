//! Disks written by orders into an image that holds another state, and into a real NBD server's export.

use super::desk::{Desk, Working};
use super::scene::{Guest, Scene, claimed_again, made};
use crate::differences::serve;
use anyhow::{Result, ensure};
use api::work::{Order, ReportEvent, Work};
use api::{DiskTarget, RestoreFormat, RestoreTarget, WrittenDisk};
use model::PointId;
use model::job::JobKind;
use std::path::Path;
use std::process::Command;

const BLOCK: u64 = 64 << 10;

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn order(scene: &Scene, point: PointId, disk: &str, to: &RestoreTarget, plan: bool) -> Order {
    let targets = vec![DiskTarget { disk: disk.to_owned(), to: to.clone() }];
    let kind = if plan { JobKind::Plan } else { JobKind::Restore };
    scene.order(kind, Work::RestoreInto { item: scene.item, point, targets, plan })
}

fn written(end: &ReportEvent) -> Result<WrittenDisk> {
    let ReportEvent::StepDone { result: Some(result), .. } = end else { anyhow::bail!("{end:?}") };
    Ok(serde_json::from_value(result["disks"][0].clone())?)
}

fn same(raw: &Path, image: &Path) -> Result<()> {
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "qcow2"]).arg(raw).arg(image))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written_and_told_before_and_an_export_takes_a_disk() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let backup = scene.back_up(&guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;
    let truth = guest.copy_disks(&scene)?;

    let image = scene.path("later.qcow2");
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&truth[0]).arg(&image))?;
    run(Command::new("qemu-io").args(["-f", "qcow2", "-c", "write -P 0x55 3M 100k"]).arg(&image))?;
    let before = std::fs::read(&image)?;
    let path = image.display().to_string();
    let to = RestoreTarget::Image { path, format: RestoreFormat::Qcow2 };
    let plan = order(&scene, point, "d-disk0", &to, true);
    desk.hand_out(plan.clone());
    let planned = written(&desk.end_of(&plan).await)?;
    ensure!(planned.data_bytes + planned.zero_bytes == 2 * BLOCK, "{planned:?}");
    ensure!(std::fs::read(&image)? == before, "a plan writes nothing");
    let real = order(&scene, point, "d-disk0", &to, false);
    desk.hand_out(real.clone());
    ensure!(written(&desk.end_of(&real).await)? == planned, "what was told is what was done");
    same(&truth[0], &image)?;
    // The word of it may get lost: it is done again, and nothing differs.
    let again = claimed_again(&real, 0, None);
    let told = desk.news(real.job).len();
    desk.hand_out(again);
    desk.until(|desk| desk.news(real.job).len() >= told + 2).await;
    let last = desk.news(real.job).pop().expect("it was seen");
    ensure!(written(&last)?.unchanged_bytes == 1 << 30, "{last:?}");

    let (export, socket) = (scene.path("there.qcow2"), scene.path("s"));
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&export).arg("512M"))?;
    run(Command::new("qemu-io").args(["-f", "qcow2", "-c", "write -P 0x55 0 9M"]).arg(&export))?;
    let server = serve(&export, &socket)?;
    let socket = socket.display().to_string();
    let to = RestoreTarget::NbdUnix { socket, export: "x".to_owned(), differences: false };
    let nbd = order(&scene, point, "d-disk1", &to, false);
    desk.hand_out(nbd.clone());
    let whole = written(&desk.end_of(&nbd).await)?;
    ensure!(whole.unchanged_bytes == 0 && whole.data_bytes + whole.zero_bytes == 512 << 20, "{whole:?}");
    drop(server);
    same(&truth[1], &export)?;
    working.stop().await;
    guest.assert_left_alone()
}
