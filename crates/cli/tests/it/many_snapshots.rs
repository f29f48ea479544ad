//! Snapshot after snapshot of one disk of a guest that writes: each is that instant, and any one can go without harm to
//! the others. `cargo xtask snapshots` takes as many as a disk may have.

use crate::guest::{Guest, run};
use crate::scene::{Scene, id};
use crate::service::text;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use testkit::{Format, GuestDisk};

const COUNT: &str = "STRONGROOM_SNAPSHOTS";
const USUAL_COUNT: usize = 8;
const DISK_BYTES: u64 = 16 << 20;
const DAY: i64 = 24 * 3600;
/// Every so manieth goes in the end.
const GOES: usize = 3;

fn count() -> Result<usize> {
    match std::env::var(COUNT) {
        Ok(count) => count.parse().with_context(|| format!("{COUNT} is not a number")),
        Err(_) => Ok(USUAL_COUNT),
    }
}

/// What an image holds, as others compute it.
fn digest(image: &Path) -> Result<String> {
    let said = run(Command::new("sha256sum").arg(image))?;
    Ok(said.split_whitespace().next().context("a digest")?.to_owned())
}

#[test]
fn each_of_many_is_its_instant_and_any_can_go() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut options = Guest::options(&scene, "busy")?;
    let path = scene.path("third.raw");
    std::fs::File::create(&path)?.set_len(DISK_BYTES)?;
    options.disks.push(GuestDisk::file("disk2", &path, Format::Raw));
    let guest = Guest::boot(options)?;
    let disk = format!("{}/d-disk2", guest.name());
    let scratch = scene.path("scratch");
    let create = ["snapshot", "create", &disk, "--consistency", "crash", "--scratch", text(&scratch)?];
    let mut truths = Vec::new();
    for number in 0..count()? {
        guest.sh(&format!("guest-probe rndw /dev/vdc {DISK_BYTES} 20 4096 {number} && sync"))?;
        // Nobody else writes to it.
        let truth = digest(&path)?;
        let made = scene.ask(&[&create[..], &["--name", &format!("s{number}")]].concat())?;
        let made = id(&made[0])?.to_owned();
        truths.push((made, truth));
    }
    let different: std::collections::BTreeSet<&String> = truths.iter().map(|(_, truth)| truth).collect();
    ensure!(different.len() == truths.len(), "the guest has written each time");
    drop(guest);
    std::fs::remove_file(&path)?;
    assert_true(&scene, truths.iter())?;

    for (snapshot, _) in truths.iter().step_by(GOES) {
        scene.run(["snapshot", "delete", snapshot])?.succeeded()?;
    }
    // Purged, what nobody needs marked, and freed: in three runs that are days apart.
    for days in [15, 19, 23] {
        scene.set_clock(days * DAY)?;
        scene.run(["vault", "collect", "--yes"])?.succeeded()?;
    }
    ensure!(scene.ask(&["snapshot", "list", "--deleted"])? == json!([]), "they are gone for good");
    let left: Vec<_> = truths.iter().enumerate().filter(|(number, _)| number % GOES != 0).collect();
    let listed = scene.ask(&["snapshot", "list"])?;
    ensure!(listed.as_array().map(Vec::len) == Some(left.len()), "{listed}");
    assert_true(&scene, left.into_iter().map(|(_, one)| one))
}

/// Each is restored by itself and compared.
fn assert_true<'a>(scene: &Scene, all: impl Iterator<Item = &'a (String, String)>) -> Result<()> {
    let image = scene.path("restored.raw");
    for (snapshot, truth) in all {
        let export = ["snapshot", "export", snapshot, "--format", "raw", "--to", text(&image)?];
        let _: Value = scene.ask(&export)?;
        ensure!(digest(&image)? == *truth, "the snapshot {snapshot} is another instant");
        std::fs::remove_file(&image)?;
    }
    Ok(())
}
