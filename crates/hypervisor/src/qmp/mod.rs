//! QMP, QEMU's control protocol: one JSON object a line over a Unix socket.
//!
//! Written by hand and tolerant of versions: commands and replies are plain JSON values, and an event or a
//! field nobody here has heard of is passed on or ignored. `client.rs` is what callers hold; `connection.rs`
//! is the task that owns the socket; `lines.rs` cuts the stream (the guest agent uses it too);
//! `transaction.rs` builds the one command that must happen as a whole.

mod client;
mod connection;
mod error;
mod lines;
mod transaction;

#[cfg(test)]
mod tests;

pub use client::{Event, Peer, Qmp, Version};
pub use error::QmpError;
pub(crate) use lines::Lines;
pub use transaction::Transaction;
