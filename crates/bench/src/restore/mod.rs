//! Restore beside its limits and its peers: whole, at once, the first block, and reads over NBD.

mod full;
mod load;
mod machine;
mod reads;

use crate::data::Data;
use crate::vault::Place;
use crate::vault::table::Table;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the data and the vaults lie: 40 GiB of room.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only some: `full`, `first`, `reads`, `machine`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
    /// Also write the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.folder)?;
    let folder = options.folder.canonicalize().context("find the folder")?;
    let is_wanted = |what: &str| options.only.is_empty() || options.only.iter().any(|only| only == what);
    let mut table = Table::default();
    if ["full", "first", "reads"].into_iter().any(is_wanted) {
        let data = Data::make(&folder.join("data"))?;
        let place = Place { data: &data, folder: &folder, runs: options.runs };
        let scene = full::Scene::make(&place)?;
        if is_wanted("full") {
            table.extend(scene.measure(options.alone)?);
        }
        if is_wanted("first") {
            table.extend(scene.first_block()?);
        }
        if is_wanted("reads") {
            table.extend(reads::measure(&scene)?);
        }
    }
    if is_wanted("machine") {
        table.extend(machine::measure(&folder, options.runs)?);
    }
    table.print();
    match &options.json {
        Some(path) => std::fs::write(path, serde_json::to_vec_pretty(&table)?).context("write the figures"),
        None => Ok(()),
    }
}
