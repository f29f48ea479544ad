//! What protecting a real guest costs: how long it stands still, what an idle disk takes, whether the cost grows
//! with the disk or with what changed, and what the guest's own writes feel of it.
//!
//! It prints figures and ratios of one run and asserts nothing: on a busy host, emulated, times are several
//! times those of an idle one.

mod tiers;

use crate::op;
use crate::timed::{median, timed};
use anyhow::{Context, Result, ensure};
use hypervisor::qemu::QemuMachine;
use hypervisor::{DiskSelection, FreezeRequest, Level};
use mover::{AUDIT_BLOCKS, BackupRequest, Progress};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{Format, GuestDisk, GuestImage, GuestMachine, MachineOptions};
use uuid::Uuid;
use vault::{Point, PointId, SessionId, Vault};

const BOOT: Duration = Duration::from_secs(300);
/// Odd, so that there is a middle.
const ROUNDS: usize = 9;
/// GiB of the disks that nobody mounts, and where the guest sees them.
const DISKS: [(u64, &str); 4] = [(20, "vdc"), (1, "vdd"), (10, "vde"), (100, "vdf")];
/// Blocks changed on each of those of different sizes: 12.5 MiB.
const CHANGED_BLOCKS: u64 = 200;
const BLOCK: u64 = 64 << 10;
/// Seconds that the guest measures its writes.
const LATENCY_SECONDS: u32 = 20;
/// How often a guest with and without a large incremental is compared.
const LATENCY_ROUNDS: u64 = 5;
/// Less than an incremental of much takes.
const ONE_SECONDS: u32 = 4;
/// The file that is written meanwhile, and its bytes.
const WRITER: &str = "/data1/lat 150000000";
/// The disk of which much changes: some 1.6 GiB, at random in 4 GiB.
const LARGE: &str = "vdf";
const LARGE_WRITES: u64 = 32 << 10;

pub(crate) fn run() -> Result<()> {
    let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
    let folder = tempfile::tempdir()?;
    let mut disks = image.fresh_disks(folder.path(), Format::Qcow2)?;
    for (gib, name) in DISKS {
        let path = folder.path().join(format!("{name}.qcow2"));
        timed(Command::new("qemu-img").args(["create", "-f", "qcow2"]).arg(&path).arg(format!("{gib}G")))?;
        // Something to audit.
        timed(Command::new("qemu-io").args(["-c", "write -P 0x42 0 32M"]).arg(&path))?;
        disks.push(GuestDisk::file(name, &path, Format::Qcow2));
    }
    let guest = GuestMachine::start(&image, MachineOptions::new("bench", folder.path(), disks))?;
    guest.wait_agent(BOOT)?;
    guest.wait_postgres(BOOT)?;
    for name in ["scratch", "vault"] {
        std::fs::create_dir(folder.path().join(name))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&guest, folder.path()))
}

/// A guest, and the vault it goes to.
struct Scene<'a> {
    guest: &'a GuestMachine,
    machine: QemuMachine,
    vault: Arc<Vault>,
    folder: &'a Path,
}

/// One backup.
struct Taken {
    seconds: f64,
    window_ms: f64,
    point: Point,
}

async fn measure(guest: &GuestMachine, folder: &Path) -> Result<()> {
    let vault = folder.join("vault");
    op::create(&vault).await?;
    let machine = QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?;
    let scene = Scene { guest, machine, vault: op::open(&vault).await?, folder };
    scene.windows().await?;
    let idle = scene.idle("vdc").await?;
    println!(
        "idle disk of 20 GiB, incremental: {:.2} s of the mover, {} KiB read (goal: 1 s, 1024 KiB)",
        idle.seconds,
        idle.point.stats.read_bytes >> 10
    );
    let mut first = None;
    for (gib, name) in &DISKS[1..] {
        let taken = scene.changed(name).await?;
        let base = *first.get_or_insert(taken.seconds);
        println!(
            "{gib} GiB, {CHANGED_BLOCKS} blocks changed: {:.2} s, {:.1} MiB read; {:.2} times the smallest disk's",
            taken.seconds,
            taken.point.stats.read_bytes as f64 / f64::from(1 << 20),
            taken.seconds / base
        );
    }
    scene.latency().await?;
    scene.tiers().await?;
    scene.held().await
}

impl Scene<'_> {
    /// Crash-consistent: the guest's agent is busy with measuring.
    async fn backup(&self, disks: &[&str]) -> Result<Taken> {
        self.backup_as(Level::Crash, disks).await
    }

    async fn backup_as(&self, wish: Level, disks: &[&str]) -> Result<Taken> {
        self.backup_to(&self.vault, wish, disks).await
    }

    async fn backup_to(&self, vault: &Arc<Vault>, wish: Level, disks: &[&str]) -> Result<Taken> {
        let names = disks.iter().map(|disk| format!("d-{disk}")).collect();
        let request = BackupRequest {
            point: PointId(Uuid::now_v7()),
            session: SessionId(Uuid::now_v7()),
            kept_as: None,
            service: serde_json::Value::Null,
            gate: None,
            wish,
            may_fall: false,
            full: false,
            disks: DiskSelection::Include(names),
            audit_blocks: AUDIT_BLOCKS,
            throttles: Vec::new(),
            back_off: true,
            scratch: self.folder.join("scratch"),
            freeze_timeout: FreezeRequest::FREEZE_TIMEOUT,
            watchdog: None,
            clock: op::now,
        };
        let window = Mutex::new(Duration::ZERO);
        let progress = |progress| {
            if let Progress::Frozen { paused, .. } = progress {
                *window.lock().expect("no holder panics") = paused;
            }
        };
        let began = Instant::now();
        let point = mover::backup(&self.machine, vault, &request, &progress).await?;
        let seconds = began.elapsed().as_secs_f64();
        let window_ms = window.into_inner().expect("no holder panics").as_secs_f64() * 1000.0;
        Ok(Taken { seconds, window_ms, point })
    }

    fn sh(&self, command: &str) -> Result<String> {
        let (code, output) = tokio::task::block_in_place(|| self.guest.sh(command))?;
        ensure!(code == 0, "{command}: {code}: {output}");
        Ok(output)
    }

    async fn windows(&self) -> Result<()> {
        self.backup(&["disk0", "disk1"]).await?;
        let mut windows = Vec::new();
        for _ in 0..ROUNDS {
            windows.push(self.backup(&["disk0", "disk1"]).await?.window_ms);
        }
        let largest = windows.iter().copied().fold(0.0, f64::max);
        println!(
            "stop of the guest for 2 disks: median {:.1} ms, largest {largest:.1} ms of {ROUNDS} (goal: 15 ms)",
            median(windows)
        );
        Ok(())
    }

    /// A disk that nobody writes to, after its first point.
    async fn idle(&self, disk: &str) -> Result<Taken> {
        self.backup(&[disk]).await?;
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(self.backup(&[disk]).await?);
        }
        all.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        Ok(all.swap_remove(1))
    }

    async fn changed(&self, disk: &str) -> Result<Taken> {
        self.backup(&[disk]).await?;
        let mut all = Vec::new();
        for seed in 0..3 {
            // Of 1 GiB everywhere, so that as many map nodes change.
            self.sh(&format!(
                "guest-probe rndw /dev/{disk} {} {CHANGED_BLOCKS} {BLOCK} {}",
                1u64 << 30,
                seed + 1
            ))?;
            all.push(self.backup(&[disk]).await?);
        }
        all.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        Ok(all.swap_remove(1))
    }

    /// A database under load comes to a stand, with the checkpoint that its freeze script asks for.
    async fn held(&self) -> Result<()> {
        self.sh("pgbench -U postgres -i -q -s 5 postgres >/dev/null 2>&1")?;
        let load = "pgbench -U postgres -n -c 2 -T 600 postgres >/dev/null 2>&1";
        tokio::task::block_in_place(|| self.guest.agent().start(load))?;
        let (mut held, mut quiesced) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let reached = self.backup_as(Level::Application, &["disk0", "disk1"]).await?.point.consistency;
            held.push(reached["freeze_ms"].as_f64().context("how long it stood")?);
            quiesced.push(reached["quiesce_ms"].as_f64().context("how long it took to come to a stand")?);
        }
        let largest = held.iter().copied().fold(0.0, f64::max);
        println!(
            "PostgreSQL under pgbench, application-consistent: held frozen for {:.0} ms, {largest:.0} ms at most of \
             {ROUNDS} (goal: 1000 ms); {:.0} ms before that to come to a stand, checkpoint included",
            median(held),
            median(quiesced)
        );
        self.sh("pkill pgbench || true").map(drop)
    }

    /// The same writer: alone and beside one incremental of much, in turns; then beside small ones, one behind the other.
    async fn latency(&self) -> Result<()> {
        self.sh(&format!("guest-probe fill {WRITER} 1"))?;
        self.backup(&["disk0", "disk1", LARGE]).await?;
        let (mut befores, mut ratios) = (Vec::new(), Vec::new());
        for round in 0..LATENCY_ROUNDS {
            let seed = 77 + round;
            self.sh(&format!("guest-probe rndw /dev/{LARGE} {} {LARGE_WRITES} {BLOCK} {seed}", 4u64 << 30))?;
            let before = p50(&self.sh(&writer(LATENCY_SECONDS))?)? as f64;
            self.start_writer(ONE_SECONDS)?;
            let taken = self.backup(&["disk0", "disk1", LARGE]).await?;
            let one = self.writer_ends()? as f64;
            println!(
                "guest's writes, p50: {before} µs before, {one} µs in the first {ONE_SECONDS} s of an incremental of \
                 {:.1} s ({} MiB read): {:.2} times",
                taken.seconds,
                taken.point.stats.read_bytes >> 20,
                one / before.max(1.0)
            );
            befores.push(before);
            ratios.push(one / before.max(1.0));
        }
        println!(
            "guest's writes while an incremental runs: {:.2} times of before, the median of {LATENCY_ROUNDS} (goal: 1.3)",
            median(ratios)
        );
        let before = median(befores);
        self.start_writer(LATENCY_SECONDS)?;
        let (mut backups, mut read) = (0, 0);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(LATENCY_SECONDS.into()) {
            read += self.backup(&["disk0", "disk1"]).await?.point.stats.read_bytes;
            backups += 1;
        }
        let during = self.writer_ends()?;
        println!(
            "guest's writes, p50: {during} µs during {backups} incrementals without a pause ({} MiB read): {:.2} times",
            read >> 20,
            during as f64 / before.max(1.0)
        );
        Ok(())
    }

    fn start_writer(&self, seconds: u32) -> Result<()> {
        let line = format!(
            "rm -f /run/lat; ({} >/run/lat.part && mv /run/lat.part /run/lat) 2>/dev/null",
            writer(seconds)
        );
        tokio::task::block_in_place(|| self.guest.agent().start(&line))?;
        Ok(())
    }

    fn writer_ends(&self) -> Result<u64> {
        p50(&self.sh("until [ -s /run/lat ]; do sleep 0.2; done; cat /run/lat")?)
    }
}

/// Random writes of 4 KiB past the guest's cache, for so long.
fn writer(seconds: u32) -> String {
    format!("guest-probe lat {WRITER} {seconds} 4096")
}

fn p50(said: &str) -> Result<u64> {
    let figures: Value = serde_json::from_str(said.trim()).with_context(|| format!("read {said}"))?;
    figures["p50"].as_u64().context("a p50")
}
