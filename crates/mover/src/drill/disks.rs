//! A drill's disks: the point as it is served, and an overlay over each disk for what the guest writes.

use super::folder::DrillFolder;
use crate::error::{Doing, Error, Result};
use crate::image::{ImageFormat, check_run};
use crate::restore::{file_name, is_firmware, restore_disk};
use async_trait::async_trait;
use block::{BlockSource, Extent};
use hypervisor::recreate::RestoredFile;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::process::Command;
use vault::{DiskRecord, Point, PointDisk, Vault};

/// Bytes of the disks kept inflated, for all of them together: a boot reads the same again and again.
const KEPT_BYTES: u64 = 256 << 20;

/// The disks of a point, served on the drill's socket.
pub(super) struct Served {
    server: nbd::RunningServer,
    disks: Vec<Arc<Watched>>,
}

/// A disk that notes what could not be read of it.
struct Watched {
    disk: PointDisk,
    failed: Mutex<Option<String>>,
}

impl Served {
    pub(super) async fn start(vault: &Arc<Vault>, point: &Point, folder: &DrillFolder) -> Result<Self> {
        let socket = folder.server();
        let doing = || format!("serve on {}", socket.display());
        let mut server = nbd::Server::new();
        let mut disks = Vec::new();
        let records = served(point);
        let share = KEPT_BYTES / records.len().max(1) as u64;
        for record in records {
            let disk = PointDisk::new(Arc::clone(vault), record.map.clone()).keeping(share);
            let disk = Arc::new(Watched { disk, failed: Mutex::new(None) });
            let source: Arc<dyn BlockSource> = Arc::<Watched>::clone(&disk);
            server = server.export(&record.name, nbd::Export::read_only(source)).doing(doing)?;
            disks.push(disk);
        }
        let server = server.listen(&nbd::Address::Unix(socket.clone())).await.doing(doing)?;
        Ok(Self { server, disks })
    }

    /// Bytes that were read from the vault so far.
    pub(super) fn read_bytes(&self) -> u64 {
        self.disks.iter().map(|one| one.disk.opened_bytes()).sum()
    }

    /// What could not be read from the vault, if anything: then it is no wonder if the guest failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.disks.iter().find_map(|one| one.failed.lock().expect("no holder panics").clone())
    }

    pub(super) async fn stop(self) {
        self.server.stop().await;
    }
}

/// The disks that the guest sees; those of its firmware are files.
fn served(point: &Point) -> Vec<&DiskRecord> {
    point.disks.iter().filter(|disk| !is_firmware(point, &disk.name)).collect()
}

/// Where each disk of the machine is going to be.
pub(super) fn files(point: &Point, folder: &Path) -> Vec<RestoredFile> {
    let file = |disk: &DiskRecord| {
        let is_plain = is_firmware(point, &disk.name);
        let format = if is_plain { ImageFormat::Raw } else { ImageFormat::Qcow2 };
        let name = file_name(&disk.name);
        let path = folder.join(if is_plain { name } else { format!("{name}.qcow2") });
        RestoredFile { disk: disk.name.clone(), path, format: format.name().to_owned() }
    };
    point.disks.iter().map(file).collect()
}

/// Makes these files: the firmware's whole, for they are small, the others as overlays. Gives the bytes that were
/// restored.
pub(super) async fn make(
    vault: &Arc<Vault>,
    point: &Point,
    folder: &DrillFolder,
    files: &[RestoredFile],
) -> Result<u64> {
    let mut restored = 0;
    for file in files {
        let record = point.disk(&file.disk).doing(|| format!("find disk {}", file.disk))?;
        if is_firmware(point, &file.disk) {
            restored += restore_disk(vault, record, &file.path, ImageFormat::Raw, &|_| ()).await?;
        } else {
            overlay(&file.path, record, folder.server()).await?;
        }
    }
    Ok(restored)
}

/// Nothing of it has to survive anything: it is gone with the drill.
async fn overlay(path: &Path, record: &DiskRecord, socket: PathBuf) -> Result<()> {
    let server = json!({ "type": "unix", "path": socket });
    let export = json!({ "driver": "nbd", "export": record.name, "server": server });
    let backing = format!("json:{}", json!({ "driver": "raw", "file": export }));
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", &backing]).arg(path);
    let made = create.arg(record.map.size.to_string()).kill_on_drop(true).output().await;
    check_run("qemu-img", made).doing(|| format!("make the overlay {}", path.display()))
}

#[async_trait]
impl BlockSource for Watched {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        self.noted(self.disk.extents(offset, length).await)
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        self.noted(self.disk.read(offset, buffer).await)
    }
}

impl Watched {
    /// The first failure tells most.
    fn noted<T>(&self, read: block::Result<T>) -> block::Result<T> {
        read.inspect_err(|error| {
            let mut failed = self.failed.lock().expect("no holder panics");
            failed.get_or_insert_with(|| in_words(error));
        })
    }
}

/// An error with all that is beneath it.
pub(super) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether what could not be read is damaged: then trying again does not help, and the point is to blame.
pub(super) fn is_damage(error: &Error) -> bool {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let is_corrupt = |error: &(dyn std::error::Error + 'static)| {
        let vault = error.downcast_ref::<vault::Error>().map(vault::Error::kind);
        let block = error.downcast_ref::<block::Error>().map(block::Error::kind);
        vault == Some(vault::ErrorKind::Corrupt) || block == Some(block::ErrorKind::Corrupt)
    };
    causes.into_iter().any(is_corrupt)
}
