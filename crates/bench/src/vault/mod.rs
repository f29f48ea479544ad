//! The comparison: each work as a ratio to a limit of this machine and to the peers that are installed.

mod limits;
mod peers;
mod table;

use crate::data::Data;
use crate::timed::{median, sh, timed};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::{Figures, Row, Table};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the data and the vaults lie: 40 GiB of room.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
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
    limits::measure(&place, &mut table)?;
    ours(&place, &mut table)?;
    if !options.alone {
        peers::measure(&place, &mut table)?;
    }
    table.print();
    match &options.json {
        Some(path) => std::fs::write(path, serde_json::to_vec_pretty(&table)?).context("write the figures"),
        None => Ok(()),
    }
}

/// The engine itself, each work in a process of its own.
fn ours(place: &Place<'_>, table: &mut Table) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let op = |arguments: &[&std::ffi::OsStr]| -> Result<(f64, Value)> {
        let (seconds, printed) = timed(Command::new(&program).arg("op").args(arguments))?;
        Ok((seconds, serde_json::from_slice(&printed)?))
    };
    let (vault, out) = (place.folder.join("ours"), place.folder.join("restored.raw"));
    let Data { used, day, changes, sibling, noise } = place.data;
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..place.runs {
        sh(&format!(
            "rm -rf {0} {1}; rm -f {2}",
            vault.display(),
            vault.with_extension("key").display(),
            out.display()
        ))?;
        op(&["create".as_ref(), vault.as_ref()])?;
        let full = ["backup".as_ref(), vault.as_ref(), used.as_ref()];
        let day_known =
            ["backup".as_ref(), vault.as_ref(), day.as_ref(), "--changes".as_ref(), changes.as_ref()];
        let day_unknown = ["backup".as_ref(), vault.as_ref(), day.as_ref()];
        let sibling =
            ["backup".as_ref(), vault.as_ref(), sibling.as_ref(), "--machine".as_ref(), "sibling".as_ref()];
        let noise =
            ["backup".as_ref(), vault.as_ref(), noise.as_ref(), "--machine".as_ref(), "noise".as_ref()];
        let restore = ["restore".as_ref(), vault.as_ref(), "--to".as_ref(), out.as_ref()];
        let works: [(&str, &[&std::ffi::OsStr]); 6] = [
            ("full", &full),
            ("day, changes known", &day_known),
            ("day, read all", &day_unknown),
            ("sibling", &sibling),
            ("noise", &noise),
            ("restore", &restore),
        ];
        for (work, arguments) in works {
            drop_caches()?;
            let (seconds, done) = op(arguments)?;
            let figures = Figures {
                seconds,
                stored: done["stats"]["stored_bytes"].as_u64(),
                peak_mib: done["peak_mib"].as_u64(),
            };
            Row::add(&mut rows, "strongroom", work, figures);
        }
        sh(&format!("cmp {} {}", out.display(), day.display()))
            .context("the restored disk is the one of the day")?;
    }
    table.extend(rows);
    Ok(())
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
