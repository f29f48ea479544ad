//! Machines whose monitor we may hold: started by hand, by systemd, or by us.
//!
//! A `copy-before-write` filter is put between each device and its disk in a pause of milliseconds. When the
//! guest overwrites something the filter first saves it to a scratch file, and `snapshot-access` reads the
//! disk as it was, over NBD. If the scratch file fails or is slow the snapshot breaks (`break-snapshot`),
//! never the guest: reads of it then fail, for good.
//!
//! | file | holds |
//! | --- | --- |
//! | `machine.rs` | what a caller holds |
//! | `discover.rs`, `describe.rs`, `graph.rs` | what runs here, and what it is |
//! | `devices.rs` | what else is needed to make it again |
//! | `owner.rs` | one freeze from beginning to end: start here |
//! | `prepare.rs` | everything before the guest notices |
//! | `window.rs` | `stop` to `cont` |
//! | `bitmaps.rs` | which records of changes may be believed |
//! | `samples.rs` | bytes to audit those records by |
//! | `check.rs` | whether the instant still holds |
//! | `reconcile.rs`, `names.rs` | taking back what is ours, by name |
//! | `pull.rs` | pulling an image in, so that it needs nothing beneath it |
//! | `../scratch.rs` | the folder and its lock |
//! | `write_load.rs` | how the guest's writes fare |

pub(crate) mod bitmaps;
mod check;
mod describe;
mod devices;
mod discover;
mod graph;
mod machine;
mod names;
mod owner;
mod prepare;
mod pull;
mod reconcile;
mod samples;
mod window;
mod write_load;

pub use discover::{MachineAddress, discover, parse};
pub(crate) use discover::{Options, command_line, split_commas, working_folder};
pub use machine::QemuMachine;
