//! Freezing: one instant of a machine's disks, held while the guest runs on.
//!
//! A `copy-before-write` filter is put between each device and its disk in a pause of milliseconds. When the
//! guest overwrites something the filter first saves it to a scratch file, and `snapshot-access` reads the
//! disk as it was, over NBD. If the scratch file fails or is slow the snapshot breaks (`break-snapshot`),
//! never the guest: reads of it then fail, for good.
//!
//! | file | holds |
//! | --- | --- |
//! | `request.rs`, `frozen.rs` | what goes in and what comes out |
//! | `owner.rs` | the task that owns a freeze from beginning to end: start here |
//! | `prepare.rs` | everything before the guest notices |
//! | `quiesce.rs`, `hooks.rs` | the guest agent, the ladder, the evidence |
//! | `window.rs` | `stop` to `cont` |
//! | `bitmaps.rs` | which records of changes may be believed |
//! | `reconcile.rs`, `names.rs` | taking back what is ours, by name |
//! | `scratch.rs` | the folder and its lock |

mod bitmaps;
mod check;
mod frozen;
mod hooks;
pub(crate) mod names;
mod owner;
mod prepare;
mod quiesce;
mod reconcile;
mod request;
mod scratch;
mod window;

pub(crate) use frozen::begin;
pub use frozen::{FrozenDisk, FrozenMachine, Outcome, Tracking};
pub use hooks::{HookPhase, HookResult};
pub(crate) use prepare::reconcile;
pub use quiesce::Consistency;
pub use request::{FreezeRequest, Level};
