//! The comparison: each work as a ratio to a limit of this machine and to the peers that are installed.

mod limits;
mod ours;
pub(crate) mod peers;
pub(crate) mod table;

pub(crate) use ours::{create, op};

use crate::data::Data;
use crate::timed::{median, sh};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use table::Table;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the data and the vaults lie: 40 GiB of room.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Runs of each; the median counts. Limits, we and peers take turns: what a machine does differs from hour to hour.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only the life of one vault: neither collection nor growth nor several movers.
    #[arg(long)]
    life: bool,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
    /// Also write the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Where one run's stores lie.
pub(crate) struct Place<'a> {
    pub(crate) data: &'a Data,
    pub(crate) folder: &'a Path,
    pub(crate) runs: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.folder)?;
    let folder = options.folder.canonicalize().context("find the folder")?;
    let data = Data::make(&folder.join("data"))?;
    let place = Place { data: &data, folder: &folder, runs: options.runs };
    let mut table = Table::default();
    let mut rows = Vec::new();
    for round in 1..=options.runs {
        eprintln!("round {round} of {}", options.runs);
        ours::life(&place, &mut rows)?;
        if !options.life {
            ours::more(&place, &mut rows)?;
        }
        if !options.alone {
            peers::measure(&place, &mut rows)?;
        }
    }
    table.extend(rows);
    table.print();
    match &options.json {
        Some(path) => std::fs::write(path, serde_json::to_vec_pretty(&table)?).context("write the figures"),
        None => Ok(()),
    }
}

/// Every measured work begins with a cold page cache.
pub(crate) fn drop_caches() -> Result<()> {
    sh("sync; echo 3 > /proc/sys/vm/drop_caches")
}

/// The median of as many runs as are wanted, each from a cold cache.
pub(crate) fn median_of(runs: usize, mut work: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..runs {
        drop_caches()?;
        seconds.push(work()?);
    }
    Ok(median(seconds))
}
