//! The server: from disks to clients.

mod command;
mod export;
mod handshake;
mod listen;
mod replies;
mod session;

pub use export::{BlockDevice, Export};
pub use listen::{RunningServer, Server};
