//! The one error of this crate.

use std::fmt;

/// Who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Whoever signs in: the provider refused, or what came of it proves nothing. Beginning anew may help.
    Refused,
    /// The administrator: the settings and the provider do not fit.
    Settings,
    /// Nobody: the provider does not answer. Later may help.
    Unavailable,
}

/// Why nobody could be signed in.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

/// The result of asking a provider.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Refused, text: text.into() }
    }

    pub(crate) fn settings(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Settings, text: text.into() }
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unavailable, text: text.into() }
    }

    /// Who has to do something.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
