//! Network Block Device: a client and a server that turn remote disks into [`block`]'s sources and
//! sinks, and those into remote disks.
//!
//! **Called by** `hypervisor` and `mover`, which pull frozen disks out of QEMU through [`NbdDisk`] and
//! present recovery points to it through [`Server`]. **Calls** only `block`. It knows no vault, no
//! machine and no hypervisor: an export is a name and something with blocks.
//!
//! Reading order: [`NbdDisk`] (`client/disk.rs`) → `client/connection.rs`, the task that owns a
//! connection → `client/replies.rs`, what may come back; [`Server`] (`server/listen.rs`) →
//! `server/session.rs`, one client → `server/command.rs`, one request. `wire/` holds the bytes of both.
//!
//! The protocol is `doc/proto.md` of the [NetworkBlockDevice/nbd](https://github.com/NetworkBlockDevice/nbd)
//! project: fixed newstyle handshake, structured replies, block status, 32-bit headers. Not spoken yet:
//! TLS (the server answers `STARTTLS` with `ERR_UNSUP`, the client never asks; a TCP listener is
//! therefore for trusted networks only), extended headers, and servers without `NBD_OPT_GO`.
//!
//! Invariants:
//! - nothing a peer sends makes us panic, write outside a request's buffer, or hold more memory than a
//!   connection's bounds (`wire/constants.rs`, `server/session.rs`);
//! - a read is answered with every byte of it or with an error: never with a buffer partly filled;
//! - one `BLOCK_STATUS` per [`NbdDisk`] is under way at a time, over all its connections and even if
//!   its caller gave up: QEMU before 9.2 crashes on two of them at one snapshot-access export;
//! - one task owns a connection; if it ends, whoever waits on it is told, nobody hangs;
//! - a request the server has begun is carried out even if its client goes away.
//!
//! Errors are `block::Error`. From the client: `Unreachable` if the server cannot be connected to,
//! is too slow in the handshake, or goes away (connect anew, later); `NotFound` if it has no such export
//! or dirty bitmap; `Invalid` and `NoSpace` as the server says; `Io` for everything else, a server that
//! breaks the protocol in the handshake included. A client has no durable state. A server leaves its
//! socket file behind in a crash and takes the path over at the next start.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> block::Result<()> {
//! use block::{BlockSource, MemoryDisk};
//! use nbd::{Address, Export, NbdDisk, Options, Server};
//! use std::sync::Arc;
//!
//! let disk = Arc::new(MemoryDisk::from(vec![7; 1000]));
//! let server = Server::new().export("point", Export::read_only(disk))?;
//! let running = server.listen(&Address::Tcp("127.0.0.1:0".into())).await?;
//!
//! let remote = NbdDisk::connect(running.address(), &Options::new("point")).await?;
//! assert_eq!(remote.read(990, vec![0; 10]).await?, [7; 10]);
//! remote.close().await;
//! running.stop().await;
//! # Ok(()) }
//! ```

mod address;
mod client;
mod server;
mod wire;

pub use address::Address;
pub use client::{NbdDisk, Options, list_contexts, list_exports};
pub use server::{BlockDevice, Export, RunningServer, Server};
