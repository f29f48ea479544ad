//! Disks come, go, grow, and are left out: between backups and during one.

use crate::guest::{Guest, run};
use crate::program::Running;
use crate::scene::{Scene, tracking};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// For the guest to let a device go.
const UNPLUG: Duration = Duration::from_secs(60);

#[test]
fn disks_that_come_and_go_and_grow_are_backed_up_as_they_are() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "disks")?)?;
    scene.backup(guest.name())?;
    let image = make_image(&scene)?;
    plug(&guest, &image)?;
    let added = scene.backup(guest.name())?;
    let new = "everything: the disk was not in the earlier point";
    ensure!(tracking(&added) == ["only changes", "only changes", new], "{added}");
    assert_third(&scene, &added, "added", &image)?;

    // Left out for once, and in again.
    let without = scene.try_backup(guest.name(), &["--disks", "exclude=d-disk2"])?.json()?;
    ensure!(tracking(&without) == ["only changes", "only changes"], "{without}");
    ensure!(skipped(&without, "d-disk2")?.starts_with("left out"), "{without}");
    write_third(&guest, 0x5a)?;
    let again = scene.backup(guest.name())?;
    ensure!(tracking(&again)[2] == "everything: it was left out of the earlier point", "{again}");
    assert_third(&scene, &again, "again", &image)?;
    write_third(&guest, 0x77)?;
    let next = scene.backup(guest.name())?;
    ensure!(tracking(&next) == ["only changes"; 3], "{next}");
    assert_third(&scene, &next, "next", &image)?;
    let boot = scene.try_backup(guest.name(), &["--disks", "os-only"])?.json()?;
    ensure!(boot["disks"][0]["name"] == "d-disk0" && boot["disks"][1].is_null(), "{boot}");
    let refused = scene.try_backup(guest.name(), &["--disks", "include=d-disk0,d-disk9"])?;
    refused.failed(3, &["the machine has no writable disk d-disk9; it has d-disk0, d-disk1, d-disk2"])?;

    // Grown while it runs: the record of changes knows nothing of the new part.
    scene.backup(guest.name())?;
    guest.machine.qmp("block_resize", json!({ "node-name": "disk2", "size": 96 << 20 }))?;
    write_third_at(&guest, 80 << 20, 0x11)?;
    let grown = scene.backup(guest.name())?;
    ensure!(tracking(&grown)[2].starts_with("everything: the disk's size changed"), "{grown}");
    ensure!(grown["disks"][2]["size"] == 96 << 20, "{grown}");
    assert_third(&scene, &grown, "grown", &image)?;

    unplug_during_a_backup(&scene, &guest)?;
    guest.machine.qmp("blockdev-del", json!({ "node-name": "disk2" }))?;
    let gone = scene.backup(guest.name())?;
    ensure!(tracking(&gone) == ["only changes", "only changes"], "{gone}");
    ensure!(skipped(&gone, "d-disk2")?.contains("has it no more"), "{gone}");
    guest.assert_at_work(&scene, Some(&gone))?;
    run(Command::new("qemu-img").arg("check").arg(&image))?;
    guest.quit_and_check()
}

/// The backup fails aloud, and that is all that happens; a disk that grows meanwhile harms nobody either.
fn unplug_during_a_backup(scene: &Scene, guest: &Guest) -> Result<()> {
    let slow = ["--full", "--limit", "4MiB/s"];
    let mut running = Running::start(&mut scene.backup_command(guest.name(), &slow))?;
    running.wait_for("Transfer data to vault")?;
    // QEMU may refuse to grow a disk under a filter.
    let _ =
        guest.machine.qmp("block_resize", json!({ "node-name": "disk0", "size": (1u64 << 30) + (64 << 20) }));
    unplug(guest)?;
    let points = scene.points()?.len();
    running.finish()?.failed(1, &["check the frozen disk d-disk2: it was unplugged meanwhile"])?;
    ensure!(scene.points()?.len() == points, "no point of a machine that lost a disk");
    guest.sh("echo alive >/data0/alive && echo alive >/data1/alive && sync").map(drop)
}

fn make_image(scene: &Scene) -> Result<PathBuf> {
    let image = scene.path("third.qcow2");
    run(Command::new("qemu-img").args(["create", "-f", "qcow2"]).arg(&image).arg("64M"))?;
    run(Command::new("qemu-io").args(["-c", "write -P 0x42 1M 20M"]).arg(&image))?;
    Ok(image)
}

fn plug(guest: &Guest, image: &PathBuf) -> Result<()> {
    let file = json!({ "driver": "file", "filename": image });
    let node = json!({ "driver": "qcow2", "node-name": "disk2", "file": file });
    guest.machine.qmp("blockdev-add", node)?;
    let device = json!({ "driver": "virtio-blk-pci", "drive": "disk2", "id": "d-disk2" });
    guest.machine.qmp("device_add", device)?;
    guest.sh("until [ -b /dev/vdc ]; do sleep 0.1; done").map(drop)
}

fn unplug(guest: &Guest) -> Result<()> {
    guest.machine.qmp("device_del", json!({ "id": "d-disk2" }))?;
    loop {
        let event = guest.machine.wait_event("DEVICE_DELETED", UNPLUG)?;
        if event.to_string().contains("\"d-disk2\"") {
            return Ok(());
        }
    }
}

fn write_third(guest: &Guest, byte: u8) -> Result<()> {
    write_third_at(guest, 4 << 20, byte)
}

/// A MiB of one byte, past the guest's cache.
fn write_third_at(guest: &Guest, offset: u64, byte: u8) -> Result<()> {
    let place = offset >> 20;
    let fill = format!("tr '\\0' '\\{byte:03o}' </dev/zero | head -c 1048576");
    let command = format!("{fill} | dd of=/dev/vdc bs=1M seek={place} conv=notrunc,fsync iflag=fullblock");
    guest.sh(&command).map(drop)
}

/// Compares the third disk with its image, which nobody writes to by now.
fn assert_third(scene: &Scene, point: &Value, name: &str, image: &PathBuf) -> Result<()> {
    let [first, _] = scene.restore(point, name, "raw")?;
    let restored = first.with_file_name("d-disk2.raw");
    let mut compare = Command::new("qemu-img");
    compare.args(["compare", "-U", "-f", "raw", "-F", "qcow2"]).arg(restored).arg(image);
    run(&mut compare).map(drop)
}

fn skipped<'a>(point: &'a Value, disk: &str) -> Result<&'a str> {
    let mut drives = point["description"]["skipped"].as_array().into_iter().flatten();
    let drive = drives.find(|drive| drive["id"] == disk).with_context(|| format!("{point} skips {disk}"))?;
    drive["reason"].as_str().context("a reason")
}
