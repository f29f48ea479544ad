//! The library's errors in our kinds and words.

use crate::{Error, ErrorKind};
use object_store::Error as ObjectError;

/// Gives the library's error our kind and words.
pub(super) fn named(store: &str, verb: &str, object: &str, error: ObjectError) -> Error {
    let object = if object.is_empty() { "everything" } else { object };
    Error::caused(kind_of(&error), format!("{verb} {object} in {store}"), error)
}

fn kind_of(error: &ObjectError) -> ErrorKind {
    match error {
        ObjectError::NotFound { .. } => ErrorKind::NotFound,
        ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. } => ErrorKind::AlreadyExists,
        ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => ErrorKind::Denied,
        _ if is_full(error) => ErrorKind::NoSpace,
        _ => ErrorKind::Store,
    }
}

/// Whether the same request may be answered otherwise a little later.
///
/// The library does not let us see the status of an answer: what it does not name is retried, be it
/// "slow down", a broken connection, or a request that the store will never understand.
pub(super) fn may_pass(error: &ObjectError) -> bool {
    matches!(error, ObjectError::Generic { .. }) && !is_full(error)
}

/// Whether an operating system error for a full disk lies anywhere beneath.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind as Os;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), Os::StorageFull | Os::QuotaExceeded)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
