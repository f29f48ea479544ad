//! What is known on disk of an instant restore: `instant.json` in its folder.
//!
//! Written anew and renamed at each step, so that it is always whole. What it says of a disk's progress may be behind;
//! QEMU and the images themselves are asked before anything is concluded from it.

use crate::error::{Doing, Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vault::{MachineKey, PointId, VaultId};

/// The journal's name in the folder.
pub(super) const NAME: &str = "instant.json";
/// The version of its shape.
const VERSION: u32 = 1;
/// A journal is a few lines a disk.
const BYTES_MAX: u64 = 4 << 20;

/// How far an instant restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The images are being made. Nothing has run on them.
    Preparing,
    /// The images need the server.
    Serving,
    /// The images stand alone.
    Whole,
}

/// How a machine is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// A monitor that is ours alone.
    Qmp(PathBuf),
    /// A libvirt, by its address and the machine's name.
    Libvirt(String, String),
}

/// A disk of an instant restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstantDisk {
    /// Its name in the point, and its export's.
    pub name: String,
    /// Its image.
    pub image: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Whether it is a file of the machine's firmware: those are restored whole, as they were.
    pub firmware: bool,
    /// Whether the image needs the server no more.
    pub whole: bool,
    /// Bytes of it that are dealt with.
    pub done: u64,
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    version: u32,
    /// How far it is.
    pub state: State,
    /// The vault.
    pub vault: VaultId,
    /// Where it was.
    pub location: String,
    /// Of which machine.
    pub machine: MachineKey,
    /// What that was called.
    pub machine_name: String,
    /// The point.
    pub point: PointId,
    /// How the restored machine is reached.
    pub door: Door,
    /// The job that made it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    /// Where the machine's sockets and logs are, if they are in the restore's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_folder: Option<PathBuf>,
    /// Seconds that its reads wait for a server.
    pub patience_s: u64,
    /// Its disks.
    pub disks: Vec<InstantDisk>,
}

impl Journal {
    /// A new one, of nothing done yet.
    pub(super) fn new(request: &super::InstantRequest, vault: VaultId, door: Door) -> Self {
        let point = &request.point;
        Self {
            version: VERSION,
            state: State::Preparing,
            vault,
            location: request.vault.clone(),
            machine: point.machine.clone(),
            machine_name: point.machine_name.clone(),
            point: point.id,
            door,
            job: request.job,
            run_folder: request.run_folder.clone(),
            patience_s: request.patience.as_secs(),
            disks: Vec::new(),
        }
    }

    /// Reads the journal of a folder.
    ///
    /// # Errors
    /// `NotFound` if it has none, `Corrupt` if it is none of ours.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let doing = || format!("read the journal {}", path.display());
        let length = std::fs::metadata(&path).map_err(|e| block::Error::io("find it", e)).doing(doing)?.len();
        let corrupt = |why: String| Error::Disk(doing(), block::Error::new(block::ErrorKind::Corrupt, why));
        if length > BYTES_MAX {
            return Err(corrupt("it is longer than any journal".into()));
        }
        let text = std::fs::read(&path).map_err(|e| block::Error::io("read it", e)).doing(doing)?;
        let journal: Self = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
        if journal.version != VERSION {
            return Err(corrupt(format!("it is of version {}: use a newer strongroom", journal.version)));
        }
        Ok(journal)
    }

    /// Writes it. CRASH: the old one stands until the new one is whole and durable.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        let partial = folder.join(format!("{NAME}.partial"));
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            File::open(folder)?.sync_all()
        });
        let written = written.map_err(|e| block::Error::io("write it", e));
        written.doing(|| format!("write the journal {}", path.display()))
    }

    /// The disks whose images need the server.
    pub fn hungry(&self) -> impl Iterator<Item = &InstantDisk> {
        self.disks.iter().filter(|disk| !disk.whole)
    }
}
