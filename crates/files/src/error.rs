//! The one error of reading files. It travels between worker and parent, so it is plain data.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What went wrong, coarse enough that each kind asks for a different act of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// There is no such volume, folder or file.
    NotFound,
    /// It is something else than what was asked for: a folder is no file. Retrying never helps.
    Invalid,
    /// Something that is recognised, but that we cannot read rightly, and so do not read.
    Refused,
    /// What is on the disk contradicts itself. Retrying never helps; an older point may.
    Corrupt,
    /// Larger, deeper or longer than we are willing to read.
    Limit,
    /// The disk's bytes could not be had. Retrying later may help.
    Io,
    /// The worker died, hung or talked nonsense. The next question gets a new one.
    Worker,
    /// A target exists already.
    Exists,
}

/// Why a file could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

/// The result of reading files.
pub type Result<T> = std::result::Result<T, Error>;

/// A text is shown on terminals and comes from a worker: no longer than this.
const TEXT_BYTES_MAX: usize = 500;

impl Error {
    /// An error; `text` says what was done and why it failed.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// What the operating system said while something was done.
    pub fn io(doing: impl fmt::Display, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("{doing}: {error}"))
    }

    pub(crate) fn corrupt(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, text)
    }

    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, text)
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, text)
    }

    pub(crate) fn limit(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, text)
    }

    pub(crate) fn not_answered(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Worker, text)
    }

    /// What the caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same, said of something.
    #[must_use]
    pub fn of(mut self, what: impl fmt::Display) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }

    /// The same with a text that is safe to show: it may hold what a guest wrote.
    pub(crate) fn cleaned(self) -> Self {
        let mut text: String =
            self.text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect();
        if text.len() > TEXT_BYTES_MAX {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.truncate(end);
        }
        Self { kind: self.kind, text }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
