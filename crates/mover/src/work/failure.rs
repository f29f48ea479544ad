//! What an error means for whether and when an order is tried again: one table, in one place.

use super::server::in_words;
use api::JobError;
use model::job::Failure;

/// Why an order came to nothing.
#[derive(Debug)]
pub(super) struct Failed(pub(super) JobError);

/// The result of a part of an order.
pub(super) type Result<T> = std::result::Result<T, Failed>;

impl Failed {
    pub(super) fn new(failure: Failure, text: impl Into<String>, hint: &str) -> Self {
        Self(JobError { failure, text: text.into(), hint: (!hint.is_empty()).then(|| hint.to_owned()) })
    }

    /// What an error comes to. The side that is nearest to the cause decides: a block error may have a vault's
    /// beneath it.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let (failure, hint) = if let Some(crate::Error::Taken(..)) = find(error) {
            (Failure::Invalid, "choose an empty folder")
        } else if let Some(error) = find::<vault::Error>(error) {
            of_vault(error.kind())
        } else if let Some(error) = find::<hypervisor::Error>(error) {
            of_machine(error.kind())
        } else if let Some(error) = find::<block::Error>(error) {
            of_disk(error.kind())
        } else {
            (Failure::Invalid, "")
        };
        Self::new(failure, in_words(error), hint)
    }
}

impl From<crate::Error> for Failed {
    fn from(error: crate::Error) -> Self {
        Self::of(&error)
    }
}

impl From<vault::Error> for Failed {
    fn from(error: vault::Error) -> Self {
        Self::of(&error)
    }
}

impl From<hypervisor::Error> for Failed {
    fn from(error: hypervisor::Error) -> Self {
        Self::of(&error)
    }
}

impl From<block::Error> for Failed {
    fn from(error: block::Error) -> Self {
        Self::of(&error)
    }
}

/// The outermost error of a type.
fn find<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(<dyn std::error::Error>::downcast_ref)
}

const DAMAGED: &str =
    "keep the vault as it is; other points may be whole: `strongroom rescue vault verify` tells which";

fn of_vault(kind: vault::ErrorKind) -> (Failure, &'static str) {
    use vault::ErrorKind as Kind;
    match kind {
        Kind::Invalid => (Failure::Invalid, ""),
        Kind::NotFound => {
            (Failure::Invalid, "check where the vault is, and that the mover's host can see it")
        }
        Kind::AlreadyExists => (Failure::Invalid, "choose an empty place"),
        Kind::Key => (Failure::Denied, "the server's key file of the vault does not open it"),
        Kind::Denied => {
            (Failure::Denied, "set the store's credentials, AWS_... or AZURE_..., where the mover runs")
        }
        Kind::Unsupported => (Failure::Invalid, "use a newer strongroom on the mover's host"),
        Kind::Corrupt => (Failure::Corrupt, DAMAGED),
        Kind::TooMuch => (
            Failure::Invalid,
            "more than half of the vault would go: look at `strongroom rescue vault collect`, which can be allowed it",
        ),
        Kind::Conflict => (Failure::Busy, ""),
        Kind::NoSpace => (Failure::NoSpace, "make room where the vault lies"),
        Kind::Store => {
            (Failure::Unreachable, "check that the mover's host can read and write the vault's place")
        }
    }
}

fn of_machine(kind: hypervisor::ErrorKind) -> (Failure, &'static str) {
    use hypervisor::ErrorKind as Kind;
    match kind {
        Kind::NotFound | Kind::Invalid => (Failure::Invalid, ""),
        Kind::Unsupported => (Failure::Invalid, "QEMU 7.2 or newer is needed, with a QMP socket"),
        Kind::Busy => (Failure::Busy, "end the other client, or give the machine a second QMP socket"),
        Kind::Unreachable => (Failure::Unreachable, "check that the machine runs"),
        Kind::Guest => (Failure::Guest, "check the guest agent"),
        Kind::NoSpace => (Failure::NoSpace, "give the mover a larger folder as scratch"),
        // What the guest overwrote had no room, or not quickly enough: the next attempt meets the same folder.
        Kind::Broken => (Failure::NoSpace, "give the mover a larger or faster folder as scratch"),
        Kind::Failed => (Failure::Unreachable, ""),
    }
}

fn of_disk(kind: block::ErrorKind) -> (Failure, &'static str) {
    use block::ErrorKind as Kind;
    match kind {
        Kind::NotFound => (Failure::Invalid, "check the path; the folder above it must exist"),
        Kind::Invalid => (Failure::Invalid, ""),
        Kind::Corrupt => (Failure::Corrupt, DAMAGED),
        Kind::NoSpace => (Failure::NoSpace, "make room, or choose another folder"),
        Kind::Unreachable | Kind::Io => (Failure::Unreachable, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_side_that_is_nearest_to_the_cause_decides() {
        let vault = |kind| vault::Error::new(kind, "the store says no");
        let table: [(crate::Error, Failure); 6] = [
            (crate::Error::Vault("commit".into(), vault(vault::ErrorKind::Conflict)), Failure::Busy),
            (crate::Error::Disk("restore".into(), vault(vault::ErrorKind::Denied).into()), Failure::Denied),
            (
                crate::Error::Disk("restore".into(), block::Error::new(block::ErrorKind::NoSpace, "full")),
                Failure::NoSpace,
            ),
            (
                crate::Error::Machine(
                    "freeze".into(),
                    hypervisor::Error::new(hypervisor::ErrorKind::Broken, "too slow"),
                ),
                Failure::NoSpace,
            ),
            (
                crate::Error::Machine(
                    "freeze".into(),
                    hypervisor::Error::new(hypervisor::ErrorKind::Guest, "no agent"),
                ),
                Failure::Guest,
            ),
            (crate::Error::Taken("restore".into(), PathBuf::from("/a")), Failure::Invalid),
        ];
        for (error, failure) in table {
            let Failed(told) = error.into();
            assert_eq!(told.failure, failure, "{told:?}");
        }
        let Failed(told) = crate::Error::Vault("commit".into(), vault(vault::ErrorKind::Store)).into();
        assert_eq!(told.text, "commit: the store says no");
        assert!(told.hint.is_some());
    }
}
