//! Images that are restored into: raw by our own hand, qcow2 by QEMU's.

use crate::error::{Doing, Result};
use block::{BlockSink, Error, ErrorKind, FileDisk};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long qemu-nbd may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often its socket is looked for until then.
const START_POLL: Duration = Duration::from_millis(5);
/// Connections to it: qcow2 allocation is one lock, more do not help.
const CONNECTIONS: usize = 2;

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
}

/// A fresh image, all zero, being written.
///
/// CRASH: leaves the file, unfinished, under the temporary name that the caller gave.
pub(crate) enum Image {
    Raw(FileDisk),
    Qcow2(Box<Qcow2>),
}

/// A qcow2 file behind a qemu-nbd of its own, which dies with us.
pub(crate) struct Qcow2 {
    disk: nbd::NbdDisk,
    server: Child,
    socket: PathBuf,
}

impl Image {
    pub(crate) async fn create(path: &Path, size: u64, format: ImageFormat) -> Result<Self> {
        match format {
            ImageFormat::Raw => FileDisk::create(path, size).map(Self::Raw),
            ImageFormat::Qcow2 => Qcow2::create(path, size).await.map(|qcow2| Self::Qcow2(Box::new(qcow2))),
        }
        .doing(|| format!("create the image {}", path.display()))
    }

    pub(crate) fn sink(&self) -> &dyn BlockSink {
        match self {
            Self::Raw(file) => file,
            Self::Qcow2(qcow2) => &qcow2.disk,
        }
    }

    /// Makes it whole and durable.
    pub(crate) async fn finish(self, path: &Path) -> Result<()> {
        if let Self::Qcow2(qcow2) = self {
            qcow2.finish().await.doing(|| format!("finish the image {}", path.display()))?;
        }
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|e| Error::io("sync", e)).doing(|| format!("finish the image {}", path.display()))
    }
}

impl Qcow2 {
    async fn create(path: &Path, size: u64) -> block::Result<Self> {
        // qemu-img would replace an existing file.
        drop(
            std::fs::File::create_new(path)
                .map_err(|e| Error::io(format!("create {}", path.display()), e))?,
        );
        let created = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=64k,lazy_refcounts=off"])
            .arg(path)
            .arg(size.to_string())
            .output()
            .await;
        check_run("qemu-img", created)?;
        let socket = path.with_extension("nbd.sock");
        let server = Command::new("qemu-nbd")
            .args(["--format=qcow2", "--discard=unmap", "--detect-zeroes=off", "--cache=writeback"])
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
        let (server, socket) = wait_for_socket(server, socket).await?;
        let options = nbd::Options { connections: CONNECTIONS, ..nbd::Options::new("") };
        let disk = nbd::NbdDisk::connect(&nbd::Address::Unix(socket.clone()), &options).await?;
        Ok(Self { disk, server, socket })
    }

    /// Ends the connection, upon which qemu-nbd closes the image cleanly and ends.
    async fn finish(self) -> block::Result<()> {
        let Self { disk, server, socket } = self;
        disk.flush().await?;
        disk.close().await;
        let ended = server.wait_with_output().await;
        let _ = std::fs::remove_file(&socket); // it removes the socket itself unless it failed
        check_run("qemu-nbd", ended)
    }
}

/// Waits until qemu-nbd listens, or says why it ended instead.
async fn wait_for_socket(mut server: Child, socket: PathBuf) -> block::Result<(Child, PathBuf)> {
    let listening = async {
        while !socket.exists() {
            if let Ok(Some(_)) = server.try_wait() {
                return false;
            }
            tokio::time::sleep(START_POLL).await;
        }
        true
    };
    match tokio::time::timeout(START_LIMIT, listening).await {
        Ok(true) => Ok((server, socket)),
        Ok(false) => {
            check_run("qemu-nbd", server.wait_with_output().await)?;
            Err(Error::new(ErrorKind::Io, "qemu-nbd ended before anything was written"))
        }
        Err(_) => Err(Error::new(ErrorKind::Unreachable, "qemu-nbd did not begin to listen within 10 s")),
    }
}

fn check_run(program: &str, run: std::io::Result<std::process::Output>) -> block::Result<()> {
    let output = run.map_err(|e| missing_program(program, e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let kind = if said.contains("No space left") { ErrorKind::NoSpace } else { ErrorKind::Io };
    Err(Error::new(kind, format!("{program} failed: {}", said.trim())))
}

fn missing_program(program: &str, error: std::io::Error) -> Error {
    let context = match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("{program} is not installed; on Debian: apt install qemu-utils")
        }
        _ => format!("run {program}"),
    };
    Error::io(context, error)
}
