//! One operation of the engine in a process of its own.

mod changed;
pub(crate) mod counting;
mod works;

use anyhow::{Context, Result};
use block::{BlockSource, FileDisk};
use changed::Changed;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
use vault::{
    Base, DiskRecord, KeyFile, MachineKey, Point, PointDisk, PointDraft, PointId, Session, SessionId, Vault,
    VaultId,
};

#[derive(Subcommand)]
pub(crate) enum Op {
    /// Makes a vault.
    Create { vault: PathBuf },
    /// Backs an image up.
    Backup {
        vault: PathBuf,
        image: PathBuf,
        /// Under this machine's name.
        #[arg(long, default_value = "machine")]
        machine: String,
        /// Lines of `offset length`: what changed since the machine's last point. Without: all of it is read.
        #[arg(long)]
        changes: Option<PathBuf>,
    },
    /// Restores the newest point of a machine to a raw file, or nowhere.
    Restore {
        vault: PathBuf,
        #[arg(long, default_value = "machine")]
        machine: String,
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Serves the newest point of the only machine over NBD, until it is killed.
    Serve { vault: PathBuf, socket: PathBuf },
    /// Reads one block of the newest point, knowing nothing beforehand.
    FirstBlock { vault: PathBuf },
    /// Opens every chunk and compares it with its id.
    Verify { vault: PathBuf },
    /// Backs an image up so many times, one block changed each time, and deletes every other point.
    Age { vault: PathBuf, image: PathBuf, points: u64 },
    /// Collects all that can be, at once.
    Collect { vault: PathBuf },
    /// Backs up so many bytes of the image as so many machines at once.
    Movers {
        vaults: Vec<PathBuf>,
        #[arg(long)]
        image: PathBuf,
        #[arg(long)]
        movers: u64,
    },
    /// A disk that is one block and nothing for the rest, and then one block changed.
    Sparse { vault: PathBuf, gib: u64 },
}

pub(crate) fn run(op: Op) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begun = Instant::now();
    let mut done = runtime.block_on(async {
        match op {
            Op::Create { vault } => create(&vault).await,
            Op::Backup { vault, image, machine, changes } => {
                backup(&vault, &image, &machine, changes.as_deref()).await
            }
            Op::Restore { vault, machine, to } => restore(&vault, &machine, to.as_deref()).await,
            Op::Serve { vault, socket } => works::serve(&vault, &socket).await,
            Op::FirstBlock { vault } => works::first_block(&vault).await,
            Op::Verify { vault } => works::verify(&vault).await,
            Op::Age { vault, image, points } => works::age(&vault, &image, points).await,
            Op::Collect { vault } => works::collect(&vault).await,
            Op::Movers { vaults, image, movers } => works::movers(&vaults, &image, movers).await,
            Op::Sparse { vault, gib } => works::sparse(&vault, gib).await,
        }
    })?;
    done["seconds"] = json!(begun.elapsed().as_secs_f64());
    done["peak_mib"] = json!(peak_mib()?);
    done["requests"] = json!(counting::requests());
    println!("{done}");
    Ok(())
}

/// The most memory this process ever held.
fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("find VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("read VmHWM")?;
    Ok(kib / 1024)
}

fn key_path(vault: &Path) -> PathBuf {
    vault.with_extension("key")
}

#[allow(clippy::disallowed_methods)] // the edge reads the clock
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

pub(crate) async fn create(vault: &Path) -> Result<Value> {
    std::fs::create_dir_all(vault)?;
    let (holder, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    holder.write(&key_path(vault), id)?;
    Vault::create(counting::store(vault)?, id, now(), &holder).await?;
    Ok(json!({}))
}

/// Makes an empty store that takes points of a vault, under its key.
pub(crate) async fn replica(of: &Path, replica: &Path) -> Result<Arc<Vault>> {
    std::fs::create_dir_all(replica)?;
    let (holder, of_vault) = (KeyFile::read(&key_path(of))?, open(of).await?);
    let made = Vault::create_replica(counting::store(replica)?, &of_vault, now(), &holder).await?;
    holder.write(&key_path(replica), made.id())?;
    open(replica).await
}

pub(crate) async fn open(vault: &Path) -> Result<Arc<Vault>> {
    let holder = KeyFile::read(&key_path(vault))?;
    let opened = Vault::open(counting::store(vault)?, &holder).await?;
    Ok(Arc::new(opened.with_cache(&vault.with_extension("cache"))))
}

async fn backup(vault: &Path, image: &Path, machine: &str, changes: Option<&Path>) -> Result<Value> {
    let vault = open(vault).await?;
    let machine = MachineKey::new(machine)?;
    let disk = FileDisk::open(image)?;
    let parent = match changes {
        Some(_) => vault.points_of(&machine).await?.pop(),
        None => None,
    };
    let source: Box<dyn BlockSource> = match changes {
        Some(path) => Box::new(Changed::read(disk, path)?),
        None => Box::new(disk),
    };
    let old = parent.as_ref().map(|point| Base { point: point.id, map: &point.disks[0].map });
    let point = back_up(&vault, &machine, &*source, old).await?;
    Ok(json!({ "stats": point.stats }))
}

/// One disk becomes a point.
pub(crate) async fn back_up(
    vault: &Arc<Vault>,
    machine: &MachineKey,
    source: &dyn BlockSource,
    old: Option<Base<'_>>,
) -> Result<Point> {
    let session = Session::begin(vault, SessionId(Uuid::now_v7()), now()).await?;
    let parent = old.map(|base| base.point);
    let (map, read_bytes) = mover::store_disk(&session, source, old, &|_| ()).await?;
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine_name: machine.to_string(),
        machine: machine.clone(),
        instant: now(),
        parent,
        consistency: Value::Null,
        description: Value::Null,
        service: Value::Null,
    };
    let record = DiskRecord { name: "disk0".into(), map, tracking: String::new(), read_bytes };
    Ok(session.commit(draft, vec![record]).await?)
}

async fn restore(vault: &Path, machine: &str, to: Option<&Path>) -> Result<Value> {
    let vault = open(vault).await?;
    let point =
        vault.points_of(&MachineKey::new(machine)?).await?.pop().context("the machine has a point")?;
    let source = PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone());
    let options = block::CopyOptions { sink_is_zero: true, ..block::CopyOptions::default() };
    let copied = match to {
        Some(path) => block::copy(&source, &FileDisk::create(path, source.size())?, options, &|_| ()).await?,
        None => anyhow::bail!("say whither with --to"),
    };
    Ok(json!({ "data_bytes": copied.data }))
}
