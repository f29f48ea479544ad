//! QEMU's socket to the agent.
//!
//! The line is shared with the past: a reply to a command somebody gave up on still arrives, so every
//! conversation begins with a fresh `guest-sync-delimited`, and everything before its answer is thrown away.
//! Requests to an absent agent would pile up in QEMU, so [`SocketLine::connect`] first asks QEMU whether the
//! guest has the port open.

use super::{ANSWER_WAIT, INSTALL_AGENT, Line, silent};
use crate::qmp::{Lines, Qmp, QmpError};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Asks that may lie unread before the agent's socket: more than a few say that nobody reads.
const SYNC_ATTEMPTS: u32 = 2;

/// See [`Line`].
#[derive(Debug)]
pub(super) struct SocketLine {
    path: PathBuf,
    // Not `into_split`, whose writer ends the connection when dropped: another process may share it.
    lines: Lines<ReadHalf<UnixStream>>,
    writer: WriteHalf<UnixStream>,
    connection: Option<OwnedFd>,
    next_sync: u64,
    /// A command was given up on: its reply may still come.
    stale: bool,
}

#[async_trait]
impl Line for SocketLine {
    async fn execute(&mut self, command: &str, arguments: Value, limit: Duration) -> Result<Value> {
        if self.stale {
            self.sync().await?;
        }
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        // Until the reply is in our hands, whatever comes may belong to this command: also if the caller
        // drops this future.
        self.stale = true;
        let reply = timeout(limit, self.exchange(&message)).await.map_err(|_| silent(command, limit))??;
        self.stale = false;
        match reply.get("error") {
            Some(error) => {
                let refused = QmpError::from_reply(command, error);
                Err(Error::caused(ErrorKind::Guest, format!("the guest agent refused {command}"), refused))
            }
            None => Ok(reply["return"].clone()),
        }
    }

    fn descriptor(&self) -> Option<OwnedFd> {
        self.connection.as_ref()?.try_clone().ok()
    }
}

impl SocketLine {
    pub(super) async fn connect(qmp: &Qmp, path: &Path) -> Result<Self> {
        if !is_open(qmp, path).await? {
            let text = format!("no guest agent is connected in the guest; {INSTALL_AGENT}");
            return Err(Error::new(ErrorKind::Guest, text));
        }
        let context = || format!("connect to the agent socket {}", path.display());
        let stream = UnixStream::connect(path).await.map_err(|e| Error::io(context(), e))?;
        Ok(Self::over(stream, path))
    }

    pub(super) fn over(stream: UnixStream, path: &Path) -> Self {
        let connection = stream.as_fd().try_clone_to_owned().ok();
        let (reader, writer) = split(stream);
        // Only has to differ from what an earlier client asked; QMP integers are signed.
        let next_sync = RandomState::new().hash_one(path) >> 16;
        Self { path: path.to_owned(), lines: Lines::new(reader), writer, connection, next_sync, stale: true }
    }

    /// Over the connection of a process that hangs or died.
    pub(super) fn inherited(connection: std::os::unix::net::UnixStream) -> Result<Self> {
        let context = "take over the connection to the agent";
        let stream = connection.set_nonblocking(true).and_then(|()| UnixStream::from_std(connection));
        Ok(Self::over(stream.map_err(|e| Error::io(context, e))?, Path::new("(inherited)")))
    }

    /// Throws away what earlier commands left in the line.
    async fn sync(&mut self) -> Result<()> {
        for _ in 0..SYNC_ATTEMPTS {
            self.next_sync += 1;
            let id = self.next_sync;
            let found = timeout(ANSWER_WAIT / SYNC_ATTEMPTS, self.sync_once(id)).await;
            if let Ok(answer) = found {
                answer?;
                self.stale = false;
                return Ok(());
            }
        }
        Err(silent("guest-sync-delimited", ANSWER_WAIT))
    }

    async fn sync_once(&mut self, id: u64) -> Result<()> {
        let message = json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } });
        // 0xFF never stands in JSON: it ends whatever half command lies in the agent's parser.
        self.write(&[b"\xff", message.to_string().as_bytes(), b"\n"].concat()).await?;
        loop {
            if self.read().await?["return"].as_u64() == Some(id) {
                return Ok(());
            }
        }
    }

    async fn exchange(&mut self, message: &Value) -> Result<Value> {
        self.write(format!("{message}\n").as_bytes()).await?;
        loop {
            let reply = self.read().await?;
            if reply.get("return").is_some() || reply.get("error").is_some() {
                return Ok(reply);
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.writer.write_all(bytes).await;
        written.map_err(|e| Error::io(format!("write to the agent socket {}", self.path.display()), e))
    }

    /// The next message; what is no JSON (the tail of a reply cut by 0xFF) counts as null.
    async fn read(&mut self) -> Result<Value> {
        let context = || format!("read from the agent socket {}", self.path.display());
        let line = self.lines.next().await.map_err(|e| Error::io(context(), e))?;
        let line = line.ok_or_else(|| Error::new(ErrorKind::Unreachable, context() + ": closed"))?;
        let start = line.iter().rposition(|&byte| byte == 0xff).map_or(0, |at| at + 1);
        Ok(serde_json::from_slice(&line[start..]).unwrap_or(Value::Null))
    }
}

/// Whether the guest has the agent's port open, by QEMU's word.
async fn is_open(qmp: &Qmp, path: &Path) -> Result<bool> {
    let chardevs = qmp.execute("query-chardev", Value::Null).await?;
    let mut open = chardevs.as_array().into_iter().flatten().filter(|c| c["frontend-open"] == true);
    Ok(open.any(|chardev| chardev["filename"].as_str().is_some_and(|name| is_socket(name, path))))
}

/// Whether QEMU's name of a chardev, as `disconnected:unix:PATH,server=on`, means this socket. QEMU's path
/// may be relative to a folder we do not know.
pub(super) fn is_socket(name: &str, path: &Path) -> bool {
    let Some(name) = name.strip_prefix("disconnected:").unwrap_or(name).strip_prefix("unix:") else {
        return false;
    };
    // The options follow the last `,server`: a path may hold commas.
    let socket = Path::new(name.rsplit_once(",server").map_or(name, |(socket, _)| socket));
    path == socket || (socket.is_relative() && path.ends_with(socket))
}
