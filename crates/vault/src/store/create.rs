//! The one write of a vault: an object is put under a name that must be free.
//!
//! "It exists already" can mean three things, and only the object itself tells which:
//! - somebody else was first;
//! - we were: a try took effect, its answer was lost (to us, or to a proxy that repeated it);
//! - nobody was: stores answer 409 to one of two that try at once, or while a deletion is still going on.
//!
//! INVARIANT: whoever puts an object puts something into it that nobody else would (a session's id, a
//! random key). Equal bytes are therefore our own.

use super::error::{may_pass, named};
use super::request::{ATTEMPTS_MAX, pause, within};
use super::{ObjectResult, Store};
use crate::{Error, ErrorKind, Result};
use object_store::path::Path as ObjectPath;
use object_store::{Error as ObjectError, ObjectStore, PutMode, PutPayload};

/// What lies under a name that was said to be taken.
enum Found {
    Ours,
    Others,
    Nothing,
}

impl Store {
    /// Puts an object that must not exist yet. When this returns, the object is durable.
    ///
    /// # Errors
    /// `AlreadyExists` if other bytes lie there. After any other error the object may or may not be there,
    /// now or a little later: its name must not be used for anything else.
    pub async fn create(&self, name: &str, bytes: impl Into<PutPayload>) -> Result<()> {
        let payload: PutPayload = bytes.into();
        let mut attempt = 1;
        loop {
            let Err(error) = self.once(self.put(name, &payload)).await else { return Ok(()) };
            let taken = matches!(error, ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. });
            if taken {
                match self.found_at(name, &payload).await? {
                    Found::Ours => return Ok(()),
                    Found::Others => return Err(named(&self.shown, "write", name, error)),
                    Found::Nothing => {}
                }
            }
            if attempt >= self.attempts(ATTEMPTS_MAX) || !(taken || may_pass(&error)) {
                return Err(self.failed(name, error, taken));
            }
            pause(name, attempt).await;
            attempt += 1;
        }
    }

    async fn put(&self, name: &str, payload: &PutPayload) -> ObjectResult<()> {
        let path = ObjectPath::from(name);
        let put = self.objects.put_opts(&path, payload.clone(), PutMode::Create.into());
        within(payload.content_length() as u64, put).await.map(drop)
    }

    /// Reads back what lies there and compares it with what we put.
    async fn found_at(&self, name: &str, payload: &PutPayload) -> Result<Found> {
        match self.get(name).await {
            Ok(bytes) if is_equal(payload, &bytes) => Ok(Found::Ours),
            Ok(_) => Ok(Found::Others),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, name: &str, error: ObjectError, taken: bool) -> Error {
        if taken {
            let context = format!(
                "write {name} in {}: it says that the object exists, and that it does not",
                self.shown
            );
            return Error::caused(ErrorKind::Store, context, error);
        }
        named(&self.shown, "write", name, error)
    }
}

fn is_equal(payload: &PutPayload, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    payload.content_length() == bytes.len()
        && payload.iter().all(|part| {
            let (one, behind) = rest.split_at(part.len());
            rest = behind;
            one == part.as_ref()
        })
}
