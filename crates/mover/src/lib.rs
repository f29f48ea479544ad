//! The loops that move blocks: backup (a frozen machine → vault), restore (a point → images), serve
//! (a point → NBD).
//!
//! **Called by** the command line, and for a server's orders by [`work`], which speaks with it as any client does
//! (`api`). **Calls** `hypervisor` (freeze, expose, release), `nbd` (pull, present), `vault` (store, commit, read) and
//! `block` (copy). It knows no catalog and no schedule: what to do and when is decided elsewhere.
//!
//! Reading order: [`backup()`] (`backup.rs`) → `member.rs`, one machine of it, and `audit.rs` → [`store_disk()`]
//! (`store_disk.rs`, the loop of the product) → [`Throttle`] (`throttle/`) →
//! [`restore()`] (`restore.rs`) → `image.rs`, the files restored into → [`rescue()`] (`rescue.rs`, restore from a damaged
//! vault) → [`restore_into()`], what is there already → [`new_machine()`] → [`Replacement`] (`replace/`) → [`serve()`]
//! (`serve.rs`) → `snapshot.rs`, points that no policy owns → [`export()`] → [`instant`], machines that start at once on a point → [`drill`], points that are tried out →
//! [`capture`] and [`deploy`], images and the machines made of them →
//! [`browse()`] (`files.rs`) and `browse.rs`, files out of a point → [`machines`], where they are found → [`work`],
//! the mover as a program.
//!
//! Invariants:
//! - whatever happens during a backup, the machine is released: thawed, running, nothing of ours left;
//! - a bitmap moves forward only after the point is committed; until then the old one is kept or merged
//!   back, so the next backup reads a superset of what changed;
//! - a record of changes that was caught lying is not believed again: its disk is read whole, at a new instant;
//! - machines backed up together show one instant, or there is no point of any of them;
//! - a restored image stands under its name only when it is whole and durable.
//!
//! Errors: [`Error`] says which side failed, and carries that side's own error and kind.

mod audit;
mod backup;
mod browse;
pub mod capture;
pub mod deploy;
mod differences;
pub mod drill;
mod error;
mod export;
mod files;
mod image;
pub mod instant;
pub mod machines;
mod member;
mod new_machine;
mod progress;
mod replace;
mod rescue;
mod restore;
mod restore_into;
mod serve;
mod snapshot;
mod store_disk;
mod throttle;
pub mod work;

pub use audit::BLOCKS as AUDIT_BLOCKS;
pub use backup::{BackupRequest, Gate, backup, backup_group};
pub use error::{Error, Result};
pub use export::{ExportFormat, Exported, export};
pub use files::{browse, roots};
pub use image::ImageFormat;
pub use new_machine::{Defined, Made, NewMachine, Place, Recreated, new_machine};
pub use progress::Progress;
pub use replace::{
    Existing, Journal, Replacement, ReplacementPlan, SafetyPoint, Stage, Swap, plan_replacement,
};
pub use rescue::{RescuedDisk, rescue};
pub use restore::{RestoreRequest, Restored, RestoredDisk, is_firmware, restore};
pub use restore_into::{Target, restore_into};
pub use serve::serve;
pub use snapshot::{SnapshotCopy, copy_snapshot, is_snapshot, snapshot_key};
pub use store_disk::store_disk;
pub use throttle::{Limits, Throttle, Throttled, beside};
