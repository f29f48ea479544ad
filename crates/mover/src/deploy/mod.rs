//! Machines made of an image, a few or hundreds at once, each with an identity of its own.
//!
//! ```text
//! machine: writes ─► DIR/web-7/disk.qcow2 ──reads of what is not there──► DIR/image-web-3/disk.raw ◄── once ── vault
//! ```
//! The overlays stand on one copy of the image on this host, which is filled from the vault: each block is fetched
//! once, however many machines read it. Nothing runs before the copy is whole; or all run at once, and the copy is served
//! to them until it is whole.
//!
//! | file | holds |
//! | --- | --- |
//! | `request.rs` | what is asked for, who the machines are |
//! | `course.rs` | [`deploy()`]: from the plan to the last start |
//! | `copy.rs` | the shared copy: its folder, its journal |
//! | `shared.rs` | a disk of it, filled as it is read |
//! | `overlay.rs` | an empty qcow2 overlay by our own hand |
//! | `seed.rs`, `iso.rs` | the disk that tells a guest who it is |
//! | `serving.rs` | [`Serving`]: machines run, the copy is filled |
//! | `flatten.rs` | machines that are to stand alone |
//! | `known.rs` | which copies there are on this host |

mod copy;
mod course;
mod flatten;
mod iso;
mod known;
mod overlay;
mod request;
mod seed;
mod serving;
mod shared;

pub use copy::{CopyJournal, Dependent, LocalCopy};
pub use course::{Deployed, deploy};
pub use flatten::flatten;
pub use known::{KnownCopy, copies_in_use, known_copies, note_copy};
pub use request::{DeployRequest, DeployedDisks, DeployedMachine, NewIdentity};
pub use serving::{Serving, ServingProgress};
