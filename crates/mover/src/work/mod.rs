//! The mover as a program: it asks a server for orders and carries them out, until it is told to stop.
//!
//! ```text
//! orders.rs   claim ─► carry out, a few at once ─────────────────────────────┐
//! lease.rs              └─ reports every 20 s: go on / cancel / lost ◄──────►│ server
//! inventory.rs          machines of the hosts, every minute ────────────────►│
//! ```
//! | file | holds |
//! | --- | --- |
//! | `settings.rs` | where it may write, how much at once |
//! | `server.rs` | the server, as far as the loop needs it |
//! | `orders.rs` | [`run()`]: the loop; `order.rs`: the course of one order, whatever comes of it |
//! | `lease.rs` | the claim on a job, kept and asked for; `told.rs`: how far it is |
//! | `backup.rs` | a machine becomes a point; `transfer.rs`: from the snapshot tier to the vault |
//! | `at_once.rs` | a machine that runs at once, its data following |
//! | `restore.rs`, `machine.rs` | disks of a point in a folder, and a new machine of them |
//! | `into.rs` | disks of a point into images and exports that are there |
//! | `replace.rs`, `pointer.rs` | a machine put back in its own place, undone, what it kept removed |
//! | `verify.rs`, `drill.rs`, `points.rs` | all else that is done with points |
//! | `snapshot.rs`, `export.rs` | snapshots of disks, and files made of them |
//! | `image.rs`, `create.rs` | images of machines, and machines of images |
//! | `copies.rs` | the vault's second store: points copied to it, the vault healed from it |
//! | `browse.rs` | sessions on the files of points: no orders |
//! | `meter.rs` | whose the bytes of the stores are |
//! | `vaults.rs`, `doors.rs` | vaults and machines, opened |
//! | `failure.rs` | what an error means for whether it is tried again |
//! | `join.rs` | how a mover comes by its token |
//!
//! Invariants:
//! - nothing is committed before the claim was made longer, after all was read; sessions of earlier claims were
//!   aborted before, in every store that they may have written to;
//! - a claim that is lost drops everything at once; one that is cancelled, fails or is given back leaves no session
//!   behind that could still commit, and tells of a point that exists;
//! - a panic in one order ends that order.
//!
//! CRASH: a lease that lapses, and what `backup()` and [`restore()`](crate::restore()) leave. The next claim goes on.

mod archive;
mod at_once;
mod backup;
mod browse;
mod copies;
mod create;
mod doors;
mod drill;
mod export;
mod failure;
mod image;
mod into;
mod inventory;
mod join;
mod lease;
mod machine;
mod meter;
mod nearest;
mod order;
mod orders;
mod pointer;
mod points;
mod replace;
mod restore;
mod server;
mod settings;
mod snapshot;
mod told;
mod transfer;
mod vaults;
mod verify;

pub use join::join;
pub use orders::run;
pub use server::Server;
pub use settings::Settings;
