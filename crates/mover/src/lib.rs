//! The loops that move blocks: backup (a frozen machine → vault), restore (a point → images), serve
//! (a point → NBD).
//!
//! **Called by** the command line, later by the job runner. **Calls** `hypervisor` (freeze, expose,
//! release), `nbd` (pull, present), `vault` (store, commit, read) and `block` (copy). It knows no
//! catalog, no policy and no schedule: what to do and when is decided elsewhere.
//!
//! Reading order: [`backup()`] (`backup.rs`) → [`store_disk()`] (`store_disk.rs`, the loop of the product) →
//! [`restore()`] (`restore.rs`) → [`rescue()`] (`rescue.rs`, restore from a damaged vault) → `image.rs`, the files restored into → [`serve()`] (`serve.rs`).
//!
//! Invariants:
//! - whatever happens during a backup, the machine is released: thawed, running, nothing of ours left;
//! - a bitmap moves forward only after the point is committed; until then the old one is kept or merged
//!   back, so the next backup reads a superset of what changed;
//! - a restored image stands under its name only when it is whole and durable.
//!
//! Errors: [`Error`] says which side failed, and carries that side's own error and kind.

mod backup;
mod error;
mod image;
mod progress;
mod rescue;
mod restore;
mod serve;
mod store_disk;

pub use backup::{BackupRequest, backup};
pub use error::{Error, Result};
pub use image::ImageFormat;
pub use progress::Progress;
pub use rescue::{RescuedDisk, rescue};
pub use restore::{RestoreRequest, Restored, RestoredDisk, is_firmware, restore};
pub use serve::serve;
pub use store_disk::store_disk;
