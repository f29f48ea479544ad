//! Records of changes are not believed blindly.

use crate::guest::{Guest, assert_equal, strings};
use crate::scene::{Scene, tracking};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// So many that every block which holds data is audited.
const ALL: &[&str] = &["--audit", "4096"];

#[test]
fn a_record_of_changes_that_lies_is_caught_and_everything_is_read() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "audit")?)?;
    guest
        .sh("guest-probe fill /data0/noise 30000000 1 && guest-probe fill /data1/noise 30000000 2 && sync")?;
    scene.backup(guest.name())?;

    // Honest: what is said to be unchanged is, and is read to see it.
    overwrite(&guest, 3)?;
    let ran = scene.try_backup(guest.name(), ALL)?;
    ensure!(!ran.stderr.contains("warning:"), "{ran:?}");
    let honest = ran.json()?;
    ensure!(tracking(&honest) == ["only changes", "only changes"], "{honest}");
    let audited = |disk: &str| honest["description"]["audited_blocks"][disk].as_u64();
    ensure!(audited("d-disk0").is_some_and(|blocks| blocks > 100), "{honest}");
    ensure!(audited("d-disk1").is_some_and(|blocks| blocks > 100), "{honest}");

    // Cleared behind our back: without the audit both disks' overwritten blocks would be missing.
    overwrite(&guest, 4)?;
    guest.machine.pause()?;
    clear_record(&guest, "disk0")?;
    let ran = scene.try_backup(guest.name(), ALL)?;
    ran.said(&["warning: disk d-disk0: the record of changes calls the block at", "everything is read"])?;
    let caught = ran.json()?;
    let how = tracking(&caught);
    ensure!(how[0].starts_with("everything: the record of changes calls the block at"), "{caught}");
    ensure!(how[1] == "only changes", "{caught}");
    guest.assert_left_alone(&scene, false, Some(&caught))?;
    let source = guest.copy_disks(&scene, "caught")?;
    assert_equal(&scene.restore(&caught, "caught-restored", "raw")?, &source)?;
    // Compared by hash: what had not changed is not stored again.
    let (new, read) = (&caught["stats"]["new_bytes"], &caught["stats"]["read_bytes"]);
    ensure!(new.as_u64() < read.as_u64().map(|read| read / 2), "{caught}");

    // A new record has begun, and is as good as any.
    guest.machine.resume()?;
    overwrite(&guest, 5)?;
    guest.machine.pause()?;
    let next = scene.try_backup(guest.name(), ALL)?.json()?;
    ensure!(tracking(&next) == ["only changes", "only changes"], "{next}");
    let source = guest.copy_disks(&scene, "next")?;
    assert_equal(&scene.restore(&next, "next-restored", "raw")?, &source)?;
    guest.quit_and_check()
}

fn overwrite(guest: &Guest, seed: u32) -> Result<()> {
    let command = format!(
        "for disk in 0 1; do guest-probe rndw /data$disk/noise 30000000 40 4096 {seed}$disk; done; sync"
    );
    guest.sh(&command).map(drop)
}

fn clear_record(guest: &Guest, node: &str) -> Result<()> {
    let nodes = guest.machine.qmp("query-named-block-nodes", json!({ "flat": true }))?;
    let mut nodes = nodes.as_array().into_iter().flatten();
    let bitmaps = nodes.find(|found| found["node-name"] == node).map(|node| node["dirty-bitmaps"].clone());
    let bitmaps = bitmaps.unwrap_or(Value::Null);
    let name = strings(&bitmaps, "name").next().context("a record of changes")?;
    guest.machine.qmp("block-dirty-bitmap-clear", json!({ "node": node, "name": name })).map(drop)
}
