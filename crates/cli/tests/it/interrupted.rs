//! A backup or restore that is interrupted or killed: no point, no harm, and the next one is whole.

use crate::guest::{Guest, assert_equal, run, until};
use crate::program::{Ran, Running};
use crate::scene::{Scene, id, names_in, tracking};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::process::Command;

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
    guest.sh(
        "guest-probe fill /data0/noise 250000000 2 && guest-probe fill /data1/noise 50000000 3 && sync",
    )?;
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
fn an_interrupted_restore_leaves_nothing_and_a_killed_one_nothing_that_looks_whole() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::still(&scene, "again")?;
    let point = scene.backup(guest.name())?;
    let source = guest.copy_disks(&scene, "again")?;
    for format in ["raw", "qcow2"] {
        // A path too long for a socket.
        let name = format!("{}{format}", "deep-".repeat(20));
        for (signal, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
            let ran = restore_ended_by(&scene, &point, &name, format, signal)?;
            ensure!(ran.code == code, "{ran:?}");
            let left = names_in(&scene.path(&name))?;
            let partial = format!("d-disk0.{format}.partial");
            ensure!(if code.is_some() { left.is_empty() } else { left == [&*partial] }, "{signal}: {left:?}");
            let temporary = names_in(&scene.path("tmp"))?;
            ensure!(code.is_none() || temporary.is_empty(), "{signal}: {temporary:?}");
        }
        // A qemu-img that the killed program had just started may still make its file.
        until("the killed program's children to end", || Ok(!is_named_by_a_process(&name)))?;
        // It may be another restore's that is under way, so it is not ours to delete.
        let partial = scene.path(&name).join(format!("d-disk0.{format}.partial"));
        let again = Running::start(&mut restore_command(&scene, &point, &name, format)?)?.finish()?;
        let said = format!("{} is there already", partial.display());
        again.failed(4, &[&said, "try: choose an empty folder, or delete what a killed restore left"])?;
        std::fs::remove_file(partial)?;
        let images = scene.restore(&point, &name, format)?;
        let raw = ["raw0", "raw1"].map(|disk| scene.path(disk));
        for (image, raw) in images.iter().zip(&raw) {
            run(Command::new("qemu-img").args(["convert", "-O", "raw", "-f", format]).arg(image).arg(raw))?;
        }
        assert_equal(&raw, &source)?;
    }
    guest.quit_and_check()
}

/// Whether any process's command line holds this text.
fn is_named_by_a_process(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(text))
}

fn restore_command(scene: &Scene, point: &Value, name: &str, format: &str) -> Result<Command> {
    let mut command = scene.command(["restore", "disks", id(point)?, "--format", format, "--to"]);
    command.arg(scene.path(name));
    Ok(command)
}

/// Ends a restore once it has begun to write.
fn restore_ended_by(scene: &Scene, point: &Value, name: &str, format: &str, signal: &str) -> Result<Ran> {
    let running = Running::start(&mut restore_command(scene, point, name, format)?)?;
    let partial = scene.path(name).join(format!("d-disk0.{format}.partial"));
    until("the image to be begun", || Ok(partial.exists()))?;
    running.signal(signal)?;
    running.finish()
}
