//! Machines that are booted at once on an image that is not here yet: what came from the store, and how often.

use super::Options;
use super::guests::{Guests, all_differ};
use super::source::Source;
use crate::op::counting::{begin_reads, end_reads};
use crate::vault::drop_caches;
use crate::vault::table::{Figures, Row};
use anyhow::{Context, Result, ensure};
use mover::deploy::{DeployedDisks, deploy};
use std::time::{Duration, Instant};

/// Longer than anything stands still here.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn measure(source: &Source, options: &Options) -> Result<Vec<Row>> {
    let work = format!("{} boot at once", options.at_once);
    let mut rows = Vec::new();
    let seconds = at_once(source, options).await?;
    Row::add(&mut rows, "strongroom", &work, Figures { seconds, ..Figures::default() });
    if !options.alone {
        let seconds = on_a_whole_copy(source, options).await?;
        Row::add(&mut rows, "limit: image is here", &work, Figures { seconds, ..Figures::default() });
    }
    Ok(rows)
}

fn names(options: &Options) -> impl Iterator<Item = String> {
    (1..=options.at_once).map(|number| format!("web-{number}"))
}

/// Gives how long it took until all of them answered.
async fn at_once(source: &Source, options: &Options) -> Result<f64> {
    let (place, vault) = (source.place("crowd")?, source.open().await?);
    drop_caches()?;
    begin_reads();
    let began = Instant::now();
    let disks = DeployedDisks::AtOnce(PATIENCE);
    let request = source.request(&place, names(options), disks, Some(options.memory));
    let deployed = Box::pin(deploy(&vault, &request, &|_| ())).await?;
    let mut serving = deployed.serving.context("they run on what is not here yet")?;
    let guests = Guests::of(&deployed.machines)?;
    let who = tokio::task::block_in_place(|| guests.who())?;
    let seconds = began.elapsed().as_secs_f64();
    all_differ(&who)?;
    let by_boot = serving.fetched_bytes();
    serving.fill().await?;
    let (fetched, reads) = (serving.fetched_bytes(), end_reads());
    ensure!(fetched == source.data_bytes, "blocks came more than once: {fetched} of {}", source.data_bytes);
    drop(guests);
    serving.stop().await;
    std::fs::remove_dir_all(&place)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{} machines booted at once: {:.1} MiB of the image's {:.1} MiB were fetched by then, in the end all: {:.3} times \
         (goal: once)",
        options.at_once,
        mib(by_boot),
        mib(source.data_bytes),
        fetched as f64 / source.data_bytes as f64
    );
    println!(
        "of packs: {:.1} MiB read in {} requests, {:.1} MiB of them different: {:.3} times",
        mib(reads.bytes),
        reads.requests,
        mib(reads.distinct_bytes),
        reads.bytes as f64 / reads.distinct_bytes.max(1) as f64
    );
    Ok(seconds)
}

/// The same machines on a copy that is whole before: what booting itself takes.
async fn on_a_whole_copy(source: &Source, options: &Options) -> Result<f64> {
    let (place, vault) = (source.place("crowd")?, source.open().await?);
    let one = source.request(&place, std::iter::once("first".to_owned()), DeployedDisks::Overlays, None);
    Box::pin(deploy(&vault, &one, &|_| ())).await?;
    drop_caches()?;
    let began = Instant::now();
    let request = source.request(&place, names(options), DeployedDisks::Overlays, Some(options.memory));
    let deployed = Box::pin(deploy(&vault, &request, &|_| ())).await?;
    let guests = Guests::of(&deployed.machines)?;
    tokio::task::block_in_place(|| guests.who())?;
    let seconds = began.elapsed().as_secs_f64();
    drop(guests);
    std::fs::remove_dir_all(&place)?;
    Ok(seconds)
}
