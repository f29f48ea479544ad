//! A machine that runs at once on a point, beside the same machine on local disks.

use crate::op;
use crate::timed::{median, sh};
use crate::vault::drop_caches;
use crate::vault::table::{Figures, Row};
use anyhow::{Context, Result};
use block::FileDisk;
use mover::instant::{InstantOptions, InstantRequest, InstantRestore, qemu_arguments};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::{Format, GuestDisk, GuestImage, GuestMachine, MachineOptions, copy_image};
use uuid::Uuid;
use vault::{DiskRecord, MachineKey, PointDraft, PointId, Session, SessionId};

const BOOT: Duration = Duration::from_secs(300);
/// What lies on the disks beside the database, as on any machine: a boot needs little of what is there.
const FILLED: [(&str, u64); 2] = [("/data0/noise", 600_000_000), ("/data1/noise", 300_000_000)];

/// What a start came to.
struct Started {
    agent: f64,
    database: f64,
    /// Bytes fetched when the agent answered, and when the database did.
    fetched: [u64; 2],
}

pub(super) fn measure(folder: &Path, runs: usize) -> Result<Vec<Row>> {
    let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
    let scene = tempfile::tempdir()?;
    let disks = make_disks(&image, scene.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let vault = folder.join("machine-vault");
    let used = runtime.block_on(back_up(&vault, &disks))?;
    let mut rows = Vec::new();
    let (mut shares, cache) = (Vec::new(), scene.path().join("cache"));
    for run in 0..runs {
        let local = on_local_disks(&image, scene.path(), &disks)?;
        let first = runtime.block_on(at_once(&image, scene.path(), &vault, None))?;
        let mut add = |program: &str, started: &Started| {
            let seconds = |seconds| Figures { seconds, ..Figures::default() };
            Row::add(&mut rows, program, "start until the agent answers", seconds(started.agent));
            Row::add(&mut rows, program, "start until the database answers", seconds(started.database));
        };
        add("limit: local disks", &local);
        add("strongroom", &first);
        shares.push(first.fetched.map(|bytes| bytes as f64 / used as f64));
        let known = runtime.block_on(at_once(&image, scene.path(), &vault, Some(&cache)))?;
        if run > 0 {
            add("after an earlier boot", &known); // the first of them was that boot
        }
    }
    for (index, what) in ["agent", "database"].into_iter().enumerate() {
        let share = median(shares.iter().map(|shares| shares[index]).collect());
        println!(
            "of {} MiB in use, {:.2} % were fetched when the {what} answered (goal: 5 %)",
            used >> 20,
            share * 100.0
        );
    }
    sh(&format!("rm -rf {0} {0}.*", vault.display()))?;
    Ok(rows)
}

/// Disks with a database and other data, as they are after a clean end.
fn make_disks(image: &GuestImage, folder: &Path) -> Result<[PathBuf; 2]> {
    let made = folder.join("made");
    let disks = image.fresh_disks(&made, Format::Qcow2)?;
    let machine = GuestMachine::start(image, MachineOptions::new("made", &made, disks))?;
    machine.wait_postgres(BOOT)?;
    for (path, bytes) in FILLED {
        let (code, said) = machine.sh(&format!("guest-probe fill {path} {bytes} 3 && sync"))?;
        anyhow::ensure!(code == 0, "fill {path}: {said}");
    }
    machine.power_off()?;
    Ok(["data0.qcow2", "data1.qcow2"].map(|name| made.join(name)))
}

/// Both disks become a point; gives the bytes that are in use on them.
async fn back_up(vault: &Path, disks: &[PathBuf; 2]) -> Result<u64> {
    sh(&format!("rm -rf {0} {0}.*", vault.display()))?;
    op::create(vault).await?;
    let vault = op::open(vault).await?;
    let session = Session::begin(&vault, SessionId(Uuid::now_v7()), op::now()).await?;
    let (mut records, mut used) = (Vec::new(), 0);
    for (index, disk) in disks.iter().enumerate() {
        let raw = disk.with_extension("raw");
        copy_image((disk, Format::Qcow2), (&raw, Format::Raw))?;
        let (map, read_bytes) = mover::store_disk(&session, &FileDisk::open(&raw)?, None, &|_| ()).await?;
        used += read_bytes;
        records.push(DiskRecord { name: format!("d-disk{index}"), map, tracking: String::new(), read_bytes });
        std::fs::remove_file(&raw)?;
    }
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine_name: "made".into(),
        machine: MachineKey::new("made")?,
        instant: op::now(),
        parent: None,
        consistency: Value::Null,
        description: Value::Null,
        service: Value::Null,
    };
    session.commit(draft, records).await?;
    Ok(used)
}

fn on_local_disks(image: &GuestImage, folder: &Path, disks: &[PathBuf; 2]) -> Result<Started> {
    let place = folder.join("local");
    std::fs::create_dir(&place)?;
    let copy = |(index, disk): (usize, &PathBuf)| {
        let path = place.join(format!("data{index}.qcow2"));
        copy_image((disk, Format::Qcow2), (&path, Format::Qcow2))?;
        Ok(GuestDisk::file(&format!("disk{index}"), &path, Format::Qcow2))
    };
    let disks = disks.iter().enumerate().map(copy).collect::<Result<_>>()?;
    drop_caches()?;
    let began = Instant::now();
    let machine = GuestMachine::start(image, MachineOptions::new("local", &place, disks))?;
    let started = until_answered(&machine, began, || 0)?;
    machine.kill()?;
    std::fs::remove_dir_all(&place)?;
    Ok(started)
}

async fn at_once(image: &GuestImage, folder: &Path, vault: &Path, cache: Option<&Path>) -> Result<Started> {
    let place = folder.join("at-once");
    std::fs::create_dir(&place)?;
    drop_caches()?;
    let began = Instant::now();
    let vault = op::open(vault).await?;
    let point = vault.points().await?.pop().context("there is a point")?;
    let request = InstantRequest {
        point,
        folder: place.join("r"),
        vault: String::new(),
        door: None,
        run_folder: None,
        job: None,
        patience: InstantRequest::PATIENCE,
    };
    let options = InstantOptions { cache: cache.map(Path::to_owned), ..InstantOptions::default() };
    let restore = InstantRestore::start(&vault, &request, &options).await?;
    let mut machine = MachineOptions::new("at-once", &place, Vec::new());
    machine.arguments = qemu_arguments(restore.folder(), restore.journal());
    let fetched = || restore.traffic().iter().map(|(_, traffic)| traffic.opened_bytes).sum();
    let started = tokio::task::block_in_place(|| {
        let machine = GuestMachine::start(image, machine)?;
        let started = until_answered(&machine, began, fetched)?;
        machine.kill()?;
        anyhow::Ok(started)
    })?;
    restore.stop().await;
    std::fs::remove_dir_all(&place)?;
    Ok(started)
}

fn until_answered(machine: &GuestMachine, began: Instant, fetched: impl Fn() -> u64) -> Result<Started> {
    machine.wait_agent(BOOT)?;
    let (agent, by_agent) = (began.elapsed().as_secs_f64(), fetched());
    machine.wait_postgres(BOOT)?;
    let (database, by_database) = (began.elapsed().as_secs_f64(), fetched());
    Ok(Started { agent, database, fetched: [by_agent, by_database] })
}
