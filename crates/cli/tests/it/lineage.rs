//! A record of changes belongs to one disk, one point, one run of QEMU: what breaks that is noticed, and told.

use crate::guest::{Guest, assert_equal, run};
use crate::scene::{Scene, tracking};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use testkit::{Format, GuestDisk, MachineOptions};

/// The processors never run, so the disks are what QEMU or we make of them.
fn start(scene: &Scene, options: &MachineOptions) -> Result<Guest> {
    let mut options = options.clone();
    // A raw disk besides: QEMU keeps no record of it.
    options.disks.push(GuestDisk::file("disk2", &scene.path("third.raw"), Format::Raw));
    options.arguments.push("-S".into());
    Guest::start(options)
}

/// Backs up, and compares the first two disks with their images.
fn backup(scene: &Scene, guest: &Guest, name: &str) -> Result<Value> {
    let point = scene.backup(guest.name())?;
    let source = guest.copy_disks(scene, name)?;
    assert_equal(&scene.restore(&point, &format!("{name}-restored"), "raw")?, &source)?;
    Ok(point)
}

fn assert_how(point: &Value, expected: [&str; 3]) -> Result<()> {
    let how = tracking(point);
    let right = how.len() == 3 && how.iter().zip(expected).all(|(how, expected)| how.starts_with(expected));
    ensure!(right, "{how:?} should be {expected:?}");
    Ok(())
}

fn write(image: &Path, what: &str) -> Result<()> {
    run(Command::new("qemu-io").args(["-f", "qcow2", "-c", what]).arg(image)).map(drop)
}

#[test]
fn what_breaks_a_record_of_changes_is_noticed_and_everything_is_read() -> Result<()> {
    const CHANGES: &str = "only changes";
    const NONE: &str = "everything: QEMU has no record of the changes since the earlier point";
    let scene = Scene::new()?;
    let options = Guest::options(&scene, "lineage")?;
    let image = scene.path("lineage").join("data0.qcow2");
    let (old, raw) = (scene.path("old.qcow2"), scene.path("third.raw"));
    run(Command::new("truncate").args(["-s", "64M"]).arg(&raw))?;

    let guest = start(&scene, &options)?;
    assert_how(&backup(&scene, &guest, "first")?, ["everything: no earlier point to compare with"; 3])?;
    assert_how(&backup(&scene, &guest, "idle")?, [CHANGES; 3])?;
    guest.machine.quit()?;
    run(Command::new("cp").arg(&image).arg(&old))?;

    // Stopped in an orderly way and written to by another program of QEMU's: the image keeps the record.
    write(&image, "write -P 0x21 600M 1M")?;
    let guest = start(&scene, &options)?;
    let kept = backup(&scene, &guest, "kept")?;
    assert_how(&kept, [CHANGES, CHANGES, NONE])?;
    ensure!(kept["disks"][0]["read_bytes"].as_u64() >= Some(1 << 20), "{kept}");
    guest.machine.quit()?;

    // Rolled back: its record is of an older point.
    run(Command::new("cp").arg(&old).arg(&image))?;
    let guest = start(&scene, &options)?;
    assert_how(&backup(&scene, &guest, "rolled-back")?, [NONE, CHANGES, NONE])?;
    guest.machine.quit()?;

    // Replaced by another disk's image, with that one's record.
    run(Command::new("qemu-img").args(["create", "-f", "qcow2"]).arg(&image).arg("1G"))?;
    write(&image, "write -P 0x22 1M 9M")?;
    let guest = start(&scene, &options)?;
    assert_how(&backup(&scene, &guest, "replaced")?, [NONE, CHANGES, NONE])?;
    guest.machine.quit()?;

    // Killed: what QEMU had in memory of the record is lost.
    let guest = start(&scene, &options)?;
    guest.machine.kill()?;
    let guest = start(&scene, &options)?;
    let broken = "everything: QEMU ended without closing the image";
    assert_how(&backup(&scene, &guest, "killed")?, [broken, broken, NONE])?;
    assert_how(&backup(&scene, &guest, "again")?, [CHANGES; 3])?;
    guest.quit_and_check()
}
