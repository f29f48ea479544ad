//! Machines of an image, beside limits and peers: the disks of hundreds, a crowd that is booted at once on what is not
//! here yet, and a deployment of which every machine is another.
//!
//! | file | does |
//! | --- | --- |
//! | `source.rs` | the demo guest becomes an image in a vault |
//! | `disks.rs` | disks of many machines: seconds and bytes |
//! | `crowd.rs` | machines at once: what came from the store, and how often |
//! | `deployment.rs` | machines in batches: who each is |
//! | `guests.rs` | machines that were started, and what they say of themselves |

mod crowd;
mod deployment;
mod disks;
mod guests;
mod source;

use crate::vault::table::Table;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Where vault and machines lie, in a folder of their own that is removed: 2 GiB of room, and a short path, for
    /// sockets lie in it, too.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Machines whose disks are made.
    #[arg(long, default_value_t = 200)]
    machines: u32,
    /// Machines that are booted at once; 0 leaves it out.
    #[arg(long, default_value_t = 20)]
    at_once: u32,
    /// Machines that are deployed, booted and asked who they are; 0 leaves it out.
    #[arg(long, default_value_t = 0)]
    deploy: u32,
    /// So many of them at a time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Memory of each, in MiB: with 256 the guest does not unpack.
    #[arg(long, default_value_t = 384)]
    memory: u64,
    /// Runs of the disks; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Leave peers and limits out.
    #[arg(long)]
    alone: bool,
    /// Also write the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = options.folder.join("image");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize().context("find the folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table = Table::default();
    let source = runtime.block_on(source::Source::make(&folder))?;
    if options.machines > 0 {
        table.extend(runtime.block_on(disks::measure(&source, options))?);
    }
    if options.at_once > 0 {
        table.extend(runtime.block_on(crowd::measure(&source, options))?);
    }
    if options.deploy > 0 {
        runtime.block_on(deployment::measure(&source, options))?;
    }
    table.print();
    source.remove()?;
    match &options.json {
        Some(path) => std::fs::write(path, serde_json::to_vec_pretty(&table)?).context("write the figures"),
        None => Ok(()),
    }
}
