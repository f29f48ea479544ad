//! Images that are restored into: raw by our own hand, qcow2 by QEMU's.

use crate::error::{Doing, Result};
use block::{BlockSink, Error, ErrorKind, FileDisk};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long qemu-nbd may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often its socket is looked for until then.
const START_POLL: Duration = Duration::from_millis(5);
/// Names tried for the folder of its socket.
const SOCKET_FOLDERS_MAX: u32 = 1000;
/// Connections to it: qcow2 allocation is one lock, more do not help.
const CONNECTIONS: usize = 2;

/// How an image is opened to be written.
const WRITES: [&str; 3] = ["--discard=unmap", "--detect-zeroes=off", "--cache=writeback"];

/// The formats a disk is restored to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// The bytes themselves, sparse.
    Raw,
    /// QEMU's own, which can keep persistent dirty bitmaps.
    Qcow2,
}

impl ImageFormat {
    /// Its name, also the extension of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }

    /// The format by its name; none for one that is not written.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Raw, Self::Qcow2].into_iter().find(|format| format.name() == name)
    }
}

/// A fresh image, all zero, being written.
///
/// CRASH: leaves the file, unfinished, under the temporary name that the caller gave.
pub(crate) enum Image {
    Raw(FileDisk),
    ByQemu(Box<Served>),
}

/// What `qemu-img` makes a fresh image of: the name of its driver, and its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    pub(crate) options: &'static str,
}

const QCOW2: Driver = Driver { name: "qcow2", options: "cluster_size=64k,lazy_refcounts=off" };

/// An image behind a qemu-nbd of its own, which dies with us.
pub(crate) struct Served {
    disk: nbd::NbdDisk,
    server: Child,
    _socket: SocketFolder,
}

/// A folder for one socket, away from the image: there the path may be too long for a socket, and what a
/// killed restore left must not be taken for a server that listens. CRASH: stays, nearly empty.
struct SocketFolder(PathBuf);

impl Image {
    pub(crate) async fn create(path: &Path, size: u64, format: ImageFormat) -> Result<Self> {
        match format {
            ImageFormat::Raw => FileDisk::create(path, size).map(Self::Raw),
            ImageFormat::Qcow2 => {
                Served::create(path, size, QCOW2).await.map(|served| Self::ByQemu(Box::new(served)))
            }
        }
        .doing(|| format!("create the image {}", path.display()))
    }

    /// An image that QEMU alone can write.
    pub(crate) async fn create_by_qemu(path: &Path, size: u64, driver: Driver) -> Result<Self> {
        let served = Served::create(path, size, driver).await;
        let served = served.doing(|| format!("create the image {}", path.display()))?;
        Ok(Self::ByQemu(Box::new(served)))
    }

    pub(crate) fn sink(&self) -> &dyn BlockSink {
        match self {
            Self::Raw(file) => file,
            Self::ByQemu(served) => &served.disk,
        }
    }

    /// Makes it whole and durable.
    pub(crate) async fn finish(self, path: &Path) -> Result<()> {
        if let Self::ByQemu(served) = self {
            served.finish().await.doing(|| format!("finish the image {}", path.display()))?;
        }
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|e| Error::io("sync", e)).doing(|| format!("finish the image {}", path.display()))
    }
}

impl Served {
    async fn create(path: &Path, size: u64, driver: Driver) -> block::Result<Self> {
        let folder = SocketFolder::create()?;
        // qemu-img would replace an existing file.
        drop(
            std::fs::File::create_new(path)
                .map_err(|e| Error::io(format!("create {}", path.display()), e))?,
        );
        let created = Command::new("qemu-img")
            .args(["create", "-q", "-f", driver.name, "-o", driver.options])
            .arg(path)
            .arg(size.to_string())
            .kill_on_drop(true)
            .output()
            .await;
        check_run("qemu-img", created)?;
        Self::serve(path, driver.name, folder, &WRITES).await
    }

    /// Opens an image that is there, of either format, to read and write it. A machine that runs on it keeps it
    /// locked, and this fails.
    pub(crate) async fn open(path: &Path, format: ImageFormat) -> block::Result<Self> {
        Self::serve(path, format.name(), SocketFolder::create()?, &WRITES).await
    }

    /// The same, only to read it: nothing of it changes.
    pub(crate) async fn open_to_read(path: &Path, format: ImageFormat) -> block::Result<Self> {
        Self::serve(path, format.name(), SocketFolder::create()?, &["--read-only"]).await
    }

    async fn serve(path: &Path, driver: &str, folder: SocketFolder, how: &[&str]) -> block::Result<Self> {
        let socket = folder.0.join("nbd.sock");
        let server = Command::new("qemu-nbd")
            .arg(format!("--format={driver}"))
            .args(how)
            .arg(format!("--shared={CONNECTIONS}"))
            .arg("--socket")
            .arg(&socket)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let server = server.map_err(|e| missing_program("qemu-nbd", e))?;
        let (server, disk) = connect(server, socket).await?;
        Ok(Self { disk, server, _socket: folder })
    }

    pub(crate) fn disk(&self) -> &nbd::NbdDisk {
        &self.disk
    }

    /// Ends the connection, upon which qemu-nbd closes the image cleanly and ends.
    pub(crate) async fn finish(self) -> block::Result<()> {
        let Self { disk, server, _socket } = self;
        disk.flush().await?;
        disk.close().await;
        check_run("qemu-nbd", server.wait_with_output().await)
    }
}

impl SocketFolder {
    fn create() -> block::Result<Self> {
        let temporary = std::env::temp_dir();
        // One process restores one disk at a time; a killed one's number may come again.
        let names = (0..SOCKET_FOLDERS_MAX).map(|n| format!("strongroom-restore-{}-{n}", std::process::id()));
        for path in names.map(|name| temporary.join(name)) {
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("make the folder {}", path.display()), error)),
            }
        }
        Err(Error::new(ErrorKind::Io, format!("find a free name for a folder in {}", temporary.display())))
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // nearly empty, and in a folder that is cleaned
    }
}

/// Connects once qemu-nbd listens, or says why it ended instead.
async fn connect(mut server: Child, socket: PathBuf) -> block::Result<(Child, nbd::NbdDisk)> {
    let options = nbd::Options { connections: CONNECTIONS, ..nbd::Options::new("") };
    let address = nbd::Address::Unix(socket.clone());
    let connected = async {
        while let Ok(None) = server.try_wait() {
            // Between making its socket and listening on it, qemu-nbd refuses.
            if socket.exists() {
                match nbd::NbdDisk::connect(&address, &options).await {
                    Err(error) if error.kind() == ErrorKind::Unreachable => {}
                    connected => return connected.map(Some),
                }
            }
            tokio::time::sleep(START_POLL).await;
        }
        Ok(None)
    };
    match tokio::time::timeout(START_LIMIT, connected).await {
        Ok(Ok(Some(disk))) => Ok((server, disk)),
        Ok(Ok(None)) => {
            check_run("qemu-nbd", server.wait_with_output().await)?;
            Err(Error::new(ErrorKind::Io, "qemu-nbd ended before anything was written"))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::new(ErrorKind::Unreachable, "qemu-nbd did not begin to listen within 10 s")),
    }
}

pub(crate) fn check_run(program: &str, run: std::io::Result<std::process::Output>) -> block::Result<()> {
    let output = run.map_err(|e| missing_program(program, e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let kind = if said.contains("No space left") { ErrorKind::NoSpace } else { ErrorKind::Io };
    Err(Error::new(kind, format!("{program} failed: {}", said.trim())))
}

fn missing_program(program: &str, error: std::io::Error) -> Error {
    match error.kind() {
        // Not `NotFound`: it is not the image that is missing.
        std::io::ErrorKind::NotFound => {
            let context = format!("{program} is not installed; on Debian: apt install qemu-utils");
            Error::caused(ErrorKind::Io, context, error)
        }
        _ => Error::io(format!("run {program}"), error),
    }
}
