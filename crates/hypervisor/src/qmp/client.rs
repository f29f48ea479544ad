//! The handle on a QMP connection.

use super::Lines;
use super::connection::{Connection, Order};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::io::ErrorKind as Os;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;

/// QEMU greets a client at once; one that is silent this long is serving another client.
const GREETING_WAIT: Duration = Duration::from_secs(3);

/// QEMU's main loop answers in milliseconds, but may itself wait for a slow disk or a flush.
const COMMAND_WAIT: Duration = Duration::from_secs(30);

/// Events a listener may fall behind by. It then re-asks for the state instead of counting events.
const EVENTS_KEPT: usize = 256;

/// Commands queued to the connection's task; callers beyond that wait.
const ORDERS_QUEUED: usize = 16;

/// A client of one QMP monitor. Cheap to clone; the monitor is held until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Qmp {
    orders: mpsc::Sender<Order>,
    events: std::sync::Arc<broadcast::Receiver<Event>>,
    path: PathBuf,
    version: Version,
    peer: Peer,
}

/// Something QEMU told without being asked.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name, as `STOP`.
    pub name: String,
    /// What came with it; null when nothing did.
    pub data: Value,
}

/// A version of QEMU.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Major.
    pub major: u64,
    /// Minor.
    pub minor: u64,
    /// Micro.
    pub micro: u64,
    /// The packager's mark.
    pub package: String,
}

/// The process at the other end of the socket: the one that opened it for listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id, where the system tells.
    pub pid: Option<u32>,
    /// The user it runs as.
    pub uid: u32,
    /// The group it runs as.
    pub gid: u32,
}

impl Qmp {
    /// Connects, reads the greeting and leaves negotiation mode.
    ///
    /// # Errors
    /// `NotFound` without a socket; `Unreachable` when nothing listens on it; `Busy` when it does not greet
    /// within 3 s, because a monitor serves one client at a time.
    pub async fn connect(path: &Path) -> Result<Self> {
        let context = || format!("connect to the QMP socket {}", path.display());
        let stream = UnixStream::connect(path).await.map_err(|e| match e.kind() {
            // A full backlog: another client is served and more wait.
            Os::WouldBlock => busy(path),
            _ => Error::io(context(), e),
        })?;
        Self::over(stream, path).await
    }

    /// The same on a stream that is connected already; `path` names it in errors.
    pub(crate) async fn over(stream: UnixStream, path: &Path) -> Result<Self> {
        let context = || format!("connect to the QMP socket {}", path.display());
        let credentials = stream.peer_cred().map_err(|e| Error::io(context(), e))?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        let peer = Peer { pid, uid: credentials.uid(), gid: credentials.gid() };
        let (reader, writer) = stream.into_split();
        let mut lines = Lines::new(reader);
        let greeting = timeout(GREETING_WAIT, lines.next()).await.map_err(|_| busy(path))?;
        let greeting = greeting.map_err(|e| Error::io(context(), e))?;
        let version = greeting.as_deref().and_then(Version::from_greeting).ok_or_else(|| {
            Error::new(ErrorKind::Unreachable, format!("{} does not speak QMP", path.display()))
        })?;
        let (orders, queue) = mpsc::channel(ORDERS_QUEUED);
        let (events, listener) = broadcast::channel(EVENTS_KEPT);
        tokio::spawn(Connection { lines, writer, orders: queue, events }.run());
        let client = Self { orders, events: listener.into(), path: path.to_owned(), version, peer };
        client.execute("qmp_capabilities", Value::Null).await?;
        Ok(client)
    }

    /// Runs a command and returns what it returned. `arguments` may be null.
    ///
    /// # Errors
    /// `Failed` with a [`QmpError`](super::QmpError) as its source when QEMU refuses (`Unsupported` when it
    /// does not know the command); `Unreachable` when it closes or does not answer within 30 s. After a
    /// timeout the command may still take effect: look before assuming either.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_within(command, arguments, COMMAND_WAIT).await
    }

    /// [`execute`](Self::execute) with its own limit.
    pub async fn execute_within(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value> {
        let gone =
            || Error::new(ErrorKind::Unreachable, format!("{command}: QEMU closed {}", self.path.display()));
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            let order = Order { command: command.to_owned(), arguments, reply };
            self.orders.send(order).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| {
            let text = format!("{command}: no answer from QEMU within {} ms", limit.as_millis());
            Err(Error::new(ErrorKind::Unreachable, text))
        })
    }

    /// Events from now on. Subscribe before the command that causes the one waited for.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.resubscribe()
    }

    /// The version it greeted with.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The process that serves the socket.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.orders.is_closed()
    }
}

impl Version {
    fn from_greeting(line: &[u8]) -> Option<Self> {
        let greeting: Value = serde_json::from_slice(line).ok()?;
        let version = greeting.get("QMP")?.get("version")?;
        let number = |key: &str| version.get("qemu")?.get(key)?.as_u64();
        let package = version.get("package").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self { major: number("major")?, minor: number("minor")?, micro: number("micro")?, package })
    }

    /// Whether it is at least this release.
    pub fn at_least(&self, major: u64, minor: u64) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

fn busy(path: &Path) -> Error {
    let text = format!(
        "{} accepts but does not greet: another client (libvirt? another tool?) holds this monitor",
        path.display()
    );
    Error::new(ErrorKind::Busy, text)
}
