//! Listening, accepting and stopping.

use super::export::{Export, Exports};
use super::session;
use crate::address::{Address, Reader, Writer, split_tcp, split_unix};
use block::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Connections served at once unless [`Server::serving`] says more; further ones are closed unheard. Some machines with
/// a handful each.
const CONNECTIONS_MAX: usize = 64;
/// Clients that may wait to be accepted. They are accepted at once, so few ever do.
const BACKLOG: u32 = 64;
/// How long to let others run after accepting failed, so that running out of file descriptors does not
/// become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Exports that can be served.
#[derive(Clone)]
pub struct Server {
    exports: Exports,
    connections: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self { exports: Exports::default(), connections: CONNECTIONS_MAX }
    }
}

/// A server that listens. Dropped, it stops some time later; [`stop`](Self::stop) waits for that.
pub struct RunningServer {
    address: Address,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Removed when the server is dropped.
    _socket_file: Option<SocketFile>,
}

impl Server {
    /// A server without exports.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an export.
    ///
    /// # Errors
    /// `Invalid` if the name is taken, too long, or contains NUL.
    pub fn export(mut self, name: impl Into<String>, export: Export) -> Result<Self> {
        self.exports.add(name.into(), export)?;
        Ok(self)
    }

    /// Serves so many connections at once: for exports that many machines use.
    #[must_use]
    pub fn serving(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Listens at an address. A Unix socket can be used by our own user only; a TCP port by everyone who
    /// can reach it, unencrypted.
    ///
    /// # Errors
    /// `Invalid` if something else lives at the socket's path or another server listens there; else as
    /// the operating system says.
    pub async fn listen(&self, address: &Address) -> Result<RunningServer> {
        let failed = |e| Error::io(format!("listen at {address}"), e);
        let (listener, address, socket_file) = match address {
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path).await?;
                (Listener::Unix(listener), address.clone(), Some(file))
            }
            Address::Tcp(host) => {
                let listener = TcpListener::bind(host).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                (Listener::Tcp(listener), Address::Tcp(bound.to_string()), None)
            }
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, self.clone(), stopped));
        Ok(RunningServer { address, stop, task, _socket_file: socket_file })
    }
}

impl RunningServer {
    /// Where it listens; if asked for TCP port 0, with the port it got.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops listening, disconnects all clients, and returns when no request is under way any more
    /// (or those that hang were given up).
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        // An aborted task only means that the runtime is going down.
        let _ = self.task.await;
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<(Reader, Writer)> {
        match self {
            Listener::Unix(listener) => Ok(split_unix(listener.accept().await?.0)),
            Listener::Tcp(listener) => split_tcp(listener.accept().await?.0),
        }
    }
}

/// Accepts clients until told to stop, then waits for those it has.
async fn accept(listener: Listener, server: Server, mut stopped: watch::Receiver<bool>) {
    let (exports, most) = (Arc::new(server.exports), server.connections);
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            // Changed or its sender dropped: both mean stop.
            _ = stopped.changed() => break,
            Some(_) = sessions.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((reader, writer)) if sessions.len() < most => {
                    sessions.spawn(session::serve(reader, writer, Arc::clone(&exports), stopped.clone()));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

/// A socket's place in the file system.
///
/// CRASH: stays behind, with nobody listening; `bind_unix` recognises that and takes the place over.
struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds a socket that only our user can connect to.
async fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let failed = |e| Error::io(format!("listen at socket {}", path.display()), e);
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() || UnixStream::connect(path).await.is_ok() {
            let context = format!("listen at socket {}: the path is in use", path.display());
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    let file = SocketFile { path: path.to_owned() };
    // Nobody can connect before `listen`, so nobody gets in while the file still has wider permissions.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((socket.listen(BACKLOG).map_err(failed)?, file))
}
