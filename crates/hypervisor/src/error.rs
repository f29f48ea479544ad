//! The one error of this crate.

use std::fmt;

/// What went wrong, coarse enough that each kind asks for a different act of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The socket, machine or disk is not there. Retrying never helps.
    NotFound,
    /// The request makes no sense. Retrying never helps.
    Invalid,
    /// This QEMU is too old, or built without what is needed. Retrying never helps.
    Unsupported,
    /// Another client, tool or process holds what is needed. Retrying later helps.
    Busy,
    /// QEMU went away, or does not answer. Retrying later may help.
    Unreachable,
    /// The guest agent is missing, refused, or was too slow, and falling down the consistency ladder
    /// was not allowed. Retrying later may help.
    Guest,
    /// The scratch folder has no room. Retrying helps once there is.
    NoSpace,
    /// The frozen instant was lost (scratch full or too slow); what was read through it so far is right,
    /// the rest cannot be read. A new freeze helps.
    Broken,
    /// QEMU or the operating system refused. Retrying later may help.
    Failed,
}

impl ErrorKind {
    /// Whether the same call can succeed later without anybody changing the request.
    pub fn retry_helps(self) -> bool {
        !matches!(self, Self::NotFound | Self::Invalid | Self::Unsupported)
    }
}

/// Why a machine could not be described, frozen or released.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of talking to a hypervisor.
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
            Os::WouldBlock => ErrorKind::Busy,
            Os::ConnectionRefused | Os::ConnectionReset | Os::BrokenPipe | Os::UnexpectedEof => {
                ErrorKind::Unreachable
            }
            _ => ErrorKind::Failed,
        };
        Self::caused(kind, context, source)
    }

    /// What the caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether there is no machine any more behind the address: then no guest of it is frozen.
    pub fn is_gone(&self) -> bool {
        let refused = || {
            let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
            std::iter::from_fn(move || {
                let this = next?;
                next = this.source();
                Some(this)
            })
            .filter_map(<dyn std::error::Error>::downcast_ref::<std::io::Error>)
            .any(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        self.kind == ErrorKind::NotFound || refused()
    }

    /// The same error seen from one step further out.
    pub(crate) fn within(self, context: impl Into<String>) -> Self {
        Self { kind: self.kind, context: context.into(), source: Some(Box::new(self)) }
    }

    /// Many failures as one, in the order they happened; the first gives kind and cause.
    pub(crate) fn gather(context: &str, errors: Vec<Self>) -> Result<()> {
        let rest: Vec<String> = errors.iter().skip(1).map(Self::chain).collect();
        let Some(first) = errors.into_iter().next() else { return Ok(()) };
        let also = if rest.is_empty() { String::new() } else { format!("; also: {}", rest.join("; ")) };
        Err(first.within(format!("{context}{also}")))
    }

    /// The whole chain on one line, for records that outlive the error.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.context.clone();
        let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
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
