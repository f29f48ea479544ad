//! Which side of a loop failed.

use std::fmt;
use std::path::PathBuf;

/// Why a loop could not finish: what was being done, and the side that failed.
#[derive(Debug)]
pub enum Error {
    /// The machine or its hypervisor.
    Machine(String, hypervisor::Error),
    /// The vault or its store.
    Vault(String, vault::Error),
    /// Reading or writing blocks.
    Disk(String, block::Error),
    /// Something is there already where something was to be made. Nothing was replaced.
    Taken(String, PathBuf),
}

/// The result of a loop.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(doing, _) | Self::Vault(doing, _) | Self::Disk(doing, _) => f.write_str(doing),
            Self::Taken(doing, path) => {
                write!(f, "{doing}: {} is there already, and nothing is replaced", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Machine(_, error) => Some(error),
            Self::Vault(_, error) => Some(error),
            Self::Disk(_, error) => Some(error),
            Self::Taken(..) => None,
        }
    }
}

/// Says what was being done when something failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for hypervisor::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Machine(what(), error))
    }
}

impl<T> Doing<T> for vault::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Vault(what(), error))
    }
}

impl<T> Doing<T> for block::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Disk(what(), error))
    }
}
