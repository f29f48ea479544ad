//! What to open on a server.

use crate::wire::{CONTEXT_BITMAP_PREFIX, TEXT_BYTES_MAX};
use block::{Error, ErrorKind, Result};

/// What to open and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The export's name.
    pub export: String,
    /// A QEMU dirty bitmap, by its name: what is clean in it is told as `Unchanged`.
    pub dirty_bitmap: Option<String>,
    /// Ask which ranges are zero. Off for an export limited by a bitmap to what it preserves: QEMU
    /// fails such questions outside the bitmap.
    pub allocation: bool,
    /// Connections to use if the server says that several see one another's writes; else one is used.
    pub connections: usize,
}

impl Options {
    /// Everything the export holds, told with its zeros, over four connections.
    pub fn new(export: impl Into<String>) -> Self {
        Self { export: export.into(), dirty_bitmap: None, allocation: true, connections: 4 }
    }
    /// Refuses names that no server can have.
    pub(super) fn check(&self) -> Result<()> {
        let longest = TEXT_BYTES_MAX as usize - CONTEXT_BITMAP_PREFIX.len();
        for name in [Some(&self.export), self.dirty_bitmap.as_ref()].into_iter().flatten() {
            if name.len() > longest || name.contains('\0') {
                let context = "open an export: the name is too long or contains NUL";
                return Err(Error::new(ErrorKind::Invalid, context));
            }
        }
        Ok(())
    }
}
