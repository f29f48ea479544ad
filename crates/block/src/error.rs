//! The one error of block access.

use std::fmt;

/// What went wrong, coarse enough that each kind asks for a different act of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The range lies outside the disk, or the request makes no sense. Retrying never helps.
    Invalid,
    /// The thing asked for is not there. Retrying never helps.
    NotFound,
    /// The bytes are not what was once written. Retrying never helps; another copy may.
    Corrupt,
    /// The target has no room. Retrying helps once there is.
    NoSpace,
    /// The other side went away or never answered. Retrying later may help.
    Unreachable,
    /// The operating system or the other side failed the request.
    Io,
}

/// Why a block could not be read or written.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of block access.
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

    /// An operating system error, its kind read off the error itself.
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Os;
        let kind = match source.kind() {
            Os::NotFound => ErrorKind::NotFound,
            Os::StorageFull | Os::QuotaExceeded | Os::FileTooLarge => ErrorKind::NoSpace,
            Os::ConnectionRefused | Os::ConnectionReset | Os::BrokenPipe | Os::UnexpectedEof => {
                ErrorKind::Unreachable
            }
            _ => ErrorKind::Io,
        };
        Self::caused(kind, context, source)
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
