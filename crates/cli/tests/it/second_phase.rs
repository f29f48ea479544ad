//! The second phase of a backup, killed again and again: from the snapshot beside the host to the vault, without the
//! machine, which is gone by then.

use crate::guest::{Guest, assert_equal, until};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare_host, text};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Longer than a lease: whoever holds it is known to be gone.
const LEASE: i64 = 61;
/// How long the server lives each time, in milliseconds: some die as soon as they have claimed the job,
/// others in the middle of a pack. As many as may die on one job.
const LIVES: [u64; 5] = [300, 700, 1500, 2200, 3000];

#[test]
fn a_transfer_that_is_killed_at_many_places_goes_on_without_its_machine() -> Result<()> {
    let mut scene = Scene::without_vault()?;
    scene.set_clock(0)?;
    let guest = Guest::boot(Guest::options(&scene, "killed-transfer")?)?;
    let name = guest.name().to_owned();
    guest.sh("guest-probe fill /data0/noise 240000000 1 && sync")?;
    guest.machine.pause()?;
    let truth = guest.copy_disks(&scene, "truth")?;
    let mut server = Server::start(&scene)?;
    let (vault, snapshots) = (scene.path("vault"), scene.path("snapshots"));
    std::fs::create_dir(&snapshots)?;
    scene.ask_program(&["vault", "create", "main", text(&vault)?, "--snapshot-store", text(&snapshots)?])?;
    scene.ask_program(&["vault", "update", "main", "--transfer-limit", "20"])?;
    scene.ask_program(&["policy", "create", "nightly", "--daily", "23:00", "--consistency", "crash"])?;
    prepare_host(&scene, &guest)?;
    scene.ask_program(&["protect", &name, "--policy", "nightly", "--now"])?;
    until("the snapshot to be there", || {
        let points = scene.ask_program(&["point", "list", &name])?;
        Ok(points.as_array().is_some_and(|points| !points.is_empty()))
    })?;
    drop(guest);

    for (life, ahead) in LIVES.into_iter().zip(1..) {
        let_it_work(life);
        server.kill()?;
        scene.set_clock(ahead * LEASE)?;
        server.run_again(&scene)?;
        if ahead % 2 == 0 {
            // One that is told to stop gives its work back.
            let_it_work(life);
            server.end()?;
            server.run_again(&scene)?;
        }
    }
    let jobs = scene.ask_program(&["job", "list", "--machine", &name])?;
    let ended = scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    ensure!(ended["state"].as_str().is_some_and(|state| state.starts_with("completed")), "{ended}");
    let log = scene.ask_program(&["job", "log", id(&ended)?])?;
    let times =
        |event: &str| log.as_array().into_iter().flatten().filter(|one| one["event"] == event).count();
    ensure!(times("lost") == LIVES.len() && times("step_done") == 2, "{log}");
    let points = scene.ask_program(&["point", "list", &name])?;
    let point = only(&points)?;
    ensure!(
        point["in_snapshot_tier"] == true && point["in_vault_tier"] == true,
        "one of both tiers: {point}"
    );

    std::fs::remove_dir_all(&snapshots)?;
    let folder = scene.path("back");
    let line = ["restore", &name, "--point", "latest", "--format", "raw", "--to", text(&folder)?];
    let restored: Value = scene.ask_program(&line)?;
    ensure!(restored["state"] == "completed", "{restored}");
    let images: [PathBuf; 2] = ["d-disk0.raw", "d-disk1.raw"].map(|image| folder.join(image));
    assert_equal(&images, &truth)?;
    server.stop()
}

/// Nothing is waited for: it is to die wherever it happens to be.
#[allow(clippy::disallowed_methods)]
fn let_it_work(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
