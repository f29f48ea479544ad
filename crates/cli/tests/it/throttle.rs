//! A backup reads no faster than it may, and what the guest's writes feel of it is printed.

use crate::guest::{Guest, assert_equal};
use crate::program::Running;
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What was not read before may be read at once: a tenth of a second's worth, and the pieces in flight.
const AHEAD_BYTES: u64 = (16 << 20) / 10 + (1 << 20);

#[test]
fn a_limited_backup_takes_its_time_and_reads_the_same() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "throttle")?)?;
    guest.sh("guest-probe fill /data1/lat 60000000 1 && sync")?;
    let lat = "guest-probe lat /data1/lat 60000000 6 4096";
    let before = guest.sh(lat)?;
    // While the guest writes: what it feels.
    guest.machine.agent().start(&format!("({lat} >/run/part && mv /run/part /run/lat) 2>/dev/null"))?;
    let options = ["--full", "--consistency", "crash", "--limit", "16MiB/s", "--limit-iops", "1000"];
    let began = Instant::now();
    let mut running = Running::start(&mut scene.backup_command(guest.name(), &options))?;
    running.wait_for("Transfer data to vault")?;
    let during = guest.sh("until [ -s /run/lat ]; do sleep 0.1; done; cat /run/lat")?;
    let point = running.finish()?.json()?;
    println!("p50 of the guest's writes: {} µs before, {} µs during", p50(&before)?, p50(&during)?);
    assert_took(began.elapsed(), &point)?;

    // Of the paused machine: the very bytes.
    guest.machine.pause()?;
    let point = scene.try_backup(guest.name(), &options)?.json()?;
    let source = guest.copy_disks(&scene, "limited")?;
    assert_equal(&scene.restore(&point, "limited-restored", "raw")?, &source)?;
    guest.machine.resume()?;
    guest.assert_at_work(&scene, Some(&point))?;
    guest.quit_and_check()
}

/// Not faster than the limit: that it was slower says nothing.
fn assert_took(elapsed: Duration, point: &Value) -> Result<()> {
    let read = point["stats"]["read_bytes"].as_u64().context("bytes read")?;
    let least = read.saturating_sub(AHEAD_BYTES) as f64 / f64::from(16 << 20);
    println!("{read} bytes in {:.1} s, allowed from {least:.1} s on", elapsed.as_secs_f64());
    ensure!(read > 60_000_000 && elapsed.as_secs_f64() >= least, "{read} bytes in {elapsed:?}");
    Ok(())
}

fn p50(said: &str) -> Result<u64> {
    let figures: Value = serde_json::from_str(said.trim()).with_context(|| format!("read {said}"))?;
    figures["p50"].as_u64().context("a p50")
}
