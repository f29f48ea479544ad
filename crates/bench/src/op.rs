//! One operation of the engine in a process of its own.

use anyhow::{Context, Result};
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, FileDisk};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
use vault::{
    Base, DiskRecord, KeyFile, MachineKey, PointDisk, PointDraft, PointId, Session, SessionId, Store, Vault,
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
        }
    })?;
    done["seconds"] = json!(begun.elapsed().as_secs_f64());
    done["peak_mib"] = json!(peak_mib()?);
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
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

async fn create(vault: &Path) -> Result<Value> {
    std::fs::create_dir_all(vault)?;
    let (holder, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    holder.write(&key_path(vault), id)?;
    Vault::create(Store::local(vault)?, id, now(), &holder).await?;
    Ok(json!({}))
}

async fn open(vault: &Path) -> Result<Arc<Vault>> {
    let holder = KeyFile::read(&key_path(vault))?;
    Ok(Arc::new(Vault::open(Store::local(vault)?, &holder).await?))
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
    let session = Session::begin(&vault, SessionId(Uuid::now_v7()), now()).await?;
    let old = parent.as_ref().map(|point| Base { point: point.id, map: &point.disks[0].map });
    let (map, read_bytes) = mover::store_disk(&session, &*source, old, &|_| ()).await?;
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine_name: machine.to_string(),
        machine,
        instant: now(),
        parent: parent.map(|point| point.id),
        consistency: Value::Null,
        description: Value::Null,
    };
    let record = DiskRecord { name: "disk0".into(), map, tracking: String::new(), read_bytes };
    let point = session.commit(draft, vec![record]).await?;
    Ok(json!({ "stats": point.stats }))
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

/// A disk of which it is known what changed.
struct Changed {
    disk: FileDisk,
    /// In order, apart from one another.
    changes: Vec<(u64, u64)>,
}

impl Changed {
    fn read(disk: FileDisk, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let line = |line: &str| {
            let (offset, length) = line.split_once(' ').context("two numbers a line")?;
            anyhow::Ok((offset.parse()?, length.parse()?))
        };
        Ok(Self { disk, changes: text.lines().map(line).collect::<Result<_>>()? })
    }
}

#[async_trait]
impl BlockSource for Changed {
    fn size(&self) -> u64 {
        BlockSource::size(&self.disk)
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        let end = offset + length;
        let mut extents = Vec::new();
        let mut at = offset;
        let first = self.changes.partition_point(|(start, length)| start + length <= offset);
        for (start, length) in self.changes[first..].iter().take_while(|(start, _)| *start < end) {
            let (start, stop) = ((*start).max(at), (start + length).min(end));
            if start > at {
                extents.push(Extent::new(at, start - at, ExtentKind::Unchanged));
            }
            extents.push(Extent::new(start, stop - start, ExtentKind::Data));
            at = stop;
        }
        if at < end {
            extents.push(Extent::new(at, end - at, ExtentKind::Unchanged));
        }
        Ok(extents)
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        self.disk.read(offset, buffer).await
    }
}
