//! The copy of an image on this host that its machines share: a folder with a file for each disk, and a journal of what
//! it is and who stands on it.
//!
//! One process at a time works on it, whoever holds the lock; machines only read its files, or ask its server.

use super::overlay::Backing;
use super::shared::SharedDisk;
use crate::error::{Doing, Error, Result};
use crate::instant::Door;
use crate::progress::Progress;
use crate::restore::{file_name, is_firmware};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{MachineKey, Point, PointDisk, PointId, Vault, VaultId};

const JOURNAL: &str = "image.json";
const LOCK: &str = "image.lock";
const SERVER: &str = "nbd.sock";
/// The version of the journal's shape.
const VERSION: u32 = 1;
/// A thousand machines, a kilobyte each.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;
/// Others than its owner may go through it: who runs the machines.
const MODE: u32 = 0o755;
/// For a QEMU that starts while the server is being started.
const OPEN_SECONDS: u64 = 30;
/// Connections that its server serves: of a thousand machines with four disks each.
const CONNECTIONS_MAX: usize = 4096;
/// The disks' own cache of what was fetched is of no use: it lies in the files.
const KEPT_BYTES: u64 = 0;

/// A machine that stands on a shared copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependent {
    /// Its name.
    pub name: String,
    /// Its overlays, each by the name of its disk.
    pub overlays: Vec<(String, PathBuf)>,
    /// How it is reached while it runs.
    pub door: Door,
    /// Whether its overlays name the server rather than the files: until the copy is whole, and it was off once since.
    pub served: bool,
}

impl Dependent {
    /// Whether anything of it is there. One that somebody deleted needs nothing.
    pub fn exists(&self) -> bool {
        self.overlays.iter().any(|(_, path)| path.exists())
    }
}

/// What is known of a shared copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyJournal {
    version: u32,
    /// The vault that has the image.
    pub vault: VaultId,
    /// Under what name the image's versions are kept there.
    pub key: MachineKey,
    /// The version, as a point.
    pub point: PointId,
    /// The version, in words: `web:3`.
    pub image: String,
    /// Whether all of it is there.
    pub whole: bool,
    /// Who stands on it.
    pub machines: Vec<Dependent>,
}

impl CopyJournal {
    /// Reads the journal of a copy's folder.
    ///
    /// # Errors
    /// `NotFound` if it has none, `Corrupt` if it is none of ours.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(JOURNAL);
        let doing = || format!("read the journal {}", path.display());
        let length = std::fs::metadata(&path).map_err(|e| block::Error::io("find it", e)).doing(doing)?.len();
        let corrupt = |why: String| Error::Disk(doing(), block::Error::new(block::ErrorKind::Corrupt, why));
        if length > JOURNAL_BYTES_MAX {
            return Err(corrupt("it is longer than any journal".into()));
        }
        let text = std::fs::read(&path).map_err(|e| block::Error::io("read it", e)).doing(doing)?;
        let journal: Self = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
        if journal.version != VERSION {
            return Err(corrupt(format!("it is of version {}: use a newer strongroom", journal.version)));
        }
        Ok(journal)
    }

    /// Machines that are there.
    pub fn dependents(&self) -> impl Iterator<Item = &Dependent> {
        self.machines.iter().filter(|machine| machine.exists())
    }
}

/// A shared copy that nobody else works on.
pub struct LocalCopy {
    path: PathBuf,
    pub(super) journal: CopyJournal,
    disks: Vec<(String, Arc<SharedDisk>)>,
    firmware: Vec<String>,
    _lock: File,
}

impl LocalCopy {
    /// Where the copy of an image's version lies among the machines of a folder.
    pub fn folder(machines: &Path, image: &str) -> PathBuf {
        machines.join(format!("image-{}", image.replace(':', "-")))
    }

    /// Opens the copy of a point, or begins one.
    ///
    /// # Errors
    /// `Unreachable` while another process is at it; `Invalid` if it is of something else.
    pub fn open(vault: &Arc<Vault>, point: &Point, image: &str, folder: &Path) -> Result<Self> {
        let doing = || format!("open the shared copy {}", folder.display());
        if !folder.is_dir() {
            let made = DirBuilder::new().mode(MODE).create(folder);
            made.map_err(|e| block::Error::io("make its folder", e)).doing(doing)?;
        }
        let path = folder.canonicalize().map_err(|e| block::Error::io("find it", e)).doing(doing)?;
        let lock = lock(&path).doing(doing)?;
        let journal = match CopyJournal::read(&path) {
            Err(Error::Disk(_, error)) if error.kind() == block::ErrorKind::NotFound => CopyJournal {
                version: VERSION,
                vault: vault.id(),
                key: point.machine.clone(),
                point: point.id,
                image: image.to_owned(),
                whole: false,
                machines: Vec::new(),
            },
            known => known?,
        };
        if (journal.vault, journal.point) != (vault.id(), point.id) {
            let why =
                format!("it is of {} (point {} of vault {})", journal.image, journal.point, journal.vault);
            return Err(Error::Disk(doing(), block::Error::new(block::ErrorKind::Invalid, why)));
        }
        let disks = point.disks.iter().map(|record| {
            let source = PointDisk::new(Arc::clone(vault), record.map.clone()).keeping(KEPT_BYTES);
            let shared = SharedDisk::open(&disk_path(&path, &record.name), Arc::new(source)).doing(doing)?;
            Ok((record.name.clone(), Arc::new(shared)))
        });
        let disks = disks.collect::<Result<Vec<_>>>()?;
        let names = disks.iter().map(|(name, _)| name);
        let firmware = names.filter(|name| is_firmware(point, name)).cloned().collect();
        let copy = Self { path, journal, disks, firmware, _lock: lock };
        copy.save()?;
        Ok(copy)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of it.
    pub fn journal(&self) -> &CopyJournal {
        &self.journal
    }

    /// Bytes that came from the vault since it was opened.
    pub fn fetched_bytes(&self) -> u64 {
        self.disks.iter().map(|(_, disk)| disk.fetched_bytes()).sum()
    }

    /// A disk of it.
    pub(super) fn disk(&self, name: &str) -> &Arc<SharedDisk> {
        &self.disks.iter().find(|(known, _)| known == name).expect("the point's disks are its own").1
    }

    /// Where the file of a disk is.
    pub(super) fn disk_path(&self, name: &str) -> PathBuf {
        disk_path(&self.path, name)
    }

    /// Where its server listens.
    pub(super) fn server(&self) -> PathBuf {
        self.path.join(SERVER)
    }

    /// What an overlay of a disk stands on.
    pub(super) fn backing(&self, disk: &str, served_for: Option<u64>) -> Backing {
        let Some(patience_s) = served_for else {
            return Backing { name: self.disk_path(disk).display().to_string(), format: "raw" };
        };
        let server = json!({ "type": "unix", "path": self.server() });
        let nbd = json!({ "driver": "nbd", "export": disk, "server": server, "reconnect-delay": patience_s,
                          "open-timeout": OPEN_SECONDS });
        Backing { name: format!("json:{}", json!({ "driver": "raw", "file": nbd })), format: "raw" }
    }

    /// Fetches all that is missing, of the firmware's files only if that is wished.
    pub(super) async fn fill(
        &mut self,
        firmware_only: bool,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        for (name, disk) in &self.disks {
            if disk.is_whole() || (firmware_only && !self.firmware.contains(name)) {
                continue;
            }
            let doing = || format!("fetch disk {name} of {}", self.journal.image);
            let tracking = "what is not there yet".to_owned();
            progress(Progress::Disk {
                name: name.clone(),
                size: block::BlockSource::size(&**disk),
                tracking,
            });
            let filled = disk.fill(&|bytes| progress(Progress::Advance(bytes))).await;
            // What came before it failed stays.
            disk.keep().await.doing(doing)?;
            filled.doing(doing)?;
            progress(Progress::DiskDone);
        }
        if self.disks.iter().all(|(_, disk)| disk.is_whole()) && !self.journal.whole {
            self.journal.whole = true;
            self.save()?;
        }
        Ok(())
    }

    /// Serves its disks to machines that stand on what is not whole.
    pub(super) async fn serve(&self) -> Result<nbd::RunningServer> {
        let socket = self.server();
        let doing = || format!("serve on {}", socket.display());
        let mut server = nbd::Server::new().serving(CONNECTIONS_MAX);
        for (name, disk) in &self.disks {
            let source: Arc<dyn block::BlockSource> = Arc::<SharedDisk>::clone(disk);
            // Why without status: `docs/instant.md`.
            server = server.export(name, nbd::Export::read_only(source).without_status()).doing(doing)?;
        }
        server.listen(&nbd::Address::Unix(socket.clone())).await.doing(doing)
    }

    /// Writes the journal. CRASH: the old one stands until the new one is whole and durable.
    pub(super) fn save(&self) -> Result<()> {
        let path = self.path.join(JOURNAL);
        let text = serde_json::to_string_pretty(&self.journal).expect("plain data") + "\n";
        let partial = self.path.join(format!("{JOURNAL}.partial"));
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            File::open(&self.path)?.sync_all()
        });
        let written = written.map_err(|e| block::Error::io("write it", e));
        written.doing(|| format!("write the journal {}", path.display()))
    }
}

fn disk_path(folder: &Path, disk: &str) -> PathBuf {
    folder.join(format!("{}.raw", file_name(disk)))
}

fn lock(folder: &Path) -> block::Result<File> {
    let locked = File::options().create(true).append(true).open(folder.join(LOCK)).and_then(|lock| {
        lock.try_lock()?;
        Ok(lock)
    });
    locked.map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            block::Error::new(block::ErrorKind::Unreachable, "another process is at work on it")
        }
        _ => block::Error::io("lock it", error),
    })
}
