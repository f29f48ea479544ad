//! The folder of an instant restore: its lock, its sockets, its images.
//!
//! One process at a time works on it, whoever holds the lock; a process that was killed holds none. If we are root,
//! what is made here belongs to the folder's owner: so it can be given to the user that runs QEMU.

use super::journal::NAME;
use crate::error::{Doing, Error, Result};
use crate::restore::{file_name, partial, publish};
use hypervisor::Hold;
use serde_json::json;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const LOCK: &str = "instant.lock";
const SERVER: &str = "nbd.sock";
const MONITOR: &str = "qmp.sock";
/// `sockaddr_un` holds 108 bytes with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// For a QEMU that starts while the server is being started.
const OPEN_SECONDS: u64 = 30;

/// A folder that nobody else works on.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    owner: (u32, u32),
    _lock: Hold,
}

impl Folder {
    /// Makes one, or takes an empty one.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let doing = || format!("prepare the folder {}", path.display());
        if !path.is_dir() {
            let made = DirBuilder::new().mode(0o700).create(path);
            made.map_err(|e| block::Error::io("make it", e)).doing(doing)?;
        }
        let entries = std::fs::read_dir(path).map_err(|e| block::Error::io("list it", e)).doing(doing)?;
        // The lock alone was left by an attempt that died before it had made anything.
        if let Some(entry) = entries.flatten().find(|entry| entry.file_name() != LOCK) {
            return Err(Error::Taken(doing(), entry.path()));
        }
        Self::lock(path, doing)
    }

    /// Opens one that was made before.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let doing = || format!("open the folder {}", path.display());
        if !path.join(NAME).is_file() {
            let why = "it holds no instant restore";
            return Err(Error::Disk(doing(), block::Error::new(block::ErrorKind::NotFound, why)));
        }
        Self::lock(path, doing)
    }

    fn lock(path: &Path, doing: impl Fn() -> String + Copy) -> Result<Self> {
        let path = path.canonicalize().map_err(|e| block::Error::io("find it", e)).doing(doing)?;
        if path.join(MONITOR).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let why = "its path is too long for a socket: choose a shorter one";
            return Err(Error::Disk(doing(), block::Error::new(block::ErrorKind::Invalid, why)));
        }
        let locked = File::options().create(true).append(true).open(path.join(LOCK)).and_then(|lock| {
            let lock = Hold::of(lock)?;
            let about = std::fs::metadata(&path)?;
            Ok((lock, (about.uid(), about.gid())))
        });
        let (lock, owner) = locked.map_err(|e| taken(&e)).doing(doing)?;
        Ok(Self { path, owner, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the server listens.
    pub(super) fn server(&self) -> PathBuf {
        server(&self.path)
    }

    /// Where the machine's monitor is looked for, unless it is reached otherwise.
    pub(super) fn monitor(&self) -> PathBuf {
        monitor(&self.path)
    }

    /// The image of a disk.
    pub(super) fn image(&self, disk: &str, firmware: bool) -> PathBuf {
        let name = file_name(disk);
        self.path.join(if firmware { name } else { format!("{name}.qcow2") })
    }

    /// Makes an overlay over a disk's export. It needs no server for that.
    ///
    /// CRASH: leaves nothing under the image's name, or all of it.
    pub(super) async fn overlay(&self, disk: &str, size: u64, patience: Duration) -> Result<()> {
        let image = self.image(disk, false);
        let doing = || format!("make the overlay {}", image.display());
        let unfinished = partial(&image);
        let _ = std::fs::remove_file(&unfinished); // of an attempt that was killed; nothing ran on it
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=64k,lazy_refcounts=off"]);
        create.args(["-u", "-F", "raw", "-b", &self.backing(disk, patience)]).arg(&unfinished);
        crate::image::check_run("qemu-img", create.arg(size.to_string()).output().await).doing(doing)?;
        self.give_away(&unfinished)?;
        let synced = File::open(&unfinished).and_then(|file| file.sync_all());
        synced.map_err(|e| block::Error::io("sync it", e)).doing(doing)?;
        publish(&unfinished, &image)
    }

    /// What stands in an overlay as its backing: a server that goes away is waited for, then reads fail.
    fn backing(&self, disk: &str, patience: Duration) -> String {
        let server = json!({ "type": "unix", "path": self.server() });
        let delay = patience.as_secs();
        let nbd = json!({ "driver": "nbd", "export": disk, "server": server, "reconnect-delay": delay,
                          "open-timeout": OPEN_SECONDS });
        format!("json:{}", json!({ "driver": "raw", "file": nbd }))
    }

    /// To the folder's owner, if we may.
    pub(super) fn give_away(&self, path: &Path) -> Result<()> {
        if !rustix::process::geteuid().is_root() || self.owner == (0, 0) {
            return Ok(());
        }
        let given = chown(path, Some(self.owner.0), Some(self.owner.1));
        let given = given.map_err(|e| block::Error::io("change its owner", e));
        given.doing(|| format!("give {} to the owner of its folder", path.display()))
    }
}

/// Where the server of a folder listens.
pub(super) fn server(folder: &Path) -> PathBuf {
    folder.join(SERVER)
}

/// Where the monitor of a folder's machine is.
pub(super) fn monitor(folder: &Path) -> PathBuf {
    folder.join(MONITOR)
}

/// What is in a folder beside its images and its journal.
pub(super) fn beside(folder: &Path) -> [PathBuf; 3] {
    [SERVER, MONITOR, LOCK].map(|name| folder.join(name))
}

fn taken(error: &std::io::Error) -> block::Error {
    match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            let why = "another process is at work on it";
            block::Error::new(block::ErrorKind::Unreachable, why)
        }
        kind => block::Error::io("lock it", std::io::Error::new(kind, error.to_string())),
    }
}
