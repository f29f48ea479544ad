//! Which side of a loop failed.

use std::fmt;

/// Why a loop could not finish: what was being done, and the side that failed.
#[derive(Debug)]
pub enum Error {
    /// The machine or its hypervisor.
    Machine(String, hypervisor::Error),
    /// The vault or its store.
    Vault(String, vault::Error),
    /// Reading or writing blocks.
    Disk(String, block::Error),
}

/// The result of a loop.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Machine(doing, _) | Self::Vault(doing, _) | Self::Disk(doing, _)) = self;
        f.write_str(doing)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Machine(_, error) => error,
            Self::Vault(_, error) => error,
            Self::Disk(_, error) => error,
        })
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
