//! What the tests share: images with known bytes, tools that are run, and qemu-nbd.

use block::{BlockSource, FileDisk, MemoryDisk};
use nbd::Address;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Long enough for the slowest machine, short enough to tell a hang from work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `size` bytes: data, holes and single odd bytes, the same every time.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (number, block) in bytes.chunks_mut(96 << 10).enumerate() {
        // Two of three stretches hold data, and not up to their end.
        if number % 3 != 1 {
            let length = block.len() * 2 / 3;
            for (at, byte) in block[..length].iter_mut().enumerate() {
                *byte = (at.wrapping_mul(31) ^ (at >> 8) ^ number.wrapping_mul(17)) as u8 | 1;
            }
        }
    }
    if let Some(last) = bytes.last_mut() {
        *last = 0x5A;
    }
    bytes
}

/// Writes `bytes` to a raw image in which zeros are holes.
pub(crate) async fn sparse_file(path: &Path, bytes: &[u8]) {
    let disk = FileDisk::create(path, bytes.len() as u64).expect("create");
    let source = MemoryDisk::from(bytes.to_vec());
    let options = block::CopyOptions { granularity: 4096, sink_is_zero: true, ..Default::default() };
    block::copy(&source, &disk, options, &|_| ()).await.expect("copy");
}

/// All bytes of a source.
pub(crate) async fn all_bytes(source: &dyn BlockSource) -> Vec<u8> {
    let size = usize::try_from(source.size()).expect("small");
    patiently(source.read(0, vec![0xEE; size])).await.expect("read all")
}

/// Fails instead of hanging.
pub(crate) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("done in time")
}

/// A folder for images and sockets, gone with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("tempdir"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as an argument of a tool.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn socket(&self) -> Address {
        Address::Unix(self.path("nbd.sock"))
    }

    /// An export at that socket, as libnbd and QEMU write it.
    pub(crate) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.arg("nbd.sock"))
    }
}

/// Runs a tool that must succeed and returns what it printed.
pub(crate) async fn run(tool: &str, args: &[&str]) -> String {
    let (ok, text) = try_run(tool, args).await;
    assert!(ok, "{tool} {args:?} failed: {text}");
    text
}

/// Runs a tool: whether it succeeded, and what it printed.
pub(crate) async fn try_run(tool: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(tool).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = patiently(output).await.unwrap_or_else(|e| panic!("{tool} must be installed: {e}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A qemu-nbd at the folder's socket. Killed when dropped.
pub(crate) struct QemuNbd {
    process: Child,
}

impl QemuNbd {
    /// Starts it and returns when it listens. It stays after its last client.
    pub(crate) async fn start(folder: &Folder, args: &[&str]) -> Self {
        let socket = folder.path("nbd.sock");
        let process = Command::new("qemu-nbd")
            .args(["--persistent", "--socket", &folder.arg("nbd.sock")])
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("qemu-nbd must be installed");
        let mut server = Self { process };
        patiently(async {
            while UnixStream::connect(&socket).await.is_err() {
                assert!(server.process.try_wait().expect("wait").is_none(), "qemu-nbd {args:?} ended");
                // There is nothing to wait on that would tell when a process listens.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        server
    }

    /// Stops it in its tracks: it keeps its connections and answers nothing.
    pub(crate) async fn freeze(&self) {
        run("kill", &["-STOP", &self.process.id().expect("running").to_string()]).await;
    }

    /// Kills it, frozen or not.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("kill");
    }

    /// Ends it so that it closes its image and writes its bitmaps.
    pub(crate) async fn end(mut self) {
        run("kill", &["-TERM", &self.process.id().expect("running").to_string()]).await;
        patiently(self.process.wait()).await.expect("wait");
    }
}
