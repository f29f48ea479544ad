//! The disks of many machines: how long they take, and what room. The image is fetched from the vault each time.

use super::Options;
use super::source::{Source, allocated_bytes};
use crate::timed::{median, timed};
use crate::vault::drop_caches;
use crate::vault::table::{Figures, Row};
use anyhow::{Result, ensure};
use mover::deploy::{DeployedDisks, deploy};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Seconds and MiB that 200 machines may take.
const GOAL: (f64, u64) = (10.0, 200);
/// What a machine has on its disks beside one's own overlays: pages of definition, identity and overlay.
const PAGES: usize = 3 * 4096;

pub(super) async fn measure(source: &Source, options: &Options) -> Result<Vec<Row>> {
    let work = format!("disks of {}", options.machines);
    let mut rows = Vec::new();
    let (mut seconds, mut bytes) = (Vec::new(), 0);
    for _ in 0..options.runs {
        drop_caches()?;
        let (took, took_up) = ours(source, options.machines).await?;
        bytes = took_up;
        seconds.push(took);
        let figures = |seconds, stored| Figures { seconds, stored: Some(stored), ..Figures::default() };
        Row::add(&mut rows, "strongroom", &work, figures(took, took_up));
        if !options.alone {
            let (took, took_up) = qemu_img(source, options.machines)?;
            Row::add(&mut rows, "qemu-img create -b", &work, figures(took, took_up));
            let (took, took_up) = limit(source, options.machines)?;
            Row::add(&mut rows, "limit: write and sync", &work, figures(took, took_up));
        }
    }
    println!(
        "disks of {} machines: {:.2} s, {} MiB in all, the image's copy among them (goal for 200: {} s, {} MiB)",
        options.machines,
        median(seconds),
        bytes >> 20,
        GOAL.0,
        GOAL.1
    );
    Ok(rows)
}

async fn ours(source: &Source, machines: u32) -> Result<(f64, u64)> {
    let (place, vault) = (source.place("disks")?, source.open().await?);
    let names = (1..=machines).map(|number| format!("web-{number}"));
    let request = source.request(&place, names, DeployedDisks::Overlays, None);
    let began = Instant::now();
    let deployed = Box::pin(deploy(&vault, &request, &|_| ())).await?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(deployed.machines.iter().all(|one| one.made.is_ok()), "all are made");
    ensure!(deployed.fetched_bytes == source.data_bytes, "{} bytes came", deployed.fetched_bytes);
    let bytes = allocated_bytes(&place)?;
    std::fs::remove_dir_all(&place)?;
    Ok((seconds, bytes))
}

/// What people do without us: a template on this host becomes a base, and each disk an overlay of it.
fn qemu_img(source: &Source, machines: u32) -> Result<(f64, u64)> {
    let place = source.place("qemu-img")?;
    std::fs::create_dir(&place)?;
    let templates: Vec<PathBuf> =
        (0..2).map(|disk| source.folder.join(format!("golden/data{disk}.qcow2"))).collect();
    drop_caches()?;
    let began = Instant::now();
    for (disk, template) in templates.iter().enumerate() {
        let base = place.join(format!("base{disk}.raw"));
        let mut convert = Command::new("qemu-img");
        timed(convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(template).arg(&base))?;
        for machine in 0..machines {
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&base);
            timed(create.arg(place.join(format!("{machine}-{disk}.qcow2"))))?;
        }
    }
    synced(&place)?;
    let seconds = began.elapsed().as_secs_f64();
    let bytes = allocated_bytes(&place)?;
    std::fs::remove_dir_all(&place)?;
    Ok((seconds, bytes))
}

/// The image's bytes once, and for each machine as many files of as many pages as it has; nothing is fetched or computed.
fn limit(source: &Source, machines: u32) -> Result<(f64, u64)> {
    let place = source.place("limit")?;
    std::fs::create_dir(&place)?;
    let (image, pages) = (vec![7; 1 << 20], vec![7; PAGES]);
    let began = Instant::now();
    let base = File::create(place.join("base.raw"))?;
    for offset in (0..source.data_bytes).step_by(image.len()) {
        base.write_all_at(&image, offset)?;
    }
    for machine in 0..machines {
        let folder = place.join(machine.to_string());
        std::fs::create_dir(&folder)?;
        for file in 0..source.point.disks.len() + 2 {
            std::fs::write(folder.join(file.to_string()), &pages)?;
        }
    }
    synced(&place)?;
    let seconds = began.elapsed().as_secs_f64();
    let bytes = allocated_bytes(&place)?;
    std::fs::remove_dir_all(&place)?;
    Ok((seconds, bytes))
}

fn synced(folder: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}
