//! Every byte comes back, in a full and in an incremental point, across a restart of the machine.

use crate::guest::{Guest, assert_equal};
use crate::scene::{Scene, tracking};
use anyhow::{Result, ensure};
use serde_json::Value;

#[test]
fn restored_disks_equal_the_frozen_source_byte_by_byte() -> Result<()> {
    let scene = Scene::new()?;
    let options = Guest::options(&scene, "bytes")?;
    let again = options.clone();
    let guest = Guest::boot(options)?;
    guest
        .sh("guest-probe fill /data0/noise 40000000 1 && guest-probe fill /data1/noise 30000001 2 && sync")?;
    guest.machine.pause()?;
    let full = back_up_paused(&scene, &guest)?;
    assert_same(&scene, &guest, &full, "full")?;

    change(&guest, 3)?;
    let changed = back_up_paused(&scene, &guest)?;
    ensure!(tracking(&changed) == ["only changes", "only changes"], "{changed}");
    assert_same(&scene, &guest, &changed, "changed")?;
    guest.machine.resume()?;
    guest.assert_at_work(&scene, Some(&changed))?;
    guest.quit_and_check()?;

    // The records of changes lie in the images: they outlive QEMU.
    let guest = Guest::boot(again)?;
    change(&guest, 4)?;
    let restarted = back_up_paused(&scene, &guest)?;
    ensure!(tracking(&restarted) == ["only changes", "only changes"], "{restarted}");
    assert_same(&scene, &guest, &restarted, "restarted")?;
    // The points before are still what they were.
    assert_equal(
        &scene.restore(&full, "full-late", "raw")?,
        &[0, 1].map(|n| scene.path(&format!("full{n}.raw"))),
    )?;
    guest.quit_and_check()
}

/// Overwrites some, deletes some, adds some; then the processors stand still.
fn change(guest: &Guest, seed: u32) -> Result<()> {
    guest.machine.resume()?;
    guest.sh(&format!(
        "guest-probe rndw /data0/noise 40000000 80 4096 {seed} && guest-probe rndw /data1/noise 30000001 80 512 {seed} && \
         guest-probe fill /data0/new{seed} 3000000 {seed} && rm -f /data1/new* && \
         guest-probe fill /data1/new{seed} 2000000 {seed} && sync && fstrim /data0; sync"
    ))?;
    guest.machine.pause()
}

/// Backs up a machine that somebody had paused: it must stay so.
fn back_up_paused(scene: &Scene, guest: &Guest) -> Result<Value> {
    let ran = scene.try_backup(guest.name(), &[])?;
    ran.said(&["crash-consistent", "not more, because the machine is not running"])?;
    let point = ran.json()?;
    guest.assert_left_alone(scene, false, Some(&point))?;
    Ok(point)
}

/// Compares what is restored with what stands in the paused machine's images.
fn assert_same(scene: &Scene, guest: &Guest, point: &Value, name: &str) -> Result<()> {
    let source = guest.copy_disks(scene, name)?;
    assert_equal(&scene.restore(point, &format!("{name}-restored"), "raw")?, &source)
}
