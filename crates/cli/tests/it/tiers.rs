//! The whole life of points: taken by a schedule beside the host, moved to the vault, copied to a second store, expired
//! from each in its own time, and brought back from the copy when all else is gone.
//!
//! The server and whoever asks it live by a clock that the test moves by days, with `libfaketime`; the guest does not
//! notice.

use crate::guest::{Guest, assert_equal, until};
use crate::scene::{Scene, id};
use crate::service::{Server, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;

const DAY: i64 = 24 * 3600;
/// Runs of the schedule.
const RUNS: i64 = 9;
const SNAPSHOT_DAYS: i64 = 2;
/// The fewest that a policy may say.
const KEEP_DAYS: i64 = 7;
/// The schedule's time of day, and what is well after it: starts are spread over two hours.
const SLOT: i64 = 23 * 3600;
const LATE: i64 = 3 * 3600;

/// Seconds since the epoch by this host's clock.
#[allow(clippy::disallowed_methods)] // the clock that is moved is this one
fn real_seconds() -> Result<i64> {
    Ok(i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())?)
}

struct Points(Vec<Value>);

impl Points {
    fn of(scene: &Scene, name: &str) -> Result<Self> {
        let points = scene.ask_program(&["point", "list", name])?;
        Ok(Self(points.as_array().context("a list")?.clone()))
    }

    fn count(&self, tier: &str) -> i64 {
        self.0.iter().filter(|point| point[tier] == true).count() as i64
    }

    /// How many there are beside the host, and in the vault.
    fn in_tiers(&self) -> (i64, i64) {
        (self.count("in_snapshot_tier"), self.count("in_vault_tier"))
    }
}

#[test]
fn points_live_through_their_tiers_and_come_back_from_the_second_store() -> Result<()> {
    let mut scene = Scene::without_vault()?;
    let since_midnight = real_seconds()? % DAY;
    // It begins a minute before the slot, on whatever day that is.
    let begin = SLOT - 60 - since_midnight;
    scene.set_clock(begin)?;
    let guest = Guest::boot(Guest::options(&scene, "aged")?)?;
    let name = guest.name().to_owned();
    let server = Server::start(&scene)?;
    prepare(&scene, &name)?;
    scene.ask_program(&["protect", &name, "--policy", "daily"])?;

    let mut truths = Vec::new();
    for run in 0..RUNS {
        guest.sh(&format!(
            "echo day {run} >/data0/token && guest-probe fill /data0/day{run} 2000000 {run} && sync"
        ))?;
        guest.machine.pause()?;
        let wants_truth = [0, RUNS / 2, RUNS - 1].contains(&run);
        let truth = wants_truth.then(|| guest.copy_disks(&scene, &format!("truth{run}"))).transpose()?;
        scene.set_clock(begin + LATE + run * DAY)?;
        // Who has not been seen for a day signs in again.
        server.log_in(&scene, "admin", server.said("password")?)?;
        until("the day's point to be in the vault", || {
            let mut tiers =
                Points::of(&scene, &name)?.0.into_iter().map(|point| point["in_vault_tier"] == true);
            Ok(done(&scene, &name)? == run + 1 && tiers.next_back() == Some(true))
        })?;
        let points = Points::of(&scene, &name)?.0;
        let newest = points.iter().max_by_key(|point| point["taken"].as_str().map(str::to_owned));
        let newest = id(newest.context("a point")?)?.to_owned();
        truths.extend(truth.map(|truth| (newest, truth)));
        guest.machine.resume()?;
        // As it is done once a minute, which is a day here.
        scene.ask_program(&["vault", "copy", "main"])?;
        if run == SNAPSHOT_DAYS + 1 {
            until("snapshots to go after their days", || {
                Ok(Points::of(&scene, &name)?.in_tiers() == (SNAPSHOT_DAYS, run + 1))
            })?;
        }
    }
    until("points to go from the vault after theirs", || {
        Ok(Points::of(&scene, &name)?.in_tiers() == (SNAPSHOT_DAYS, KEEP_DAYS))
    })?;
    let copies = scene.ask_program(&["vault", "copies", "main"])?;
    ensure!(
        copies.as_array().map(Vec::len) == Some(RUNS as usize),
        "what went from the vault stays in the copy: {copies}"
    );

    // The region is lost: the vault and what stood beside the host.
    for folder in ["vault", "snapshots"] {
        std::fs::remove_dir_all(scene.path(folder))?;
    }
    for (point, truth) in &truths {
        let folder = scene.path(&format!("back-{point}"));
        let line =
            ["restore", &name, "--point", point, "--from-copy", "--format", "raw", "--to", text(&folder)?];
        let restored = scene.ask_program(&line)?;
        ensure!(restored["state"] == "completed", "{restored}");
        let images: [PathBuf; 2] = ["d-disk0.raw", "d-disk1.raw"].map(|image| folder.join(image));
        assert_equal(&images, truth)?;
    }
    server.stop()?;
    guest.quit_and_check()
}

/// A vault with all its tiers, a policy, and this host with its machines.
fn prepare(scene: &Scene, name: &str) -> Result<()> {
    scene.ask_program(&["host", "add", "here"])?;
    for folder in ["snapshots", "second"] {
        std::fs::create_dir(scene.path(folder))?;
    }
    let (vault, snapshots, second) = (scene.path("vault"), scene.path("snapshots"), scene.path("second"));
    scene.ask_program(&["vault", "create", "main", text(&vault)?, "--snapshot-store", text(&snapshots)?])?;
    scene.ask_program(&["vault", "update", "main", "--copy-to", text(&second)?])?;
    let keep = ["--snapshot-days", &SNAPSHOT_DAYS.to_string(), "--keep-days", &KEEP_DAYS.to_string()];
    let when = ["policy", "create", "daily", "--daily", "23:00", "--zone", "UTC", "--consistency", "crash"];
    scene.ask_program(&[&when[..], &keep[..]].concat())?;
    until("the host's machines to be told of", || {
        let machines = scene.ask_program(&["machine", "list", "--standing", "protectable"])?;
        Ok(machines.as_array().into_iter().flatten().any(|machine| machine["name"] == name))
    })
}

/// The backups that are done; none of them has failed.
fn done(scene: &Scene, name: &str) -> Result<i64> {
    let jobs = scene.ask_program(&["job", "list", "--machine", name])?;
    let backups = jobs.as_array().context("a list")?.iter().filter(|job| job["kind"] == "backup");
    let states: Vec<&str> = backups.filter_map(|job| job["state"].as_str()).collect();
    ensure!(!states.iter().any(|state| ["failed", "cancelled"].contains(state)), "{jobs}");
    Ok(states.iter().filter(|state| state.starts_with("completed")).count() as i64)
}
