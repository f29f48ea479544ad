//! Instant restore: a machine starts at once on a point, and the data follows.
//!
//! Our NBD server shows the point's disks, read-only, on a socket in the restore's folder. Beside it lies an overlay
//! for each disk, whose backing is its export: what the guest writes stays there, what it has not written it reads
//! from the vault. While it runs, QEMU pulls the rest into the overlays; then nothing needs the server any more.
//!
//! What can die meanwhile: this process, the vault, QEMU, the host. Writes of the guest are in the overlays, so
//! nothing of them is lost. Reads wait for a new server for a while, then the guest is stopped (not told of an error);
//! [`InstantRestore::resume`] serves again and lets it run on.
//!
//! | file | holds |
//! | --- | --- |
//! | `request.rs` | what is asked for |
//! | `folder.rs` | the folder, its lock, the overlays |
//! | `journal.rs` | what is known of it on disk |
//! | `restore.rs` | [`InstantRestore`]: start, resume, finish, discard |
//! | `served.rs` | a disk as it is served: the guest first |
//! | `turn.rs` | whose turn it is |
//! | `ahead.rs` | reading ahead of the stream |
//! | `boot.rs` | what a boot read, for the next one |
//! | `stream.rs` | the machine, and its data following |
//! | `attach.rs` | how a machine is given the disks |
//! | `machine.rs` | the machine itself, made of its point |

mod ahead;
mod attach;
mod boot;
mod discard;
mod folder;
mod journal;
mod machine;
mod request;
mod restore;
mod served;
mod stream;
mod turn;

pub use attach::{libvirt_disk, qemu_arguments};
pub use discard::{Discard, plan_discard};
pub use journal::{Door, InstantDisk, Journal, State};
pub use machine::InstantMachine;
pub use request::{InstantOptions, InstantRequest};
pub use restore::InstantRestore;
pub use served::Traffic;
pub use stream::InstantProgress;
pub(crate) use stream::{connect, in_words};
