//! The laws. Each has a vault of its own, so that one does not live on another's records.

use super::{Harness, Provider};
use crate::guest::{apply_changes, as_parent, compare, pull};
use anyhow::{Context, Result, ensure};
use hypervisor::{ErrorKind, FreezeRequest, FrozenMachine, HookPhase, Level, Outcome, Sample, Tracking};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All of them, one after another, on one guest. The last needs it started again.
pub(crate) async fn all(harness: &mut dyn Harness) -> Result<()> {
    bytes(harness).await.context("full and incremental points equal the paused disks")?;
    instant(harness).await.context("all disks are of one instant")?;
    application(harness).await.context("application consistency is proved by the hook")?;
    of_any(&*harness).await?;
    agentless(harness).await.context("without an agent a point is crash-consistent, and says why")?;
    lost(harness).await.context("a lost record reads everything, says why, and the chain goes on")
}

/// Those that hold for machines without a guest, too.
pub(crate) async fn of_any(provider: &dyn Provider) -> Result<()> {
    dropped(provider).await.context("a caller that goes away leaves nothing")?;
    grown(provider).await.context("a disk that was not so in the parent is read whole")
}

async fn bytes(harness: &dyn Harness) -> Result<()> {
    let machine = harness.connect().await?;
    let copies = [harness.path("copy0.raw"), harness.path("copy1.raw")];
    let before = harness.records()?;
    harness.write(1)?;
    let (full, expected) = harness.freeze_paused(&*machine, harness.request("bytes", "b1", None)).await?;
    harness.write(2)?;
    for ((disk, copy), expected) in full.disks().iter().zip(&copies).zip(&expected) {
        ensure!(matches!(disk.tracking, Tracking::Full { .. }) && disk.bitmap.is_none(), "{disk:?}");
        pull(disk, copy)?;
        compare(copy, expected)?;
    }
    full.check().await?;
    let first = as_parent(&full);
    full.release(Outcome::Committed).await?;
    harness.assert_untouched()?;
    ensure!(harness.records()? == before.map(|count| count + 1), "{:?}", harness.records()?);

    // An incremental that nobody commits.
    let request = harness.request("bytes", "b2", Some(first.clone()));
    let (abandoned, _) = harness.freeze_paused(&*machine, request).await?;
    ensure!(all_incremental(&abandoned), "{:?}", abandoned.disks());
    harness.write(3)?;
    abandoned.check().await?;
    abandoned.release(Outcome::Abandoned).await?;
    harness.assert_untouched()?;
    ensure!(harness.records()? == before.map(|count| count + 1), "{:?}", harness.records()?);

    // The next holds what both missed, and little else.
    harness.write(4)?;
    let samples = first.1.keys().map(|disk| (disk.clone(), SAMPLES.to_vec())).collect();
    let request = FreezeRequest { samples, ..harness.request("bytes", "b3", Some(first)) };
    let (next, expected) = harness.freeze_paused(&*machine, request).await?;
    harness.write(5)?;
    for ((disk, copy), expected) in next.disks().iter().zip(&copies).zip(&expected) {
        check_samples(&disk.samples, expected)?;
        let read = apply_changes(disk, copy).await?;
        ensure!((1..100 << 20).contains(&read), "{read} bytes of {} were read", disk.size);
        compare(copy, expected)?;
    }
    next.check().await?;
    next.release(Outcome::Committed).await?;
    harness.assert_untouched()?;
    ensure!(harness.records()? == before.map(|count| count + 1), "{:?}", harness.records()?);
    Ok(())
}

/// Places of both disks, written and not: offset and length.
const SAMPLES: [(u64, usize); 3] = [(0, 65536), (64 << 20, 65536), (300 << 20, 4096)];

/// The machine stood still before the instant, so samples show what its disks held at it.
fn check_samples(samples: &[Sample], expected: &Path) -> Result<()> {
    let read: Vec<_> = samples.iter().map(|sample| (sample.offset, sample.bytes.len())).collect();
    ensure!(read == SAMPLES, "{read:?}");
    let disk = File::open(expected)?;
    for sample in samples {
        let mut bytes = vec![0; sample.bytes.len()];
        disk.read_exact_at(&mut bytes, sample.offset)?;
        ensure!(bytes == sample.bytes, "the sample at {} is of another instant", sample.offset);
    }
    Ok(())
}

fn all_incremental(frozen: &FrozenMachine) -> bool {
    frozen.disks().iter().all(|disk| disk.tracking.bitmap().is_some())
}

const COUNT: &str = "guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1";

async fn instant(harness: &dyn Harness) -> Result<()> {
    let machine = harness.connect().await?;
    harness.start(COUNT)?;
    harness.sh("until [ -s /data0/seq ] && [ -s /data1/seq ]; do sleep 0.1; done")?;
    for (round, wish) in [Level::Crash, Level::FileSystem, Level::Crash].into_iter().enumerate() {
        let request =
            FreezeRequest { wish, may_fall: false, ..harness.request("instant", &format!("i{round}"), None) };
        let frozen = machine.freeze(request).await?;
        ensure!(frozen.consistency().level == wish, "{:?}", frozen.consistency());
        let copies: Vec<PathBuf> = (0..2).map(|disk| harness.path(&format!("instant{disk}.raw"))).collect();
        for (disk, copy) in frozen.disks().iter().zip(&copies) {
            pull(disk, copy)?;
        }
        frozen.check().await?;
        frozen.release(Outcome::Abandoned).await?;
        let counters = tokio::task::block_in_place(|| testkit::oracle::check(&copies[0], &copies[1]))?;
        ensure!(counters.a > 0);
    }
    harness.sh("kill $(pidof guest-probe)")?;
    harness.assert_untouched()
}

const SCRIPT: &str = "/etc/strongroom/freeze.d/shop";

async fn application(harness: &dyn Harness) -> Result<()> {
    let machine = harness.connect().await?;
    harness.sh(&format!("printf '#!/bin/sh\\nexit 0\\n' > {SCRIPT}; chmod +x {SCRIPT}"))?;
    let wish = |point: &str| FreezeRequest {
        wish: Level::Application,
        may_fall: false,
        ..harness.request("application", point, None)
    };
    let mut held = Vec::new();
    for round in 0..5 {
        let frozen = machine.freeze(wish(&format!("a{round}"))).await?;
        let reached = frozen.consistency();
        ensure!(reached.level == Level::Application && reached.frozen_filesystems == 2, "{reached:?}");
        let phases: Vec<HookPhase> = reached.hooks.iter().map(|hook| hook.phase).collect();
        ensure!(phases == [HookPhase::Freeze, HookPhase::Thaw], "{reached:?}");
        held.push((reached.freeze_ms, reached.quiesce_ms));
        frozen.release(Outcome::Abandoned).await?;
    }
    held.sort_unstable();
    println!("guest held for (ms), and brought to a stand in: {held:?}");
    harness.sh(&format!("printf '#!/bin/sh\\n[ $1 = thaw ] || exit 3\\n' > {SCRIPT}"))?;
    let error = machine.freeze(wish("a-failed")).await.err().context("a failed hook was taken for none")?;
    ensure!(error.kind() == ErrorKind::Guest, "{error}");
    let frozen = machine.freeze(FreezeRequest { may_fall: true, ..wish("a-fell") }).await?;
    ensure!(frozen.consistency().level == Level::Crash, "{:?}", frozen.consistency());
    ensure!(!frozen.consistency().fell_because.is_empty());
    frozen.release(Outcome::Abandoned).await?;
    harness.sh(&format!("rm {SCRIPT}"))?;
    harness.assert_untouched()
}

async fn dropped(provider: &dyn Provider) -> Result<()> {
    let machine = provider.connect().await?;
    let records = provider.records()?;
    // At once, in the middle, and holding the frozen machine.
    for polls in [1, 5, 20, 40] {
        let mut freeze = Box::pin(machine.freeze(provider.request("dropped", &format!("d{polls}"), None)));
        for _ in 0..polls {
            if tokio::time::timeout(Duration::from_millis(20), &mut freeze).await.is_ok() {
                break;
            }
        }
        drop(freeze);
        machine.settled().await;
        provider.assert_untouched()?;
    }
    drop(machine.freeze(provider.request("dropped", "held", None)).await?);
    machine.settled().await;
    provider.assert_untouched()?;
    ensure!(provider.records()? == records);

    // One freeze at a time; a scratch folder that is not there.
    let held = machine.freeze(provider.request("dropped", "one", None)).await?;
    let second = machine.freeze(provider.request("dropped", "two", None)).await;
    ensure!(second.err().map(|error| error.kind()) == Some(ErrorKind::Busy));
    held.check().await?;
    held.release(Outcome::Abandoned).await?;
    let request =
        FreezeRequest { scratch: provider.path("nothing"), ..provider.request("dropped", "lost", None) };
    ensure!(machine.freeze(request).await.err().map(|error| error.kind()) == Some(ErrorKind::NotFound));
    ensure!(machine.reconcile().await?.is_empty());
    provider.assert_untouched()
}

async fn grown(provider: &dyn Provider) -> Result<()> {
    let machine = provider.connect().await?;
    let parent = machine.freeze(provider.request("grown", "g1", None)).await?;
    let (point, mut disks) = as_parent(&parent);
    parent.release(Outcome::Committed).await?;
    let names: Vec<String> = disks.keys().cloned().collect();
    disks.insert(names[0].clone(), 4096);
    disks.remove(&names[1]);
    let next = machine.freeze(provider.request("grown", "g2", Some((point, disks)))).await?;
    for disk in next.disks() {
        let wanted = if disk.id == names[0] { "size" } else { "not in" };
        let said = matches!(&disk.tracking, Tracking::Full { reason } if reason.contains(wanted));
        ensure!(said, "{disk:?}");
    }
    next.release(Outcome::Abandoned).await?;
    provider.assert_untouched()
}

async fn agentless(harness: &dyn Harness) -> Result<()> {
    let machine = harness.connect().await?;
    // Later, so that the agent can answer that it has begun to.
    harness.start("sleep 1; kill $(pidof qemu-ga)")?;
    // The agent's end shows only in its silence.
    while tokio::task::block_in_place(|| harness.agent().call("guest-ping", serde_json::Value::Null)).is_ok()
    {
    }
    let strict = FreezeRequest { may_fall: false, ..harness.request("agentless", "n1", None) };
    let error = machine.freeze(strict).await.err().context("frozen without an agent")?;
    ensure!(error.kind() == ErrorKind::Guest, "{error}");
    let frozen = machine.freeze(harness.request("agentless", "n2", None)).await?;
    ensure!(frozen.consistency().level == Level::Crash && !frozen.consistency().fell_because.is_empty());
    frozen.release(Outcome::Abandoned).await?;
    tokio::task::block_in_place(|| harness.assert_released())
}

async fn lost(harness: &mut dyn Harness) -> Result<()> {
    let machine = harness.connect().await?;
    let frozen = machine.freeze(harness.request("lost", "l1", None)).await?;
    let parent = as_parent(&frozen);
    frozen.release(Outcome::Committed).await?;
    drop(machine);
    tokio::task::block_in_place(|| harness.kill_and_start())?;
    let machine = harness.connect().await?;
    let frozen = machine.freeze(harness.request("lost", "l2", Some(parent))).await?;
    for disk in frozen.disks() {
        let said = matches!(&disk.tracking, Tracking::Full { reason } if !reason.is_empty());
        ensure!(said, "{disk:?}");
        println!("{}: {:?}", disk.id, disk.tracking);
    }
    let parent = as_parent(&frozen);
    frozen.release(Outcome::Committed).await?;
    let frozen = machine.freeze(harness.request("lost", "l3", Some(parent))).await?;
    ensure!(all_incremental(&frozen), "{:?}", frozen.disks());
    frozen.release(Outcome::Committed).await?;
    harness.assert_untouched()
}
