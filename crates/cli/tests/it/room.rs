//! Where there is no room: said so, with nothing left behind, and mended by room.

use crate::guest::{Guest, assert_equal};
use crate::program::Running;
use crate::scene::{Scene, id, names_in, tracking};
use crate::tmpfs::Tmpfs;
use anyhow::{Result, ensure};

#[test]
fn a_full_vault_fails_the_backup_and_nothing_else() -> Result<()> {
    let mut scene = Scene::without_vault()?;
    let vault = Tmpfs::mount(&scene.path("small"), 8)?;
    scene.create_vault_in("small")?;
    let guest = Guest::boot(Guest::options(&scene, "room")?)?;
    guest.sh("guest-probe fill /data1/noise 120000000 1 && sync")?;

    let full = scene.try_backup(guest.name(), &[])?;
    // Found while storing, or only when committing: packs are written when they are full.
    full.failed(9, &["No space left", "try: make room where the vault lies"])?;
    ensure!(scene.points()?.is_empty(), "no point");
    guest.assert_at_work(&scene, None)?;

    vault.enlarge(512)?;
    guest.machine.pause()?;
    let point = scene.backup(guest.name())?;
    let source = guest.copy_disks(&scene, "first")?;
    assert_equal(&scene.restore(&point, "first", "raw")?, &source)?;
    guest.machine.resume()?;

    // Full again in the middle of a chain: the next point is still made of changes only, and whole.
    let ballast = vault.path().join("ballast");
    fill(&ballast)?;
    guest.sh("guest-probe fill /data0/noise 30000000 2 && sync")?;
    scene.try_backup(guest.name(), &[])?.failed(9, &["No space left"])?;
    ensure!(scene.points()? == [point.clone()], "{:?}", scene.points());
    guest.assert_at_work(&scene, Some(&point))?;
    std::fs::remove_file(ballast)?;
    guest.machine.pause()?;
    let next = scene.backup(guest.name())?;
    ensure!(tracking(&next) == ["only changes", "only changes"], "{next}");
    let source = guest.copy_disks(&scene, "next")?;
    assert_equal(&scene.restore(&next, "next", "raw")?, &source)?;
    guest.quit_and_check()
}

/// Takes all room there is.
fn fill(path: &std::path::Path) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    match std::io::copy(&mut std::io::repeat(1), &mut file) {
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
        other => anyhow::bail!("the place should have become full: {other:?}"),
    }
}

#[test]
fn full_scratch_fails_the_backup_and_the_guest_writes_on() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "overwrites")?)?;
    let scratch = Tmpfs::mount(&scene.path("little"), 1)?;
    guest.sh("guest-probe fill /data0/noise 200000000 1 && sync")?;
    guest
        .machine
        .agent()
        .start("while guest-probe rndw /data0/noise 200000000 500 4096 $((n += 1)); do :; done")?;
    let mut command = scene.command(["backup", guest.name(), "--scratch"]);
    let ran = Running::start(command.arg(scratch.path()))?.finish()?;
    ran.failed(5, &["snapshot is broken", "try: give a larger or faster folder with --scratch DIR"])?;
    ensure!(scene.points()?.is_empty(), "no point");
    ensure!(names_in(scratch.path())?.is_empty(), "the scratch folder is empty");
    guest.assert_at_work(&scene, None)?;
    ensure!(
        guest.sh("dmesg | grep -ciE 'i/o error|remount' || true")?.trim() == "0",
        "the guest saw nothing"
    );
    let point = scene.backup(guest.name())?; // with room for what it overwrites
    guest.assert_at_work(&scene, Some(&point))?;
    guest.quit_and_check()
}

#[test]
fn a_full_target_leaves_nothing_that_looks_restored() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::still(&scene, "target")?;
    let point = scene.backup(guest.name())?;
    let target = Tmpfs::mount(&scene.path("tiny"), 1)?;
    for format in ["raw", "qcow2"] {
        let mut command = scene.command(["restore", "disks", id(&point)?, "--format", format, "--to"]);
        let ran = Running::start(command.arg(target.path()))?.finish()?;
        ran.failed(9, &["restore disk d-disk0", "try: make room or choose another folder"])?;
        let left = names_in(target.path())?;
        ensure!(left.is_empty(), "{format}: {left:?} is left");
    }
    target.enlarge(256)?;
    let mut command = scene.command(["restore", "disks", id(&point)?, "--format", "qcow2", "--to"]);
    Running::start(command.arg(target.path()))?.finish()?.succeeded()?;
    guest.quit_and_check()
}
