//! What parent and worker say to each other, and how: a header in JSON and bytes behind it, each with its length.
//!
//! ```text
//! u32 le   length of the header
//! u32 le   length of the data
//! header   one of the enums below, as JSON
//! data     bytes of a disk, of a file, or the target of a link
//! ```
//! Either side believes no length beyond the limits here.

use crate::{Entry, Error, FilePath, Metadata, Region, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// The largest header: a page of entries with long names, each byte of which is a number in JSON.
const HEADER_BYTES_MAX: u32 = 8 << 20;
/// The largest piece of a disk or a file.
pub(crate) const PIECE_BYTES_MAX: usize = 1 << 20;
/// Entries in one answer: with names of the longest kind they fit a header.
pub(crate) const ENTRIES_A_PAGE: usize = 1000;
/// Zeros told in one answer: a second's work, so that a large hole does not look like a hanging worker.
pub(crate) const ZEROS_MAX: u64 = 1 << 30;
/// Disks of one machine.
pub(crate) const DISKS_MAX: usize = 64;

/// A place in one of the volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) volume: String,
    pub(crate) path: FilePath,
}

/// What a parent wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What is on the disks.
    Volumes,
    /// Where a path leads, links followed; `follow` is about the last name.
    Resolve { place: Place, follow: bool },
    /// What lies in a folder: a page of it.
    List { place: Place, from: u32 },
    /// Where a link points.
    Link { place: Place },
    /// Bytes of a file.
    Read { place: Place, offset: u64, length: u32 },
}

/// What it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Volumes(Vec<Region>),
    Resolved {
        path: FilePath,
        metadata: Metadata,
    },
    Entries {
        entries: Vec<Entry>,
        more: bool,
    },
    /// The target is the data.
    Link,
    /// So many zeros, then the data; nothing of either is the file's end.
    Piece {
        zeros: u64,
    },
}

/// From parent to worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToReader {
    /// The first message: names and sizes of the disks, and the limits that the worker sets itself.
    Hello { disks: Vec<(String, u64)>, limits: Limits },
    /// A question; nothing else is asked before its answer.
    Ask(Question),
    /// The bytes that were fetched, as data.
    Bytes(Result<()>),
}

/// From worker to parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromReader {
    /// The cage is closed; what could not be closed of it.
    Ready(Vec<String>),
    /// Give me bytes of a disk.
    Fetch { disk: u32, offset: u64, length: u32 },
    /// The answer to the question.
    Answer(Result<Answer>),
}

/// What the system lets a worker have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
    /// Whom it becomes, if the parent is root.
    pub(crate) user: u32,
}

/// Sends a message.
pub(crate) fn send<T: Serialize>(to: &mut impl Write, message: &T, data: &[u8]) -> Result<()> {
    let header = serde_json::to_vec(message)
        .map_err(|error| Error::not_answered(format!("write a message: {error}")))?;
    if header.len() > HEADER_BYTES_MAX as usize || data.len() > PIECE_BYTES_MAX {
        return Err(Error::limit("an answer is longer than a message may be"));
    }
    let mut frame = Vec::with_capacity(8 + header.len() + data.len());
    frame.extend((header.len() as u32).to_le_bytes());
    frame.extend((data.len() as u32).to_le_bytes());
    frame.extend(header);
    frame.extend(data);
    to.write_all(&frame).map_err(|error| Error::not_answered(format!("send a message: {error}")))
}

/// Receives a message.
///
/// # Errors
/// `Worker` if the other side is gone, too slow, or says what is no message.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> Result<(T, Vec<u8>)> {
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the other side ended".to_owned(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "it took too long".to_owned(),
            _ => error.to_string(),
        };
        Error::not_answered(format!("receive a message: {why}"))
    };
    let mut lengths = [0; 8];
    from.read_exact(&mut lengths).map_err(failed)?;
    let header = u32::from_le_bytes(crate::disk::field(&lengths, 0));
    let data = u32::from_le_bytes(crate::disk::field(&lengths, 4));
    if header > HEADER_BYTES_MAX || data as usize > PIECE_BYTES_MAX {
        return Err(Error::not_answered("receive a message: it is longer than any may be"));
    }
    let mut bytes = vec![0; header as usize + data as usize];
    from.read_exact(&mut bytes).map_err(failed)?;
    let data = bytes.split_off(header as usize);
    let message = serde_json::from_slice(&bytes)
        .map_err(|error| Error::not_answered(format!("receive a message: it makes no sense ({error})")))?;
    Ok((message, data))
}
