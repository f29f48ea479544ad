//! What a mover is told at its start.

use hypervisor::Watchdog;
use jiff::Timestamp;
use std::ffi::OsString;
use std::path::PathBuf;
use uuid::Uuid;

/// Orders at once, unless it is told otherwise: one reads while the other writes.
const ORDERS_AT_ONCE: usize = 2;

/// What a mover is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder for indexes (`cache/`) and for what is written down of guests that may be frozen (`frozen/`).
    pub data: PathBuf,
    /// A folder with room for what guests overwrite while they are backed up. QEMUs of other users must be able to
    /// pass through the folders above it.
    pub scratch: PathBuf,
    /// How many orders it carries out at once; at least one.
    pub orders_at_once: usize,
    /// A program that thaws a guest if this process dies, and its first arguments; see [`Watchdog`].
    pub watchdog: Option<(PathBuf, Vec<OsString>)>,
    /// What parses the file systems of points, caged; none: no files are lent. See [`crate::browse()`].
    pub files_program: Option<files::Program>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// Draws ids, which sort by time (version 7).
    pub draw: fn() -> Uuid,
}

impl Settings {
    /// Everything below one folder.
    pub fn below(data: PathBuf, clock: fn() -> Timestamp, draw: fn() -> Uuid) -> Self {
        let scratch = data.join("scratch");
        Self {
            data,
            scratch,
            orders_at_once: ORDERS_AT_ONCE,
            watchdog: None,
            files_program: None,
            clock,
            draw,
        }
    }

    /// Where indexes of vaults are kept.
    pub(super) fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }

    /// Where guests that may be frozen are written down.
    pub(super) fn freeze_records(&self) -> PathBuf {
        self.data.join("frozen")
    }

    /// Where it is written down which machines are being put back in their own place.
    pub(super) fn replacements(&self) -> PathBuf {
        self.data.join("replacements")
    }

    /// Where it is written down what machines are that are being made images.
    pub(super) fn captures(&self) -> PathBuf {
        self.data.join("captures")
    }

    /// Where it is written down which copies of images there are on this host.
    pub(super) fn image_copies(&self) -> PathBuf {
        self.data.join("images")
    }

    pub(super) fn watchdog(&self) -> Option<Watchdog> {
        let (program, arguments) = self.watchdog.clone()?;
        Some(Watchdog { program, arguments, records: self.freeze_records() })
    }
}
