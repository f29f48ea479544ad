//! Serving a shared copy to machines that run on it before it is whole, while the rest of it is fetched.
//!
//! Once it is whole, the overlays are told to stand on its files: of a machine that runs, as soon as it is off. When
//! none names the server any more, it ends.

use super::copy::{CopyJournal, LocalCopy};
use crate::error::{Doing, Result};
use crate::image::check_run;
use crate::instant::{connect, in_words};
use crate::progress::Progress;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::sleep;
use vault::Vault;

/// How often the machines are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What happens while a copy is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServingProgress {
    /// Data is fetched.
    Fetch(Progress),
    /// The vault cannot be read; guests may stand still. It is tried again.
    Unreadable(String),
    /// All of the image is here.
    Whole,
    /// A machine needs the server no more.
    Settled(String),
    /// These do still, until they were off once.
    Waiting(Vec<String>),
    /// A guest stood still for a disk and runs on.
    RanOn(String),
}

type Told<'a> = &'a (dyn Fn(ServingProgress) + Sync);

/// A copy that is served. Dropped, it is served no more: guests wait at their next read of something that is not
/// theirs, and [`resume`](Self::resume) goes on.
pub struct Serving {
    copy: LocalCopy,
    server: nbd::RunningServer,
}

impl Serving {
    pub(super) fn new(copy: LocalCopy, server: nbd::RunningServer) -> Self {
        Self { copy, server }
    }

    /// Serves a copy again whose process ended.
    ///
    /// # Errors
    /// `NotFound` if the folder is none of a copy; `Unreachable` while another process is at it.
    pub async fn resume(vault: &Arc<Vault>, folder: &Path) -> Result<Self> {
        let copy = open(vault, folder).await?;
        let server = copy.serve().await?;
        Ok(Self { copy, server })
    }

    /// What is known of the copy.
    pub fn journal(&self) -> &CopyJournal {
        self.copy.journal()
    }

    /// Bytes that came from the vault since it is served.
    pub fn fetched_bytes(&self) -> u64 {
        self.copy.fetched_bytes()
    }

    /// Fetches the rest, and ends when no machine needs the server any more. Can be dropped at any time.
    pub async fn follow(mut self, told: Told<'_>) -> Result<()> {
        while let Err(error) = self.copy.fill(false, &|progress| told(ServingProgress::Fetch(progress))).await
        {
            told(ServingProgress::Unreadable(in_words(&error)));
            sleep(LOOK_EVERY).await;
            self.run_on(told).await;
        }
        told(ServingProgress::Whole);
        let mut said = Vec::new();
        loop {
            self.run_on(told).await;
            let waiting = self.settle(told).await?;
            if waiting.is_empty() {
                self.server.stop().await;
                return Ok(());
            }
            if waiting != said {
                told(ServingProgress::Waiting(waiting.clone()));
                said = waiting;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Fetches the rest and does nothing else: for who only wants to know what that takes.
    pub async fn fill(&mut self) -> Result<()> {
        self.copy.fill(false, &|_| ()).await
    }

    /// Serves no more.
    pub async fn stop(self) {
        self.server.stop().await;
    }

    /// Has overlays of machines that are off stand on the files; gives the machines that still need the server.
    ///
    /// CRASH: an overlay names the one or the other, and both hold the same.
    async fn settle(&mut self, told: Told<'_>) -> Result<Vec<String>> {
        let mut waiting = Vec::new();
        for index in 0..self.copy.journal.machines.len() {
            let machine = &self.copy.journal.machines[index];
            if !machine.served {
                continue;
            }
            let (name, overlays) = (machine.name.clone(), machine.overlays.clone());
            let mut is_free = true;
            for (disk, overlay) in overlays.iter().filter(|(_, path)| path.exists()) {
                is_free &= stand_on(overlay, &self.copy.disk_path(disk)).await?;
            }
            match is_free {
                true => {
                    self.copy.journal.machines[index].served = false;
                    self.copy.save()?;
                    told(ServingProgress::Settled(name));
                }
                false => waiting.push(name),
            }
        }
        Ok(waiting)
    }

    /// Lets guests run on that were stopped because a disk could not be read. A machine that is not reached is off, or
    /// somebody else's at the moment.
    async fn run_on(&self, told: Told<'_>) {
        for machine in self.copy.journal.machines.iter().filter(|machine| machine.served) {
            let Ok(puller) = connect(&machine.door).await else { continue };
            if puller.is_stopped_by_disk().await.unwrap_or(false) && puller.run_on().await.is_ok() {
                told(ServingProgress::RanOn(machine.name.clone()));
            }
        }
    }
}

/// Opens a copy by its folder alone.
pub(super) async fn open(vault: &Arc<Vault>, folder: &Path) -> Result<LocalCopy> {
    let journal = CopyJournal::read(folder)?;
    if journal.vault != vault.id() {
        let why = format!("it is of {} in the vault {}", journal.image, journal.vault);
        return Err(block::Error::new(block::ErrorKind::Invalid, why))
            .doing(|| format!("open the shared copy {}", folder.display()));
    }
    let point = vault.point(&journal.key, journal.point).await;
    let point = point.doing(|| format!("find the image {}", journal.image))?;
    LocalCopy::open(vault, &point, &journal.image, folder)
}

/// Has an overlay name a file as what it stands on. Says whether it could: not while its machine runs.
async fn stand_on(overlay: &Path, file: &Path) -> Result<bool> {
    let mut rebase = Command::new("qemu-img");
    rebase.args(["rebase", "-u", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(file).arg(overlay);
    unless_in_use(rebase).await.doing(|| format!("have {} stand on {}", overlay.display(), file.display()))
}

/// Runs qemu-img on an image; says whether nobody else had it open.
pub(super) async fn unless_in_use(mut command: Command) -> block::Result<bool> {
    let run = command.env("LC_ALL", "C").kill_on_drop(true).output().await;
    match check_run("qemu-img", run) {
        Err(error) if error.to_string().contains("lock") => Ok(false),
        other => other.map(|()| true),
    }
}
