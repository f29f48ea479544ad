//! The one error of the vault.

use std::fmt;

/// What went wrong, coarse enough that each kind asks for a different act of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense. Retrying never helps.
    Invalid,
    /// The vault, point, disk or object is not there. Retrying never helps.
    NotFound,
    /// Something of that name is there already. Retrying never helps.
    AlreadyExists,
    /// The key is missing, or is not this vault's. Retrying helps with the right key.
    Key,
    /// The store refuses these credentials, or there are none. Retrying helps with other ones.
    Denied,
    /// The vault was made by a newer version. Retrying helps with a newer program.
    Unsupported,
    /// An object is not what was once written. Retrying never helps; another copy may.
    Corrupt,
    /// A breaker stopped it: more would be deleted than was allowed. Retrying helps once that is allowed.
    TooMuch,
    /// Somebody else's work got in the way. Retrying at once helps.
    Conflict,
    /// The store has no room. Retrying helps once there is.
    NoSpace,
    /// The store failed the request. Retrying later may help.
    Store,
}

/// Why the vault could not do something.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a vault operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a deeper cause. `context` names the verb and the object.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// An error caused by another one.
    pub fn caused(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// Bytes that are not what was written: which object, where, and what is wrong with them.
    pub(crate) fn corrupt(object: impl fmt::Display, offset: u64, found: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("object {object} is damaged at byte {offset}: {found}"))
    }

    /// What the caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<Error> for block::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Invalid => block::ErrorKind::Invalid,
            ErrorKind::NotFound => block::ErrorKind::NotFound,
            ErrorKind::Corrupt => block::ErrorKind::Corrupt,
            ErrorKind::NoSpace => block::ErrorKind::NoSpace,
            ErrorKind::Store | ErrorKind::Conflict => block::ErrorKind::Unreachable,
            ErrorKind::AlreadyExists
            | ErrorKind::Key
            | ErrorKind::Denied
            | ErrorKind::Unsupported
            | ErrorKind::TooMuch => block::ErrorKind::Io,
        };
        block::Error::caused(kind, error.to_string(), error)
    }
}
