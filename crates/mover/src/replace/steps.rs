//! One step after the other, forwards and back.

use super::disks;
use super::journal::{Journal, Stage};
use crate::backup::{BackupRequest, Gate, backup};
use crate::error::{Doing, Result};
use crate::image::ImageFormat;
use crate::progress::Progress;
use crate::restore::{partial, restore_disk};
use hypervisor::offline::{Format, Image, OfflineMachine};
use hypervisor::recreate::Stop;
use hypervisor::{DiskSelection, FreezeRequest, Level};
use jiff::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{Point, PointId, SessionId, Vault};

/// How the present state becomes a point.
#[derive(Clone)]
pub struct SafetyPoint {
    /// The vault it goes to; none: the one that the machine comes back from.
    pub into: Option<Arc<Vault>>,
    /// Its id, fresh for each attempt: one that died may have used up its own.
    pub point: PointId,
    /// The session to write it in: a fresh id of version 7.
    pub session: SessionId,
    /// What a service wants to find again with it; null for none.
    pub service: Value,
    /// Is asked before it is committed.
    pub gate: Option<Gate>,
    /// An existing folder on this host, for sockets.
    pub scratch: PathBuf,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
}

/// A replacement under way.
#[derive(Debug)]
pub struct Replacement {
    journal: Journal,
    path: PathBuf,
}

impl Replacement {
    pub(super) fn of(journal: Journal) -> Self {
        let path = journal.path();
        Self { journal, path }
    }

    /// Takes one up where it was left.
    pub fn load(journal: &Path) -> Result<Self> {
        Ok(Self { journal: Journal::read(journal)?, path: journal.to_owned() })
    }

    /// What is written down.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does the next thing; says whether there was one. CRASH: it was done and written down, or is done again, to the
    /// same effect.
    pub async fn advance(
        &mut self,
        vault: &Arc<Vault>,
        safety: &SafetyPoint,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<bool> {
        let tell = |step: &str| progress(Progress::Step(step.into()));
        let next = match self.journal.stage {
            Stage::Planned => {
                if let Some(how) = self.journal.stop
                    && !self.is_off().await?
                {
                    tell("Stop machine");
                    self.journal.owner.stop(how).await?;
                }
                self.must_be_off().await?;
                Stage::Stopped
            }
            Stage::Stopped => {
                tell("Save the present state");
                self.save(vault, safety, progress).await?;
                Stage::Safe
            }
            Stage::Safe if self.restore_one(vault, progress).await? => return Ok(true),
            Stage::Safe => Stage::Restored,
            Stage::Restored => {
                self.must_be_off().await?;
                if self.swap_one()? {
                    return Ok(true);
                }
                Stage::Swapped
            }
            Stage::Swapped => {
                if self.journal.was_running && self.is_off().await? {
                    tell("Start machine");
                    self.journal.owner.start().await?;
                }
                Stage::Done
            }
            Stage::Undoing => return Err(self.journal.refused("it is being undone: finish that first")),
            Stage::Done | Stage::Undone => return Ok(false),
        };
        self.enter(next)?;
        Ok(true)
    }

    /// Puts everything back, however far it came. What the machine wrote since stays beside the disks. CRASH: called
    /// again, it goes on.
    pub async fn undo(&mut self, stop: Option<Stop>, progress: &(dyn Fn(Progress) + Sync)) -> Result<()> {
        if self.journal.stage == Stage::Undone {
            return Ok(());
        }
        let is_swapped = self.journal.disks.iter().any(|swap| self.journal.kept(swap).exists());
        if is_swapped && !self.is_off().await? {
            match stop {
                Some(how) => {
                    progress(Progress::Step("Stop machine".into()));
                    self.journal.owner.stop(how).await?;
                }
                None => return Err(self.journal.refused("the machine runs: shut it down first")),
            }
        }
        self.enter(Stage::Undoing)?;
        for swap in &self.journal.disks {
            let (kept, fresh) = (self.journal.kept(swap), self.journal.fresh(swap));
            if kept.exists() {
                if swap.original.exists() {
                    disks::rename(&swap.original, &self.journal.undone(swap))?;
                }
                disks::rename(&kept, &swap.original)?;
            }
            // No guest has seen these.
            disks::remove(&fresh)?;
            disks::remove(&partial(&fresh))?;
        }
        self.enter(Stage::Undone)?;
        if self.journal.was_running && self.is_off().await? {
            progress(Progress::Step("Start machine".into()));
            self.journal.owner.start().await?;
        }
        Ok(())
    }

    /// What was kept and would be removed: the originals, or after undoing what was restored.
    pub fn kept(&self) -> Vec<PathBuf> {
        let disks = self.journal.disks.iter();
        let both = disks.flat_map(|swap| [self.journal.kept(swap), self.journal.undone(swap)]);
        both.filter(|path| path.exists()).collect()
    }

    /// Removes what was kept, and the journal last.
    ///
    /// # Errors
    /// When the replacement is neither done nor undone: it could not be undone any more.
    pub fn remove_kept(self) -> Result<()> {
        if !matches!(self.journal.stage, Stage::Done | Stage::Undone) {
            return Err(self
                .journal
                .refused("it is not finished: finish or undo it before the originals go"));
        }
        self.kept().iter().try_for_each(|path| disks::remove(path))?;
        disks::remove(&self.path)
    }

    fn enter(&mut self, stage: Stage) -> Result<()> {
        self.journal.stage = stage;
        self.journal.write(&self.path)
    }

    async fn is_off(&self) -> Result<bool> {
        self.journal.owner.is_off(&self.journal.disks).await
    }

    async fn must_be_off(&self) -> Result<()> {
        match self.is_off().await? {
            true => Ok(()),
            false => Err(self.journal.refused("the machine runs: shut it down first")),
        }
    }

    /// Makes the safety point, unless an earlier attempt has.
    ///
    /// CRASH: the point that the journal names is there, or nobody will ever make it.
    async fn save(
        &mut self,
        source: &Arc<Vault>,
        safety: &SafetyPoint,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        let Some(id) = self.journal.safety else { return Ok(()) };
        let vault = safety.into.as_ref().unwrap_or(source);
        // A store that is gone takes what is written to it all the same, and nobody would find it again.
        Vault::info_of(vault.store())
            .await
            .doing(|| "find the vault that the present state goes to".into())?;
        let there =
            vault.survey(None).await.doing(|| "see whether the present state is a point".into())?.points;
        if there.iter().any(|point| point.id == id) {
            return Ok(());
        }
        self.journal.safety = Some(safety.point);
        self.journal.write(&self.path)?;
        let points = source.survey(None).await.doing(|| "find the point".into())?.points;
        let of = self.point(&points)?;
        let doing = || "read the present disks".to_owned();
        // A TPM's files are none of disks: they are kept as they are, like all originals.
        let is_tpm = |name: &str| {
            let firmware = of.description["firmware"].as_array().into_iter().flatten();
            firmware.into_iter().any(|file| file["name"] == name && file["kind"] == "tpm")
        };
        let mut images = Vec::new();
        for swap in self.journal.disks.iter().filter(|swap| !is_tpm(&swap.disk)) {
            images.push(Image {
                name: swap.disk.clone(),
                path: swap.original.clone(),
                format: swap.format.parse::<Format>().doing(doing)?,
                key_file: None,
                // It is the machine's own disk, which its QEMU follows anywhere.
                may_reach_outside: true,
            });
        }
        let uuid = of.description["uuid"].as_str();
        let machine = OfflineMachine::new(&self.journal.machine_name, uuid, images).doing(doing)?;
        let request = BackupRequest {
            point: safety.point,
            session: safety.session,
            kept_as: Some((of.machine.clone(), of.machine_name.clone())),
            service: safety.service.clone(),
            gate: safety.gate.clone(),
            wish: Level::Crash,
            may_fall: true,
            full: false,
            disks: DiskSelection::All,
            audit_blocks: crate::AUDIT_BLOCKS,
            throttles: Vec::new(),
            back_off: false,
            scratch: safety.scratch.clone(),
            freeze_timeout: FreezeRequest::FREEZE_TIMEOUT,
            watchdog: None,
            clock: safety.clock,
        };
        Box::pin(backup(&machine, vault, &request, progress)).await.map(drop)
    }

    fn point<'a>(&self, points: &'a [Point]) -> Result<&'a Point> {
        let found = points.iter().find(|point| point.id == self.journal.point);
        found.ok_or_else(|| self.journal.refused("its point is not in this vault any more"))
    }

    /// Restores the next disk that is not there yet; says whether there was one.
    async fn restore_one(&self, vault: &Arc<Vault>, progress: &(dyn Fn(Progress) + Sync)) -> Result<bool> {
        let is_missing = |swap: &&super::Swap| !self.journal.fresh(swap).exists();
        let Some(swap) = self.journal.disks.iter().find(is_missing) else { return Ok(false) };
        let survey = vault.survey(None).await.doing(|| "find the point".into())?;
        let point = self.point(&survey.points)?;
        let record = point.disk(&swap.disk).doing(|| "find the disk in the point".into())?;
        let format =
            ImageFormat::of(&swap.format).ok_or_else(|| self.journal.refused("its format is not written"))?;
        let fresh = self.journal.fresh(swap);
        disks::remove(&partial(&fresh))?; // of an attempt that was killed
        let (name, size) = (swap.disk.clone(), record.map.size);
        progress(Progress::Disk { name, size, tracking: String::new() });
        restore_disk(vault, record, &fresh, format, progress).await?;
        progress(Progress::DiskDone);
        Ok(true)
    }

    /// Does the next rename; says whether there was one.
    fn swap_one(&self) -> Result<bool> {
        for swap in &self.journal.disks {
            let fresh = self.journal.fresh(swap);
            if !fresh.exists() {
                continue; // it has the original's name
            }
            match swap.original.exists() {
                true => {
                    disks::give_as(&swap.original, &fresh)?;
                    disks::rename(&swap.original, &self.journal.kept(swap))?;
                }
                false => disks::rename(&fresh, &swap.original)?,
            }
            return Ok(true);
        }
        Ok(false)
    }
}
