//! The watchdog, as the process that freezes sees it: a second process that thaws if the first does not.
//!
//! Between them is a socket. The watchdog says `ready`; from then on its clock runs. A word from us sets the
//! clock again, `done` ends it, and the end of the connection without `done` means that we died. Its standard
//! input is the socket; its standard output is, where there is one, our own connection to the agent: QEMU
//! serves one client at a time, so if we hang only through that connection can the guest be thawed.

use super::Guest;
use super::record::Outstanding;
use crate::{Error, ErrorKind, FreezeRequest, Result};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// For a program to start on a machine that is busy. Nothing is frozen yet.
const START_WAIT: Duration = Duration::from_secs(10);

/// For it to end after `done`; it has nothing to do then.
const END_WAIT: Duration = Duration::from_secs(5);

pub(super) const READY: &str = "ready";
pub(super) const DONE: &str = "done";
/// We live and are thawing.
pub(super) const ALIVE: &str = "alive";

/// What sees to it that a guest is thawed whatever becomes of the process that froze it.
#[derive(Clone, Debug)]
pub struct Watchdog {
    /// A program that calls [`stand_watch`](crate::stand_watch), and its first arguments. It is given the
    /// machine's address, `--limit-ms N` and `--record FILE` besides.
    pub program: PathBuf,
    /// See `program`.
    pub arguments: Vec<OsString>,
    /// The folder where guests that may be frozen are written down.
    pub records: PathBuf,
}

/// A watchdog on its post.
#[derive(Debug)]
pub(super) struct Post {
    process: Child,
    words: UnixStream,
    record: Outstanding,
}

impl Watchdog {
    /// Writes the freeze down and starts the watchdog; after that the guest may be frozen.
    pub(super) async fn post(
        &self,
        guest: &dyn Guest,
        request: &FreezeRequest,
        limit: Duration,
        agent: Option<OwnedFd>,
    ) -> Result<Option<Post>> {
        let Some(address) = guest.address() else { return Ok(None) };
        let (folder, point) = (self.records.clone(), request.point.clone());
        let words = address.clone();
        let written = tokio::task::spawn_blocking(move || Outstanding::create(&folder, &point, &words)).await;
        let record = written.map_err(|e| Error::caused(ErrorKind::Failed, "write a freeze down", e))??;
        match self.start(&address, &record, limit, agent).await {
            Ok((process, words)) => Ok(Some(Post { process, words, record })),
            Err(error) => {
                let _ = record.settle(); // nothing was frozen
                Err(error.within("start the watchdog that thaws the guest if this program dies"))
            }
        }
    }

    async fn start(
        &self,
        address: &[String],
        record: &Outstanding,
        limit: Duration,
        agent: Option<OwnedFd>,
    ) -> Result<(Child, UnixStream)> {
        let context = || format!("run {}", self.program.display());
        let failed = |e| Error::io(context(), e);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(address);
        command.arg("--limit-ms").arg(limit.as_millis().to_string()).arg("--record").arg(record.path());
        command.stdin(OwnedFd::from(theirs)).stderr(Stdio::null()).current_dir("/");
        command.stdout(agent.map_or_else(Stdio::null, Stdio::from));
        let mut process = command.spawn().map_err(failed)?;
        // It holds the other end of the socket and a copy of the connection to the agent.
        drop(command);
        ours.set_nonblocking(true).map_err(failed)?;
        let mut words = UnixStream::from_std(ours).map_err(failed)?;
        let mut said = [0; READY.len() + 1];
        match timeout(START_WAIT, words.read_exact(&mut said)).await {
            Ok(Ok(_)) if said.starts_with(READY.as_bytes()) => Ok((process, words)),
            _ => {
                let _ = process.kill().await;
                Err(Error::new(ErrorKind::Failed, format!("{}: it does not start to watch", context())))
            }
        }
    }
}

impl Post {
    /// Tells the watchdog that we are at it.
    pub(super) async fn alive(&mut self) {
        // A watchdog that died cannot be helped now: the guest is thawed first of all.
        let _ = self.words.write_all(format!("{ALIVE}\n").as_bytes()).await;
    }

    /// The guest is known to be thawed. Returns once the watchdog has let go of the agent.
    pub(super) async fn done(mut self) {
        let _ = self.words.write_all(format!("{DONE}\n").as_bytes()).await;
        if timeout(END_WAIT, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
        let _ = self.record.settle(); // else the next reconcile finds a thawed guest
    }
}
