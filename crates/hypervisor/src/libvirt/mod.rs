//! Machines of libvirt, on this host or, to look at, on others.
//!
//! libvirt holds their monitors and knows their block graphs, so nothing is done behind its back: it is asked,
//! by its own program `virsh`, for a backup job in pull mode (`backup-begin`: one transaction for all disks), for
//! checkpoints (its records of changes), and to pass on what the agent is told.
//!
//! What it gives is not what `qemu` has: QEMU saves blocks to a scratch file *before* the guest may overwrite
//! them, and if that fails it stops the guest. Hence `watch.rs`, which gives the backup up first.
//!
//! | file | holds |
//! | --- | --- |
//! | `machine.rs` | what a caller holds |
//! | `discover.rs`, `describe.rs`, `domain.rs` | what machines there are, and what they are |
//! | `owner.rs` | one freeze from beginning to end: start here |
//! | `prepare.rs` | everything before the guest notices |
//! | `job.rs` | the backup job |
//! | `checkpoints.rs` | which records of changes may be believed |
//! | `watch.rs` | the scratch folder's room, and a guest that was stopped |
//! | `guest.rs` | the agent, and the mark of a frozen guest |
//! | `reconcile.rs` | taking back what is ours |
//! | `pull.rs` | pulling an image in, so that it needs nothing beneath it |
//! | `link.rs`, `virsh.rs`, `xml.rs` | asking libvirt |

mod checkpoints;
mod describe;
mod discover;
mod domain;
mod guest;
mod job;
mod link;
mod machine;
mod owner;
mod prepare;
mod pull;
mod reconcile;
mod virsh;
mod watch;
mod xml;

/// The libvirt of this host.
pub const THIS_LIBVIRT: &str = "qemu:///system";

pub use discover::{LibvirtAddress, RunState, discover};
pub use machine::LibvirtMachine;
pub(crate) use virsh::Virsh;
