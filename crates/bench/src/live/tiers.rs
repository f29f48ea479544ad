//! What two tiers cost a guest: how soon it is itself again once a snapshot has begun, and what it feels of the transfer.

use super::{BLOCK, Scene};
use crate::op;
use crate::timed::median;
use anyhow::{Context, Result, ensure};
use futures_util::future::BoxFuture;
use mover::{Limits, Throttle, beside};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vault::{Copied, CopyCourse, CopyRun, Point, SessionId, Vault, copy_point_at};

/// GiB of the disk of which so many blocks change: one of a hundred.
const GIB: u64 = 20;
const DISK: &str = "vdc";
const CHANGED: u64 = (GIB << 30) / 100 / BLOCK;
/// Each is a point beside the host; all are moved one after the other, so that there is something to measure.
const ROUNDS: u64 = 5;
/// The file that is written meanwhile, and its bytes: few, so that what is measured is not what has to be saved.
const PROBE: &str = "/data1/lat 16000000";
/// Slices of a second that the guest's writer tells of: before a snapshot, and from its begin on.
const BEFORE: usize = 4;
const AFTER: usize = 8;
/// Of the transfer.
const MOVING: usize = 16;
/// Further from before than this is felt.
const FELT: f64 = 1.3;

/// A second of the guest's writes: when it began, by the guest's own clock, and their median in microseconds.
struct Slice {
    at: f64,
    p50: f64,
}

impl Scene<'_> {
    pub(super) async fn tiers(&self) -> Result<()> {
        let snapshots = op::replica(&self.folder.join("vault"), &self.folder.join("snapshots")).await?;
        let first = self.snapshot(&snapshots).await?.0;
        self.transfer(&snapshots, &[first]).await?;
        let (mut points, mut rounds) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let seed = 500 + round;
            self.sh(&format!("guest-probe rndw /dev/{DISK} {} {CHANGED} {BLOCK} {seed}", GIB << 30))?;
            self.start_slices(BEFORE + AFTER)?;
            tokio::time::sleep(Duration::from_secs(BEFORE as u64)).await;
            let at = self.uptime()?;
            let (point, seconds) = self.snapshot(&snapshots).await?;
            let slices = self.slices()?;
            let before = p50_of(&slices, |slice| slice.at + 1.0 <= at)?;
            let ratios: Vec<f64> =
                slices.iter().filter(|slice| slice.at + 1.0 > at).map(|slice| slice.p50 / before).collect();
            println!(
                "snapshot of 1 % of {GIB} GiB ({} MiB read) in {seconds:.2} s; guest's writes, second by second: {}",
                point.stats.read_bytes >> 20,
                shown(&ratios)
            );
            points.push(point);
            rounds.push(ratios);
        }
        let seconds = rounds.iter().map(Vec::len).min().unwrap_or_default();
        let typical: Vec<f64> =
            (0..seconds).map(|second| median(rounds.iter().map(|ratios| ratios[second]).collect())).collect();
        let felt = typical.iter().rposition(|ratio| *ratio > FELT).map_or(0, |second| second + 1);
        println!(
            "first phase: the guest's writes are within {FELT} times of before from second {felt} on (goal: 2); the median \
             of {ROUNDS}, second by second: {}",
            shown(&typical)
        );
        self.second_phase(&snapshots, &points).await
    }

    /// All of them, one behind the other.
    async fn second_phase(&self, snapshots: &Arc<Vault>, points: &[Point]) -> Result<()> {
        self.start_slices(BEFORE + MOVING)?;
        tokio::time::sleep(Duration::from_secs(BEFORE as u64)).await;
        let began = self.uptime()?;
        let moved = self.transfer(snapshots, points).await?;
        let ended = self.uptime()?;
        let slices = self.slices()?;
        let before = p50_of(&slices, |slice| slice.at + 1.0 <= began)?;
        let during: Vec<f64> = slices
            .iter()
            .filter(|slice| slice.at + 1.0 > began && slice.at < ended)
            .map(|slice| slice.p50 / before)
            .collect();
        println!(
            "second phase: {} MiB moved in {:.1} s; guest's writes, p50: {:.2} times of before (goal: nothing that can \
             be measured), second by second: {}",
            moved >> 20,
            ended - began,
            median(during.clone()),
            shown(&during)
        );
        Ok(())
    }

    /// A point beside the host, and how long it took.
    async fn snapshot(&self, snapshots: &Arc<Vault>) -> Result<(Point, f64)> {
        let taken = self.backup_to(snapshots, hypervisor::Level::Crash, &["disk0", "disk1", DISK]).await?;
        Ok((taken.point, taken.seconds))
    }

    /// Moves points to the vault. Gives the bytes that this stored.
    async fn transfer(&self, snapshots: &Arc<Vault>, points: &[Point]) -> Result<u64> {
        let throttle = Throttle::new(Limits::default());
        let pace = |bytes: u64| -> BoxFuture<'_, ()> { Box::pin(throttle.admit(bytes)) };
        let mut stored = 0;
        for point in points {
            let copy = CopyRun { session: SessionId(Uuid::now_v7()), now: op::now() };
            let course = CopyCourse { progress: &|_| (), pace: &pace };
            let moving = Box::pin(copy_point_at(snapshots, &self.vault, point, copy, course));
            match beside(&self.machine, &throttle, moving).await? {
                Copied::Made(made) => stored += made.stats.stored_bytes,
                other => anyhow::bail!("nobody else has moved {}: {other:?}", point.id),
            }
        }
        Ok(stored)
    }

    fn start_slices(&self, seconds: usize) -> Result<()> {
        let slice = format!("echo $(cut -d' ' -f1 /proc/uptime) $(guest-probe lat {PROBE} 1 4096)");
        let line = format!(
            "rm -f /run/slices; (for n in $(seq {seconds}); do {slice}; done >/run/slices.part \
             && mv /run/slices.part /run/slices) 2>/dev/null"
        );
        tokio::task::block_in_place(|| self.guest.agent().start(&line))?;
        Ok(())
    }

    fn slices(&self) -> Result<Vec<Slice>> {
        let said = self.sh("until [ -s /run/slices ]; do sleep 0.2; done; cat /run/slices")?;
        let slice = |line: &str| {
            let (at, figures) = line.split_once(' ').context("a time and figures")?;
            let figures: Value = serde_json::from_str(figures).with_context(|| format!("read {line}"))?;
            Ok(Slice { at: at.parse()?, p50: figures["p50"].as_f64().context("a p50")? })
        };
        said.lines().map(slice).collect()
    }

    /// Seconds by the guest's own clock.
    fn uptime(&self) -> Result<f64> {
        let said = self.sh("cut -d' ' -f1 /proc/uptime")?;
        said.trim().parse().with_context(|| format!("read {said}"))
    }
}

fn shown(ratios: &[f64]) -> String {
    let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    all.join(" ")
}

/// The median of the slices that count.
fn p50_of(slices: &[Slice], counts: impl Fn(&&Slice) -> bool) -> Result<f64> {
    let p50s: Vec<f64> = slices.iter().filter(counts).map(|slice| slice.p50).collect();
    ensure!(!p50s.is_empty(), "no slice of {} counts", slices.len());
    Ok(median(p50s).max(1.0))
}
