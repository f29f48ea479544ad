//! The copy of an image on this host that its machines share: a folder with a file for each disk, and a journal of what
//! it is and who stands on it.
//!
//! One process at a time works on it, whoever holds the lock; machines only read its files, or ask its server. Within that
//! process all who work on it share one handle, and with it the server: machines are added while others are served.

use super::overlay::Backing;
use super::shared::SharedDisk;
use crate::Throttle;
use crate::error::{Doing, Error, Result};
use crate::instant::Door;
use crate::progress::Progress;
use crate::restore::{file_name, is_firmware};
use hypervisor::Hold;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
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
/// For somebody who is just letting go of it: a program that ends, a claim that was lost.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_LOOK: Duration = Duration::from_millis(100);

/// The copies that this process has open, by their folders. The lock is the process's, and so is this.
static OPEN: Mutex<BTreeMap<PathBuf, Weak<LocalCopy>>> = Mutex::new(BTreeMap::new());

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

    /// Refuses a copy of something else.
    fn is_of(&self, vault: &Vault, point: &Point) -> block::Result<()> {
        if (self.vault, self.point) == (vault.id(), point.id) {
            return Ok(());
        }
        let why = format!("it is of {} (point {} of vault {})", self.image, self.point, self.vault);
        Err(block::Error::new(block::ErrorKind::Invalid, why))
    }

    /// Machines that are there.
    pub fn dependents(&self) -> impl Iterator<Item = &Dependent> {
        self.machines.iter().filter(|machine| machine.exists())
    }
}

/// A shared copy that no other process works on. Dropped by all who have it, it is served no more.
pub struct LocalCopy {
    path: PathBuf,
    journal: Mutex<CopyJournal>,
    disks: Vec<(String, Arc<SharedDisk>)>,
    firmware: Vec<String>,
    /// Held by whoever makes machines on it: two attempts of one job must not make the same ones.
    making: tokio::sync::Mutex<()>,
    /// INVARIANT: stands before the lock, so that its socket is gone by the time that somebody else may make one.
    server: OnceCell<nbd::RunningServer>,
    _lock: Hold,
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
    pub async fn open(vault: &Arc<Vault>, point: &Point, image: &str, folder: &Path) -> Result<Arc<Self>> {
        let doing = || format!("open the shared copy {}", folder.display());
        if !folder.is_dir() {
            let made = DirBuilder::new().mode(MODE).create(folder);
            made.map_err(|e| block::Error::io("make its folder", e)).doing(doing)?;
        }
        let path = folder.canonicalize().map_err(|e| block::Error::io("find it", e)).doing(doing)?;
        let began = Instant::now();
        loop {
            match Self::open_now(vault, point, image, &path) {
                Err(Error::Disk(_, error))
                    if error.kind() == block::ErrorKind::Unreachable && began.elapsed() < LOCK_WAIT =>
                {
                    sleep(LOCK_LOOK).await;
                }
                opened => return opened,
            }
        }
    }

    fn open_now(vault: &Arc<Vault>, point: &Point, image: &str, path: &Path) -> Result<Arc<Self>> {
        let doing = || format!("open the shared copy {}", path.display());
        let mut open = OPEN.lock().expect("no holder panics");
        open.retain(|_, copy| copy.strong_count() > 0);
        let copy = match open.get(path).and_then(Weak::upgrade) {
            Some(copy) => copy,
            None => Arc::new(Self::begin(vault, point, image, path)?),
        };
        copy.locked().is_of(vault, point).doing(doing)?;
        open.insert(path.to_owned(), Arc::downgrade(&copy));
        Ok(copy)
    }

    fn begin(vault: &Arc<Vault>, point: &Point, image: &str, path: &Path) -> Result<Self> {
        let doing = || format!("open the shared copy {}", path.display());
        let lock = lock(path).doing(doing)?;
        let journal = match CopyJournal::read(path) {
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
        journal.is_of(vault, point).doing(doing)?;
        let disks = point.disks.iter().map(|record| {
            let source = PointDisk::new(Arc::clone(vault), record.map.clone()).keeping(KEPT_BYTES);
            let shared = SharedDisk::open(&disk_path(path, &record.name), Arc::new(source)).doing(doing)?;
            Ok((record.name.clone(), Arc::new(shared)))
        });
        let disks = disks.collect::<Result<Vec<_>>>()?;
        let names = disks.iter().map(|(name, _)| name);
        let firmware = names.filter(|name| is_firmware(point, name)).cloned().collect();
        let (path, journal, making) = (path.to_owned(), Mutex::new(journal), tokio::sync::Mutex::default());
        let copy = Self { path, journal, disks, firmware, making, server: OnceCell::new(), _lock: lock };
        copy.change(|_| ())?;
        Ok(copy)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for who else of this process makes machines on it.
    pub(super) async fn making(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.making.lock().await
    }

    /// What is known of it.
    pub fn journal(&self) -> CopyJournal {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, CopyJournal> {
        self.journal.lock().expect("no holder panics")
    }

    /// Bytes of the disks that are not whole, as they are counted while the copy is filled.
    pub(super) fn bytes_to_fill(&self) -> u64 {
        let missing = self.disks.iter().filter(|(_, disk)| !disk.is_whole());
        missing.map(|(_, disk)| block::BlockSource::size(&**disk)).sum()
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

    /// Fetches all that is missing, of the firmware's files only if that is wished; no faster than `pace` lets it.
    pub(super) async fn fill(
        &self,
        firmware_only: bool,
        pace: Option<&Throttle>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        for (name, disk) in &self.disks {
            if disk.is_whole() || (firmware_only && !self.firmware.contains(name)) {
                continue;
            }
            let doing = || format!("fetch disk {name} of {}", self.journal().image);
            let tracking = "what is not there yet".to_owned();
            progress(Progress::Disk {
                name: name.clone(),
                size: block::BlockSource::size(&**disk),
                tracking,
            });
            let filled = disk.fill(pace, &|bytes| progress(Progress::Advance(bytes))).await;
            // What came before it failed stays.
            disk.keep().await.doing(doing)?;
            filled.doing(doing)?;
            progress(Progress::DiskDone);
        }
        if self.disks.iter().all(|(_, disk)| disk.is_whole()) && !self.locked().whole {
            self.change(|journal| journal.whole = true)?;
        }
        Ok(())
    }

    /// Serves its disks to machines that stand on what is not whole, for as long as anybody has it open.
    pub(super) async fn serve(&self) -> Result<()> {
        self.server.get_or_try_init(|| self.listen()).await.map(drop)
    }

    async fn listen(&self) -> Result<nbd::RunningServer> {
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

    /// Lets go of it. If nobody else of this process has it, what is under way is answered, and it is served no more.
    pub(super) async fn close(self: Arc<Self>) {
        if let Some(Self { server, _lock, .. }) = Arc::into_inner(self)
            && let Some(server) = server.into_inner()
        {
            server.stop().await;
        }
    }

    /// Changes the journal. CRASH: the old one stands until the new one is whole and durable.
    pub(super) fn change(&self, change: impl FnOnce(&mut CopyJournal)) -> Result<()> {
        let mut journal = self.locked();
        let mut next = journal.clone();
        change(&mut next);
        let path = self.path.join(JOURNAL);
        let text = serde_json::to_string_pretty(&next).expect("plain data") + "\n";
        let partial = self.path.join(format!("{JOURNAL}.partial"));
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            File::open(&self.path)?.sync_all()
        });
        let written = written.map_err(|e| block::Error::io("write it", e));
        written.doing(|| format!("write the journal {}", path.display()))?;
        *journal = next;
        Ok(())
    }
}

fn disk_path(folder: &Path, disk: &str) -> PathBuf {
    folder.join(format!("{}.raw", file_name(disk)))
}

fn lock(folder: &Path) -> block::Result<Hold> {
    let locked = File::options().create(true).append(true).open(folder.join(LOCK)).and_then(Hold::of);
    locked.map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            block::Error::new(block::ErrorKind::Unreachable, "another process is at work on it")
        }
        _ => block::Error::io("lock it", error),
    })
}
