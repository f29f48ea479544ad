//! A deployment: machines of an image, made and booted in batches, each asked who it is.

use super::Options;
use super::guests::{Guests, Who, all_differ};
use super::source::Source;
use anyhow::{Result, ensure};
use mover::deploy::{DeployedDisks, deploy};
use std::time::Instant;

pub(super) async fn measure(source: &Source, options: &Options) -> Result<()> {
    let (place, vault) = (source.place("deployment")?, source.open().await?);
    let mut all: Vec<Who> = Vec::new();
    let (began, mut fetched) = (Instant::now(), 0);
    let numbers: Vec<u32> = (1..=options.deploy).collect();
    for batch in numbers.chunks(options.batch as usize) {
        let names = batch.iter().map(|number| format!("web-{number}"));
        let request = source.request(&place, names, DeployedDisks::Overlays, Some(options.memory));
        let deployed = Box::pin(deploy(&vault, &request, &|_| ())).await?;
        fetched += deployed.fetched_bytes;
        let guests = Guests::of(&deployed.machines)?;
        all.extend(tokio::task::block_in_place(|| guests.who())?);
        eprintln!("{} of {} have booted", all.len(), options.deploy);
    }
    all_differ(&all)?;
    ensure!(fetched == source.data_bytes, "{fetched} bytes came for {}", source.data_bytes);
    std::fs::remove_dir_all(&place)?;
    println!(
        "{} machines deployed, {} at a time: all booted in {:.0} s; no two share name, machine id, host key, \
         instance, uuid or address; the image came once",
        all.len(),
        options.batch,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
