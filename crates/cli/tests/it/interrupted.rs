//! A backup or restore that is interrupted or killed: no point, no harm, and the next one is whole.

use crate::guest::{Guest, assert_equal};
use crate::program::{Ran, Running};
use crate::scene::{Scene, id, names_in, tracking};
use anyhow::{Result, ensure};
use serde_json::Value;

/// What the program says when it begins to read, and when it begins to freeze.
const TRANSFER: &str = "Transfer data to vault";
const SNAPSHOT: &str = "Take snapshot";
const DIED: &str = "An earlier backup had died";

#[test]
fn an_interrupted_backup_leaves_no_trace_and_a_killed_one_is_taken_back() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "interrupted")?)?;
    guest.sh("guest-probe fill /data0/noise 300000000 1 && sync")?;
    let full = interrupted_and_killed(&scene, &guest, None)?;
    guest.machine.resume()?;
    guest.sh("guest-probe fill /data0/noise 250000000 2 && guest-probe fill /data1/noise 50000000 3 && sync")?;
    let next = interrupted_and_killed(&scene, &guest, Some(&full))?;
    ensure!(tracking(&next) == ["only changes", "only changes"], "{next}");
    ensure!(next["parent"] == full["id"], "{next}");
    guest.machine.resume()?;
    guest.assert_at_work(&scene, Some(&next))?;
    guest.quit_and_check()
}

/// Ends backups in every way, then makes one of the paused machine and compares it.
fn interrupted_and_killed(scene: &Scene, guest: &Guest, parent: Option<&Value>) -> Result<Value> {
    let points = scene.points()?;
    for (says, signal, code) in [(SNAPSHOT, "INT", 130), (TRANSFER, "INT", 130), (TRANSFER, "TERM", 130)] {
        let ran = backup_ended_by(scene, guest, says, signal)?;
        ran.failed(code, &["the backup was"])?;
        ensure!(scene.points()? == points, "no new point");
        guest.assert_at_work(scene, parent)?;
    }
    // Killed while it freezes, nothing may be left or much.
    let ran = backup_ended_by(scene, guest, SNAPSHOT, "KILL")?;
    ensure!(ran.code.is_none(), "{ran:?}");
    let ran = backup_ended_by(scene, guest, TRANSFER, "KILL")?;
    ensure!(ran.code.is_none(), "{ran:?}");
    ensure!(scene.points()? == points, "no new point");
    // What nobody has taken back yet does not hold the guest up.
    guest.sh("echo alive >/data0/alive && echo alive >/data1/alive && sync")?;

    guest.machine.pause()?;
    let ran = scene.try_backup(guest.name(), &[])?;
    ran.said(&[DIED])?;
    let point = ran.json()?;
    guest.assert_left_alone(scene, false, Some(&point))?;
    let name = format!("after{}", points.len());
    let source = guest.copy_disks(scene, &name)?;
    assert_equal(&scene.restore(&point, &format!("{name}-restored"), "raw")?, &source)?;
    Ok(point)
}

fn backup_ended_by(scene: &Scene, guest: &Guest, says: &str, signal: &str) -> Result<Ran> {
    let mut running = Running::start(&mut scene.backup_command(guest.name(), &[]))?;
    running.wait_for(says)?;
    running.signal(signal)?;
    running.finish()
}

#[test]
fn an_interrupted_restore_can_be_done_again() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::still(&scene, "again")?;
    let point = scene.backup(guest.name())?;
    for (format, signal, code) in
        [("raw", "INT", Some(130)), ("qcow2", "TERM", Some(130)), ("raw", "KILL", None), ("qcow2", "KILL", None)]
    {
        let folder = scene.path(&format!("{format}-{signal}"));
        let mut command = scene.command(["restore", id(&point)?, "--format", format, "--to"]);
        let mut running = Running::start(command.arg(&folder))?;
        running.wait_for("Disk d-disk0")?;
        running.signal(signal)?;
        let ran = running.finish()?;
        ensure!(ran.code == code, "{ran:?}");
        let names = names_in(&folder).unwrap_or_default();
        ensure!(!names.iter().any(|name| name.ends_with(format)), "not whole, so not named: {names:?}");
        ensure!(code.is_none() || names.is_empty(), "{format}: {names:?} is left");
        let images = scene.restore(&point, &format!("{format}-{signal}"), format)?;
        if format == "raw" {
            assert_equal(&images, &guest.copy_disks(&scene, "again")?)?;
        }
    }
    guest.quit_and_check()
}
