//! The bytes of the protocol: plain functions between values and bytes, no I/O.
//!
//! Numbers are big-endian. Whatever is decoded here may come from a hostile peer: every length is
//! checked against a limit before anyone allocates or waits for that many bytes, and no input panics.
//! Facts come from `doc/proto.md` of the NetworkBlockDevice/nbd project.

mod constants;
mod export;
mod handshake;
mod input;
mod transmission;

pub(crate) use constants::*;
pub(crate) use export::{BlockSizes, Info};
pub(crate) use handshake::{
    ContextId, ContextQuery, ExportQuery, Greeting, ListedExport, OptionHead, OptionReplyHead,
};
pub(crate) use input::Malformed;
pub(crate) use transmission::{ErrorChunk, HoleChunk, ReplyHead, Request, StatusChunk};
