//! An instant restore from its first step to the moment at which it serves.

use super::boot::{BootLog, BootRecord};
use super::folder::{Folder, beside};
use super::journal::{Door, InstantDisk, Journal, State};
use super::served::{Served, Shared};
use super::turn::Turn;
use super::{InstantOptions, InstantRequest, Traffic};
use crate::error::{Doing, Error, Result};
use crate::image::ImageFormat;
use crate::new_machine::{DOMAIN, SCRIPT};
use crate::restore::{self, DESCRIPTION, RestoreRequest, RestoredDisk, is_firmware, partial, restore_disk};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use vault::{Point, PointDisk, Vault};

/// An instant restore that is being served. Dropped, it serves no more: the guest waits, and
/// [`resume`](Self::resume) goes on.
///
/// CRASH: leaves its folder, from which it is resumed whatever it was doing.
pub struct InstantRestore {
    pub(super) folder: Folder,
    pub(super) journal: Journal,
    /// Of the disks that need it.
    pub(super) served: Vec<(String, Arc<Served>)>,
    pub(super) server: Option<nbd::RunningServer>,
    /// Bytes a second for each disk; 0 is no limit.
    pub(super) speed: u64,
    /// Whether a disk's job was told so.
    pub(super) paced: Vec<bool>,
    _prefetching: JoinSet<()>,
}

impl InstantRestore {
    /// Makes the folder with everything in it, and serves.
    ///
    /// # Errors
    /// `Taken` if the folder holds anything.
    pub async fn start(
        vault: &Arc<Vault>,
        request: &InstantRequest,
        options: &InstantOptions,
    ) -> Result<Self> {
        let folder = Folder::create(&request.folder)?;
        let door = request.door.clone().unwrap_or_else(|| Door::Qmp(folder.monitor()));
        let mut journal = Journal::new(request, vault.id(), door);
        journal.disks = disks_of(&request.point, &folder);
        // From here on it is known what is in the folder.
        journal.save(folder.path())?;
        Self::go_on(vault, folder, journal, options).await
    }

    /// Goes on with a restore whose process ended, in whatever state it left it.
    ///
    /// # Errors
    /// `NotFound` if the folder holds none; `Unreachable` while another process is at it; `Invalid` for another vault
    /// than it was started from.
    pub async fn resume(vault: &Arc<Vault>, folder: &Path, options: &InstantOptions) -> Result<Self> {
        let folder = Folder::open(folder)?;
        let journal = Journal::read(folder.path())?;
        if journal.vault != vault.id() {
            let why = format!("it was started from vault {} in {}", journal.vault, journal.location);
            let doing = format!("resume the instant restore in {}", folder.path().display());
            return Err(Error::Disk(doing, block::Error::new(block::ErrorKind::Invalid, why)));
        }
        Self::go_on(vault, folder, journal, options).await
    }

    async fn go_on(
        vault: &Arc<Vault>,
        folder: Folder,
        mut journal: Journal,
        options: &InstantOptions,
    ) -> Result<Self> {
        let point = vault.point(&journal.machine, journal.point).await;
        let point = point.doing(|| format!("read point {}", journal.point))?;
        let is_new = journal.state == State::Preparing;
        if is_new {
            prepare(vault, &point, &folder, &mut journal).await?;
        }
        let shared = Arc::new(Shared { turn: Turn::new(), disks: journal.hungry().count() });
        let (mut server, mut served, mut prefetching) = (nbd::Server::new(), Vec::new(), JoinSet::new());
        let doing = || format!("serve on {}", folder.server().display());
        for name in journal.hungry().map(|disk| &disk.name) {
            let record = point.disk(name).doing(|| format!("find disk {name}"))?;
            let source = PointDisk::new(Arc::clone(vault), record.map.clone());
            // What is read later is no boot.
            let log = options.cache.as_deref().filter(|_| is_new);
            let log = log.map(|cache| BootLog::new(cache, &journal.machine, name));
            let disk = Served::new(source, &shared, log);
            server = server.export(name, disk.export()).doing(doing)?;
            if let Some(cache) = options.cache.as_deref().filter(|_| is_new) {
                let (disk, known) = (Arc::clone(&disk), BootRecord::read(cache, &journal.machine, name));
                prefetching.spawn(async move { disk.prefetch(known).await });
            }
            served.push((name.clone(), disk));
        }
        let server = server.listen(&nbd::Address::Unix(folder.server())).await.doing(doing)?;
        folder.give_away(&folder.server())?;
        let (speed, paced) = (options.limit.map_or(0, NonZeroU64::get), vec![false; journal.disks.len()]);
        Ok(Self { folder, journal, served, server: Some(server), speed, paced, _prefetching: prefetching })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is known of it.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What was read so far, disk by disk.
    pub fn traffic(&self) -> Vec<(String, Traffic)> {
        self.served.iter().map(|(name, disk)| (name.clone(), disk.traffic())).collect()
    }

    /// Serves no more. Whatever is under way is answered first.
    pub async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Serves no more, because nothing needs it.
    pub(super) async fn leave(mut self) -> Result<Journal> {
        self.journal.state = State::Whole;
        self.journal.save(self.folder.path())?;
        let journal = self.journal.clone();
        self.stop().await;
        Ok(journal)
    }
}

impl Drop for InstantRestore {
    fn drop(&mut self) {
        self.served.iter().for_each(|(_, disk)| disk.keep_boot());
    }
}

fn disks_of(point: &Point, folder: &Folder) -> Vec<InstantDisk> {
    let disk = |record: &vault::DiskRecord| {
        let firmware = is_firmware(point, &record.name);
        InstantDisk {
            name: record.name.clone(),
            image: folder.image(&record.name, firmware),
            size: record.map.size,
            firmware,
            whole: false,
            done: 0,
        }
    };
    point.disks.iter().map(disk).collect()
}

/// Makes every image that is not there yet.
async fn prepare(vault: &Arc<Vault>, point: &Point, folder: &Folder, journal: &mut Journal) -> Result<()> {
    let patience = Duration::from_secs(journal.patience_s);
    for disk in &mut journal.disks {
        if disk.firmware {
            if !disk.image.exists() {
                let _ = std::fs::remove_file(partial(&disk.image)); // of an attempt that was killed
                let record = point.disk(&disk.name).doing(|| format!("find disk {}", disk.name))?;
                restore_disk(vault, record, &disk.image, ImageFormat::Raw, &|_| ()).await?;
            }
            disk.whole = true;
        } else if !disk.image.exists() {
            folder.overlay(&disk.name, disk.size, patience).await?;
        }
        folder.give_away(&disk.image)?;
    }
    describe(point, folder, journal)?;
    journal.state = State::Serving;
    journal.save(folder.path())
}

/// The machine's description, as beside any restored disks.
fn describe(point: &Point, folder: &Folder, journal: &Journal) -> Result<()> {
    let description = folder.path().join(DESCRIPTION);
    if description.exists() {
        return Ok(());
    }
    let path = folder.path().to_owned();
    let request =
        RestoreRequest { point: point.clone(), disks: Vec::new(), folder: path, format: ImageFormat::Qcow2 };
    let disk = |disk: &InstantDisk| RestoredDisk {
        name: disk.name.clone(),
        path: disk.image.clone(),
        format: if disk.firmware { ImageFormat::Raw } else { ImageFormat::Qcow2 },
        size: disk.size,
        data_bytes: 0,
    };
    let disks: Vec<RestoredDisk> = journal.disks.iter().map(disk).collect();
    restore::write_description(&request, &disks).map(drop)
}

/// All files that a restore makes in its folder, the journal left out.
pub(super) fn files_of(folder: &Path, journal: &Journal) -> Vec<PathBuf> {
    let images = journal.disks.iter().flat_map(|disk| [disk.image.clone(), partial(&disk.image)]);
    let definitions = [DESCRIPTION, DOMAIN, SCRIPT].map(|name| folder.join(name));
    let run = journal.run_folder.iter().flat_map(std::fs::read_dir).flatten().flatten();
    images.chain(definitions).chain(beside(folder)).chain(run.map(|entry| entry.path())).collect()
}
