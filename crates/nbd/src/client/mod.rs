//! The client: from a server's address to a disk.

mod connection;
mod coverage;
mod disk;
mod handshake;
mod list;
mod options;
mod replies;
mod status;

pub use disk::NbdDisk;
pub use list::{list_contexts, list_exports};
pub use options::Options;

#[cfg(test)]
mod tests;
