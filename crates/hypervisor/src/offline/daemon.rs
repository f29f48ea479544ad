//! The QEMU that understands the images: a `qemu-storage-daemon` that may do nothing else.
//!
//! It parses what a hostile guest may have written, so it is given nothing to win. It opens no file of ours: the
//! images' bytes come to it over NBD from this process, its monitor is a connected socket that it finds as its
//! standard input, the socket it serves disks on is its standard output. Around it, as far as the system lets us:
//! a user that owns nothing (when we are root), no capabilities and none to be had, an empty network, and limits
//! of memory, processor time, open files and files written (none). It dies with the thread that started it, and
//! so with us, even when we are killed.
//!
//! CRASH: leaves the folder with two dead sockets, which the next freeze sweeps. Killed between `fork` and
//! `prctl`, a daemon may stay, idle and with nothing to serve.

use crate::qmp::{Peer, Qmp};
use crate::{Error, ErrorKind, Result};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// The first of the users that own nothing: above what systems, containers and directories hand out.
const USER_BASE: u32 = 1_900_000_000;
/// Address space. Its threads' stacks take most; caches of images are some 32 MiB a disk.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Processor time that opening images may take, and what reading takes on slow processors with decryption.
const OPENING_SECONDS_MAX: u64 = 60;
const BYTES_A_SECOND_MIN: u64 = 4 << 20;
/// Connections, images and its own handful.
const FILES_MAX: u64 = 256;
/// QEMU's pool has up to 64 threads.
const THREADS_MAX: u64 = 256;
/// What is kept of its complaints.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;
/// Clients of it at once: a mover has two connections to one disk at a time, and a check one more.
const CONNECTIONS_MAX: u32 = 16;

/// Who the daemon runs as: a user that owns nothing if we may choose, else ourselves.
pub(super) fn user() -> Result<Peer> {
    let me = std::fs::metadata("/proc/self").map_err(|e| Error::io("read /proc/self", e))?;
    let own = Peer { pid: None, uid: me.uid(), gid: me.gid() };
    // Another for each process of ours, so that they cannot disturb each other's.
    let id = USER_BASE + std::process::id();
    Ok(if own.uid == 0 { Peer { pid: None, uid: id, gid: id } } else { own })
}

/// A running daemon; ends when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    qmp: Qmp,
    /// Closed to end it.
    stop: Option<mpsc::SyncSender<()>>,
    ended: tokio::sync::oneshot::Receiver<String>,
}

impl Daemon {
    /// Starts it, serving on `socket`, to read images of `bytes` in all.
    ///
    /// # Errors
    /// `Unsupported` when a program is missing; `Unreachable` when it does not come up.
    pub(super) async fn start(user: Peer, socket: &Path, bytes: u64) -> Result<Self> {
        let failed = |e| Error::io("start qemu-storage-daemon", e);
        let (ours, monitor) = UnixStream::pair().map_err(failed)?;
        let listener = UnixListener::bind(socket).map_err(failed)?;
        let mut command = tokio::task::spawn_blocking(move || command(user, bytes))
            .await
            .map_err(|e| Error::caused(ErrorKind::Failed, "start qemu-storage-daemon", e))?;
        command
            .stdin(Stdio::from(OwnedFd::from(monitor)))
            .stdout(Stdio::from(OwnedFd::from(listener)))
            .stderr(Stdio::piped());
        let (stop, stopped) = mpsc::sync_channel(1);
        let (started, start) = tokio::sync::oneshot::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        // A thread of its own: the system kills the daemon when the thread that started it ends.
        std::thread::spawn(move || match command.spawn() {
            Ok(child) => {
                // Ours would keep the daemon's ends of the sockets open.
                drop(command);
                let _ = started.send(Ok(()));
                let _ = stopped.recv(); // closed, on purpose or because its owner has gone
                let _ = end.send(finish(child));
            }
            Err(error) => drop(started.send(Err(error))),
        });
        let missing = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let text = "start qemu-storage-daemon: unshare, prlimit or setpriv of util-linux is missing";
                Error::caused(ErrorKind::Unsupported, text, e)
            }
            _ => failed(e),
        };
        let gone = || Error::new(ErrorKind::Unreachable, "start qemu-storage-daemon: its thread has ended");
        start.await.map_err(|_| gone())?.map_err(missing)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let stream = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        match Qmp::over(stream, Path::new("qemu-storage-daemon")).await {
            Ok(qmp) => Ok(Self { qmp, stop: Some(stop), ended }),
            Err(error) => {
                drop(stop);
                let said = ended.await.unwrap_or_default();
                Err(error.within(format!("start qemu-storage-daemon (it said: {})", said.trim())))
            }
        }
    }

    pub(super) fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// Kills it and waits until it is gone. Gives what it complained of.
    pub(super) async fn end(mut self) -> String {
        drop(self.stop.take());
        self.ended.await.unwrap_or_default()
    }
}

/// Kills the daemon. It writes nothing, so there is nothing to close.
fn finish(mut child: Child) -> String {
    let _ = child.kill(); // ended already
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(COMPLAINT_BYTES_MAX).read_to_string(&mut said); // what is no text is not shown
    }
    let _ = child.wait();
    said
}

/// The daemon in its cage, each layer a small program that becomes the next.
fn command(user: Peer, bytes: u64) -> Command {
    let drops = user.uid >= USER_BASE;
    let mut words: Vec<String> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
    let spaces: &[&str] = match drops {
        true => &["unshare", "--net", "--ipc", "--uts"],
        false => &["unshare", "--user", "--map-current-user", "--net", "--ipc", "--uts"],
    };
    // Containers and hardened kernels may forbid it; the rest holds without.
    if runs(spaces) {
        add(spaces);
        add(&["--"]);
    }
    let seconds = OPENING_SECONDS_MAX + bytes / BYTES_A_SECOND_MIN;
    add(&["prlimit", "--core=0", "--fsize=0"]);
    add(&[
        &format!("--as={MEMORY_BYTES_MAX}"),
        &format!("--cpu={seconds}"),
        &format!("--nofile={FILES_MAX}"),
    ]);
    if drops {
        // Of another user they are counted with everything else that user runs.
        add(&[&format!("--nproc={THREADS_MAX}")]);
    }
    add(&["--", "setpriv", "--no-new-privs", "--pdeathsig=SIGKILL"]);
    if drops {
        let id = user.uid.to_string();
        add(&["--reuid", &id, "--regid", &id, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
    }
    add(&["--", "qemu-storage-daemon"]);
    add(&["--chardev", "socket,id=monitor,fd=0", "--monitor", "chardev=monitor"]);
    add(&["--nbd-server", &format!("addr.type=fd,addr.str=1,max-connections={CONNECTIONS_MAX}")]);
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().expect("there are some"));
    command.args(words).current_dir("/").env_clear();
    // Programs are looked for as we would; nothing else of our surroundings is its business.
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

fn runs(words: &[&str]) -> bool {
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut trial = Command::new(program);
    trial
        .args(arguments)
        .args(["--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    trial.status().is_ok_and(|status| status.success())
}
