//! What a loop tells whoever watches it.

use std::time::Duration;

/// Something that happened, in order. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A step began; in words for people.
    Step(String),
    /// All disks stand at one instant.
    Frozen {
        /// How long the guest's processors stood still.
        paused: Duration,
        /// What was proved of the guest's consistency.
        consistency: String,
        /// Why it is not more, if it is less than was wished.
        fell_because: Vec<String>,
        /// Whether the guest gave all it has, so that nobody need see to it.
        is_all_there_is: bool,
        /// The size of all its disks.
        bytes: u64,
    },
    /// A record of changes was found to lie. Somebody should know: what let it lie may do so elsewhere. Nothing of
    /// the disk is believed; everything is read.
    Distrusted {
        /// The disk's name.
        disk: String,
        /// What was found.
        reason: String,
    },
    /// A disk's turn has come.
    Disk {
        /// Its name.
        name: String,
        /// Its size.
        size: u64,
        /// Whether only changes are read, or why everything is.
        tracking: String,
    },
    /// So much more of the disk is dealt with. Adds up to the disk's size.
    Advance(u64),
    /// The disk is done.
    DiskDone,
}
