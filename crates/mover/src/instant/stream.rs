//! The machine of an instant restore, and its data following.

use super::journal::{Door, InstantDisk};
use super::{InstantRestore, Journal};
use crate::error::{Doing, Error, Result};
use crate::image::check_run;
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::{Puller, Pulling, Qmp};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// How often the machine is looked at. A guest that was stopped stands no longer than this after what stopped it is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two attempts to let a stopped guest run on, at the most: what stops it may be a full disk.
const RUN_ON_EVERY_MAX: Duration = Duration::from_secs(30);
/// How often the journal notes progress.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// What happens while data follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstantProgress {
    /// The machine is not reached: not started yet, or ended. It is looked for again.
    Waiting(String),
    /// The machine is reached.
    Reached,
    /// A disk's data follows.
    Disk {
        /// Its name.
        name: String,
        /// Bytes dealt with.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// A disk stands alone.
    Whole(String),
    /// The vault cannot be read; the guest may stand still. It is tried again.
    Unreadable(String),
    /// The guest stood still and runs on.
    RanOn,
}

type Told<'a> = &'a (dyn Fn(InstantProgress) + Sync);

impl InstantRestore {
    /// Waits for the machine, has its disks' data follow, and ends when nothing needs the server any more. A guest that
    /// stands because a disk could not be read runs on as soon as it can; one that somebody paused stays so.
    ///
    /// Can be dropped at any time.
    pub async fn follow(mut self, told: Told<'_>) -> Result<Journal> {
        let mut course = Course::new();
        while self.journal.hungry().next().is_some() {
            let puller = self.reach(told).await;
            match self.pull_in(&*puller, &mut course, told).await {
                // It ended, or something else is at work on it: neither is the end of the restore.
                Err(error @ Error::Machine(..)) => told(InstantProgress::Waiting(in_words(&error))),
                other => other?,
            }
            sleep(LOOK_EVERY).await;
        }
        self.leave().await
    }

    /// Completes the images of a machine that does not run.
    ///
    /// CRASH: leaves images as good as before; what was copied need not be copied again.
    pub async fn finish(mut self, told: Told<'_>) -> Result<Journal> {
        for index in 0..self.journal.disks.len() {
            let disk = &self.journal.disks[index];
            if disk.whole {
                continue;
            }
            let doing = || format!("complete the image {}", disk.image.display());
            let mut rebase = Command::new("qemu-img");
            rebase.args(["rebase", "-q", "-f", "qcow2", "-b", ""]).arg(&disk.image).kill_on_drop(true);
            check_run("qemu-img", rebase.output().await).doing(doing)?;
            let mut check = Command::new("qemu-img");
            check.args(["check", "-q", "-f", "qcow2"]).arg(&disk.image).kill_on_drop(true);
            check_run("qemu-img", check.output().await).doing(doing)?;
            self.note_whole(index, told)?;
        }
        self.leave().await
    }

    /// Returns when the machine is there.
    async fn reach(&self, told: Told<'_>) -> Box<dyn Puller> {
        let mut said = String::new();
        loop {
            match connect(&self.journal.door).await {
                Ok(puller) => {
                    told(InstantProgress::Reached);
                    return puller;
                }
                Err(error) if error.to_string() != said => {
                    said = error.to_string();
                    told(InstantProgress::Waiting(said.clone()));
                }
                Err(_) => {}
            }
            self.keep_boots();
            sleep(LOOK_EVERY).await;
        }
    }

    /// Has the data of all disks follow, as long as the machine can be reached.
    async fn pull_in(&mut self, puller: &dyn Puller, course: &mut Course, told: Told<'_>) -> Result<()> {
        while self.journal.hungry().next().is_some() {
            let readable = self.readable(told).await;
            for index in 0..self.journal.disks.len() {
                if !self.journal.disks[index].whole {
                    self.look(puller, index, readable, told).await?;
                }
            }
            if readable && course.may_run_on() {
                let doing = || "look at the machine".to_owned();
                if puller.is_stopped_by_disk().await.doing(doing)? {
                    puller.run_on().await.doing(|| "let the machine run on".to_owned())?;
                    course.ran_on();
                    told(InstantProgress::RanOn);
                } else {
                    course.runs();
                }
            }
            if course.is_to_note() {
                self.journal.save(self.folder.path())?;
                self.keep_boots();
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Looks at one disk, and does what is next for it.
    async fn look(
        &mut self,
        puller: &dyn Puller,
        index: usize,
        readable: bool,
        told: Told<'_>,
    ) -> Result<()> {
        let InstantDisk { name, image, .. } = &self.journal.disks[index];
        let stands = puller.look(image).await.doing(|| format!("look at disk {name}"))?;
        match stands {
            Pulling::Alone => return self.note_whole(index, told),
            Pulling::Under { done, total } => {
                // A job of an earlier process's may have another limit.
                if !std::mem::replace(&mut self.paced[index], true) {
                    puller.pull(image, self.speed).await.doing(|| format!("pace the data of disk {name}"))?;
                }
                told(InstantProgress::Disk { name: name.clone(), done, total });
                self.journal.disks[index].done = done;
            }
            Pulling::Idle | Pulling::Held if readable => {
                puller
                    .pull(image, self.speed)
                    .await
                    .doing(|| format!("have the data of disk {name} follow"))?;
            }
            Pulling::Idle | Pulling::Held => {}
        }
        Ok(())
    }

    fn note_whole(&mut self, index: usize, told: Told<'_>) -> Result<()> {
        let disk = &mut self.journal.disks[index];
        (disk.whole, disk.done) = (true, disk.size);
        told(InstantProgress::Whole(disk.name.clone()));
        self.journal.save(self.folder.path())
    }

    /// Whether the vault can be read, as far as is known.
    async fn readable(&self, told: Told<'_>) -> bool {
        for (name, disk) in &self.served {
            if !disk.is_readable().await {
                told(InstantProgress::Unreadable(name.clone()));
                return false;
            }
        }
        true
    }

    fn keep_boots(&self) {
        self.served.iter().for_each(|(_, disk)| disk.keep_boot());
    }
}

/// When what was done last, so that it is not done too often.
struct Course {
    noted: Instant,
    ran_on: Instant,
    wait: Duration,
}

impl Course {
    fn new() -> Self {
        let now = Instant::now();
        Self { noted: now, ran_on: now, wait: Duration::ZERO }
    }

    fn may_run_on(&self) -> bool {
        self.ran_on.elapsed() >= self.wait
    }

    /// Should it stand again at once, it is let run less often.
    fn ran_on(&mut self) {
        self.ran_on = Instant::now();
        self.wait = (self.wait * 2).clamp(LOOK_EVERY, RUN_ON_EVERY_MAX);
    }

    fn runs(&mut self) {
        self.wait = Duration::ZERO;
    }

    fn is_to_note(&mut self) -> bool {
        let due = self.noted.elapsed() >= NOTE_EVERY;
        if due {
            self.noted = Instant::now();
        }
        due
    }
}

pub(crate) async fn connect(door: &Door) -> hypervisor::Result<Box<dyn Puller>> {
    Ok(match door {
        Door::Qmp(socket) => Box::new(Qmp::connect(Path::new(socket)).await?),
        Door::Libvirt(uri, name) => Box::new(LibvirtMachine::connect(uri, name).await?),
    })
}

pub(crate) fn in_words(error: &Error) -> String {
    let because = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{because}")
}
