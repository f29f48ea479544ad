//! Several machines at one instant: two guests, and writes on one that follow writes on the other.

use crate::guest::Guest;
use crate::program::Running;
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROUNDS: usize = 3;

/// Writes n to the first machine, durably, then to the second, and so on, until told to stop.
fn count_on(ones: &Guest, others: &Guest, stop: &AtomicBool, reached: &AtomicU64) -> Result<()> {
    let write = |guest: &Guest, file: &str, n: u64| {
        let bytes: String = n.to_le_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
        guest.sh(&format!("printf '{bytes}' | dd of={file} conv=notrunc,fsync 2>/dev/null"))
    };
    while !stop.load(Ordering::Relaxed) {
        let n = reached.load(Ordering::Relaxed) + 1;
        // INVARIANT: n is on the second only when it is durable on the first, and n + 1 on the first after that.
        write(ones, "/data0/seq", n)?;
        write(others, "/data1/seq", n)?;
        reached.store(n, Ordering::Relaxed);
    }
    Ok(())
}

fn backup(scene: &Scene, one: &Guest, other: &Guest, options: &[&str]) -> Command {
    let mut command = scene.backup_command(one.name(), options);
    command.args(["--with", other.name()]);
    command
}

#[test]
fn two_machines_are_frozen_at_one_instant() -> Result<()> {
    let scene = Scene::new()?;
    let one = Guest::boot(Guest::options(&scene, "g1")?)?;
    let other = Guest::boot(Guest::options(&scene, "g2")?)?;
    let (stop, reached) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let counting = threads.spawn(|| count_on(&one, &other, &stop, &reached));
        let rounds = (0..ROUNDS).try_for_each(|round| one_round(&scene, &one, &other, (round, &reached)));
        stop.store(true, Ordering::Relaxed);
        let counted = counting.join().expect("counting does not panic");
        rounds.and(counted)
    })?;
    one.quit_and_check()?;
    other.quit_and_check()
}

fn one_round(scene: &Scene, one: &Guest, other: &Guest, (round, reached): (usize, &AtomicU64)) -> Result<()> {
    crate::guest::until("both machines to count", || Ok(reached.load(Ordering::Relaxed) > 2 * round as u64))?;
    let ran = Running::start(&mut backup(scene, one, other, &["--consistency", "crash"]))?.finish()?;
    let points = ran.json()?;
    let [first, second] = [&points[0], &points[1]];
    let group = &first["description"]["group"];
    ensure!(group["id"].is_string() && *group == second["description"]["group"], "{points}");
    ensure!(group["members"][0]["point"] == first["id"] && group["members"][1]["point"] == second["id"]);
    ensure!(first["instant"] == second["instant"], "{points}");
    let restored = |point: &Value, name: String, disk: usize| -> Result<PathBuf> {
        Ok(scene.restore(point, &name, "raw")?[disk].clone())
    };
    let images = [restored(first, format!("one{round}"), 0)?, restored(second, format!("other{round}"), 1)?];
    let counters = testkit::oracle::check(&images[0], &images[1]).context("the two machines")?;
    let reached = reached.load(Ordering::Relaxed);
    println!("round {round}: {counters:?}, {reached} by the time it was restored");
    ensure!(counters.a > 0 && counters.a <= reached + 1, "{counters:?} of {reached}");
    Ok(())
}

#[test]
fn a_machine_that_cannot_come_lets_the_others_run_on() -> Result<()> {
    let scene = Scene::new()?;
    let one = Guest::boot(Guest::options(&scene, "g3")?)?;
    let still = Guest::still(&scene, "g4")?;
    // The second does not run, so it cannot be brought to rest.
    let options = ["--strict", "--consistency", "file-system"];
    let ran = Running::start(&mut backup(&scene, &one, &still, &options))?.finish()?;
    ran.failed(5, &["the machine is not running, so its agent cannot answer"])?;
    ensure!(scene.points()?.is_empty(), "no point of any of them");
    one.assert_at_work(&scene, None)?;
    still.assert_left_alone(&scene, false, None)?;
    one.quit_and_check()
}
