//! Machines on QEMU, with libvirt or without, and their disks: found, described, and frozen at one instant
//! while the guest runs on.
//!
//! **Called by** `mover` and the commands that list machines. **Calls** `nbd`, to see that a frozen disk can
//! still be read, and nothing else of ours. It is the only crate that speaks QMP and the guest agent's
//! protocol; it knows no vault (vaults and points are names of bitmaps here) and moves no blocks.
//!
//! Reading order: [`Machine`], the one trait (`machine.rs`) → [`MachineDescription`] → [`FreezeRequest`] →
//! [`FrozenMachine`] and the task behind it (`frozen.rs`) → a provider: [`qemu`] or [`libvirt`], whose
//! `owner.rs` is the whole course of a freeze, or [`offline`], for stopped machines. Shared by providers: the ladder (`consistency/`), [`Agent`]
//! (`agent/`) and the scratch folder (`scratch.rs`). [`guest`] puts our freeze hook into a guest. Below: [`Qmp`]
//! (`qmp/`).
//!
//! Invariants:
//! - the guest's writes go before our snapshot: a scratch disk that is full or slow costs the guest at most
//!   4 s once, and the backup its instant (of libvirt: see `libvirt/watch.rs`);
//! - a read through a [`FrozenDisk`] shows the instant or fails;
//! - an incremental is offered only if the bitmap holds every change since the parent: every doubt reads all;
//! - consistency is proved, not claimed: [`Consistency`] carries the evidence and the reasons for less;
//! - whatever a caller drops, `cont` follows `stop` and `thaw` follows `freeze`;
//! - what is ours in a QEMU is known by its name, and nothing else is touched.
//!
//! Errors are [`Error`]; its [`ErrorKind`] says whether trying again can help. **After a crash** of ours the
//! machine may be paused or its guest frozen if it came within a window of milliseconds, and keeps filters,
//! exports, bitmaps and a scratch folder: [`Machine::reconcile`] and the next freeze take all of it back, and
//! the chain of incrementals goes on. After a crash of QEMU the next freeze reads everything.
//!
//! ```no_run
//! use hypervisor::{FreezeRequest, Machine, Outcome, qemu};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> hypervisor::Result<()> {
//! for found in qemu::discover()? {
//!     let Some(monitor) = found.qmp.first() else { continue };
//!     let machine = qemu::QemuMachine::connect(monitor, found.agent.as_deref()).await?;
//!     let frozen = machine
//!         .freeze(FreezeRequest::new(
//!             "018f6d0c-0000-7000-8000-000000000001", // the point to be made
//!             "5f0c2a4e-0000-4000-8000-00000000000a", // the vault it goes to
//!             "/var/lib/strongroom/scratch",
//!         ))
//!         .await?;
//!     for disk in frozen.disks() {
//!         println!("{}: export {} at {}", disk.id, disk.export, disk.address);
//!     }
//!     frozen.check().await?;
//!     frozen.release(Outcome::Committed).await?;
//! }
//! # Ok(()) }
//! ```

mod agent;
mod consistency;
mod describe;
mod error;
mod firmware;
mod frozen;
pub mod guest;
mod hold;
pub mod libvirt;
mod machine;
pub mod offline;
mod pull;
pub mod qemu;
mod qmp;
pub mod recreate;
mod rendezvous;
mod request;
mod scratch;
mod selection;

pub use agent::base64;
pub use agent::{Agent, GuestFilesystem, GuestRun, GuestSystem, INSTALL_AGENT};
pub use consistency::{
    Consistency, HookPhase, HookResult, Level, Outstanding, SkippedHook, VssResult, Watchdog, stand_watch,
};
pub use describe::{
    DeviceDescription, DiskDescription, FirmwareDescription, FirmwareKind, MachineDescription,
    NicDescription, SkippedDrive,
};
pub use error::{Error, ErrorKind, Result};
pub use frozen::{FrozenDisk, FrozenMachine, Outcome, Sample, Tracking};
pub use hold::Hold;
pub use machine::{Machine, WriteLoad};
pub use pull::{Puller, Pulling};
pub use qmp::{Event, Peer, Qmp, QmpError, Transaction, Version};
pub use rendezvous::Rendezvous;
pub use request::FreezeRequest;
pub use selection::DiskSelection;
