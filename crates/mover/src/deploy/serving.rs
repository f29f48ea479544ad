//! Serving a shared copy to machines that run on it before it is whole, while the rest of it is fetched.
//!
//! Once it is whole, the overlays are told to stand on its files: of a machine that runs, as soon as it is off. When
//! none names the server any more, it ends.

use super::copy::{CopyJournal, Dependent, LocalCopy};
use crate::Throttle;
use crate::error::{Doing, Result};
use crate::image::check_run;
use crate::instant::{connect, in_words};
use crate::progress::Progress;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::sleep;
use vault::Vault;

/// How often the machines are looked at; less often where they are many, for each takes a moment.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY_MACHINE: Duration = Duration::from_millis(20);

/// What happens while a copy is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServingProgress {
    /// Data is fetched.
    Fetch(Progress),
    /// The rest cannot be brought here; guests may stand still. It is tried again, and counted anew.
    Unreadable(String),
    /// All of the image is here.
    Whole,
    /// A machine needs the server no more.
    Settled(String),
    /// It could not be seen to that a machine needs it no more, and why. It is tried again.
    Unsettled(String, String),
    /// These do still, until they were off once.
    Waiting(Vec<String>),
    /// A guest stood still for a disk and runs on.
    RanOn(String),
}

type Told<'a> = &'a (dyn Fn(ServingProgress) + Sync);

/// A copy that is served. Dropped, it is served no more: guests wait at their next read of something that is not
/// theirs, and [`resume`](Self::resume) goes on.
pub struct Serving {
    copy: Arc<LocalCopy>,
    /// The machines that are waited for; none: all.
    names: Option<BTreeSet<String>>,
    pace: Option<Arc<Throttle>>,
}

impl Serving {
    pub(super) fn new(copy: Arc<LocalCopy>) -> Self {
        Self { copy, names: None, pace: None }
    }

    /// Serves a copy again whose process ended.
    ///
    /// # Errors
    /// `NotFound` if the folder is none of a copy; `Unreachable` while another process is at it.
    pub async fn resume(vault: &Arc<Vault>, folder: &Path) -> Result<Self> {
        let copy = open(vault, folder).await?;
        copy.serve().await?;
        Ok(Self::new(copy))
    }

    /// Is over when the machines of these names need it no more. Somebody else sees to the others that stand on the copy.
    #[must_use]
    pub fn only(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { names: Some(names.into_iter().collect()), ..self }
    }

    /// Fetches the rest no faster than this lets it. What a machine reads does not wait for that.
    #[must_use]
    pub fn paced(self, pace: Arc<Throttle>) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// What is known of the copy.
    pub fn journal(&self) -> CopyJournal {
        self.copy.journal()
    }

    /// Bytes that came from the vault since it is served.
    pub fn fetched_bytes(&self) -> u64 {
        self.copy.fetched_bytes()
    }

    /// Bytes of the disks that are not whole yet: what [`follow`](Self::follow) counts up to.
    pub fn bytes_to_fill(&self) -> u64 {
        self.copy.bytes_to_fill()
    }

    /// Fetches the rest, and ends when no machine needs the server any more. Nothing that goes wrong ends it, for
    /// machines run on it: it is told, and tried again. Can be dropped at any time.
    pub async fn follow(self, told: Told<'_>) {
        tokio::select! {
            () = self.fill_up(told) => {}
            () = self.look_after(told) => unreachable!("it looks for as long as it is let"),
        }
        told(ServingProgress::Whole);
        let mut said = Vec::new();
        loop {
            let waiting = self.settle(told).await;
            if waiting.is_empty() {
                return self.copy.close().await;
            }
            let pause = pause(waiting.len());
            if waiting != said {
                told(ServingProgress::Waiting(waiting.clone()));
                said = waiting;
            }
            sleep(pause).await;
        }
    }

    /// Fetches the rest and does nothing else: for who only wants to know what that takes.
    pub async fn fill(&mut self) -> Result<()> {
        self.copy.fill(false, None, &|_| ()).await
    }

    /// Serves no more.
    pub async fn stop(self) {
        self.copy.close().await;
    }

    async fn fill_up(&self, told: Told<'_>) {
        let fetch = |progress| told(ServingProgress::Fetch(progress));
        while let Err(error) = self.copy.fill(false, self.pace.as_deref(), &fetch).await {
            told(ServingProgress::Unreadable(in_words(&error)));
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets guests run on while the rest comes, which may take hours: they stood still while nobody served them, or while
    /// the vault could not be read.
    async fn look_after(&self, told: Told<'_>) {
        loop {
            let served = self.served();
            for machine in &served {
                self.run_on(machine, told).await;
            }
            sleep(pause(served.len())).await;
        }
    }

    /// The machines that are waited for.
    fn served(&self) -> Vec<Dependent> {
        let is_meant = |name: &str| self.names.as_ref().is_none_or(|names| names.contains(name));
        let machines = self.copy.journal().machines.into_iter();
        machines.filter(|machine| machine.served && is_meant(&machine.name)).collect()
    }

    /// Has overlays of machines that are off stand on the files; gives the machines that still need the server.
    async fn settle(&self, told: Told<'_>) -> Vec<String> {
        let mut waiting = Vec::new();
        for machine in self.served() {
            // One that runs is not off: hundreds of them need not be tried each time.
            let settled = match self.run_on(&machine, told).await {
                true => Ok(false),
                false => self.settle_one(&machine).await,
            };
            let name = machine.name;
            match settled {
                Ok(true) => {
                    told(ServingProgress::Settled(name));
                    continue;
                }
                Ok(false) => {}
                Err(error) => told(ServingProgress::Unsettled(name.clone(), in_words(&error))),
            }
            waiting.push(name);
        }
        waiting
    }

    /// Says whether the machine was off.
    ///
    /// CRASH: an overlay names the one or the other, and both hold the same.
    async fn settle_one(&self, machine: &Dependent) -> Result<bool> {
        for (disk, overlay) in machine.overlays.iter().filter(|(_, path)| path.exists()) {
            if !stand_on(overlay, &self.copy.disk_path(disk)).await? {
                return Ok(false);
            }
        }
        self.copy.change(|journal| {
            for known in journal.machines.iter_mut().filter(|known| known.name == machine.name) {
                known.served = false;
            }
        })?;
        Ok(true)
    }

    /// Lets a guest run on that was stopped because a disk could not be read. Says whether the machine was reached: one
    /// that is not is off, or somebody else's at the moment.
    async fn run_on(&self, machine: &Dependent, told: Told<'_>) -> bool {
        let Ok(puller) = connect(&machine.door).await else { return false };
        if puller.is_stopped_by_disk().await.unwrap_or(false) && puller.run_on().await.is_ok() {
            told(ServingProgress::RanOn(machine.name.clone()));
        }
        true
    }
}

fn pause(machines: usize) -> Duration {
    LOOK_EVERY + LOOK_EVERY_MACHINE * u32::try_from(machines).unwrap_or(u32::MAX)
}

/// Opens a copy by its folder alone.
pub(super) async fn open(vault: &Arc<Vault>, folder: &Path) -> Result<Arc<LocalCopy>> {
    let journal = CopyJournal::read(folder)?;
    if journal.vault != vault.id() {
        let why = format!("it is of {} in the vault {}", journal.image, journal.vault);
        return Err(block::Error::new(block::ErrorKind::Invalid, why))
            .doing(|| format!("open the shared copy {}", folder.display()));
    }
    let point = vault.point(&journal.key, journal.point).await;
    let point = point.doing(|| format!("find the image {}", journal.image))?;
    LocalCopy::open(vault, &point, &journal.image, folder).await
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
