//! What a replacement has done so far, written down.

use super::machine::Owner;
use crate::error::{Doing, Error, Result};
use crate::restore_into::{io, sync_folder};
use hypervisor::recreate::Stop;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vault::PointId;

/// The version of this file.
const FORMAT: u16 = 1;
/// A machine has some dozens of disks.
const JOURNAL_BYTES_MAX: u64 = 4 << 20;

/// A replacement, as it lies in `strongroom-restore-ID.json` beside the machine's first disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    pub(super) format: u16,
    /// Its id. Its beginning is part of the names of files.
    pub id: Uuid,
    /// The point that the machine goes back to.
    pub point: PointId,
    /// The vault it lies in.
    pub vault: Uuid,
    /// What people call the machine.
    pub machine_name: String,
    /// The point of the state before; none if nobody wanted one.
    pub safety: Option<PointId>,
    /// How far it is.
    pub stage: Stage,
    /// Its disks.
    pub disks: Vec<Swap>,
    pub(super) owner: Owner,
    pub(super) stop: Option<Stop>,
    /// Whether it ran before, and so shall again.
    pub was_running: bool,
}

/// How far a replacement is; the table in `replace/mod.rs` says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Waits for the machine to be stopped.
    Planned,
    /// Waits for the safety point.
    Stopped,
    /// Waits for the disks to be restored.
    Safe,
    /// Waits for the disks to be swapped; some may be.
    Restored,
    /// Waits for the machine to be started.
    Swapped,
    /// Nothing is left to do but to remove what was kept.
    Done,
    /// Some disks are as they were before, and all will be.
    Undoing,
    /// All is as it was before.
    Undone,
}

/// A disk, or a file of firmware, that is replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// Its name in the point.
    pub disk: String,
    /// Its file.
    pub original: PathBuf,
    /// `raw` or `qcow2`.
    pub format: String,
}

impl Journal {
    pub(super) fn format() -> u16 {
        FORMAT
    }

    /// Where the restored disk lies until it is swapped.
    pub fn fresh(&self, swap: &Swap) -> PathBuf {
        self.beside(swap, "restore")
    }

    /// Where the original lies from then on.
    pub fn kept(&self, swap: &Swap) -> PathBuf {
        self.beside(swap, "before-restore")
    }

    /// Where the restored disk lies once that was undone.
    pub fn undone(&self, swap: &Swap) -> PathBuf {
        self.beside(swap, "undone-restore")
    }

    fn beside(&self, swap: &Swap, what: &str) -> PathBuf {
        PathBuf::from(format!("{}.{what}-{}", swap.original.display(), self.short_id()))
    }

    fn short_id(&self) -> String {
        self.id.simple().to_string()[24..].to_owned()
    }

    /// Where it is written down.
    pub(super) fn path(&self) -> PathBuf {
        let folder = self.disks.first().and_then(|swap| swap.original.parent()).unwrap_or(Path::new("/"));
        folder.join(format!("strongroom-restore-{}.json", self.short_id()))
    }

    /// Reads one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let doing = || format!("read the journal of a restore {}", path.display());
        let size = fs::metadata(path).map_err(|e| io("read", path, e))?.len();
        let refused = |text: String| Err(block::Error::new(block::ErrorKind::Invalid, text)).doing(doing);
        if size > JOURNAL_BYTES_MAX {
            return refused("it is no journal: too large".into());
        }
        let text = fs::read(path).map_err(|e| io("read", path, e))?;
        let read: serde_json::Result<Self> = serde_json::from_slice(&text);
        match read {
            Ok(journal) if journal.format != FORMAT => {
                refused(format!("it has the format {}, and this program knows {FORMAT}", journal.format))
            }
            Ok(journal) if journal.disks.is_empty() => refused("it names no disks".into()),
            Ok(journal) => Ok(journal),
            Err(error) => refused(format!("it is no journal: {error}")),
        }
    }

    /// Writes it down. CRASH: the file holds what it did before, or this.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        let partial = PathBuf::from(format!("{}.partial", path.display()));
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            sync_folder(path)
        });
        written.map_err(|e| io("write", path, e))
    }

    /// An error of a replacement that may not go on.
    pub(super) fn refused(&self, why: &str) -> Error {
        let text = format!("go on with the restore of {}", self.machine_name);
        Error::Disk(text, block::Error::new(block::ErrorKind::Invalid, why.to_owned()))
    }
}
