//! Development only: builds and runs real guests, and judges what was made of their disks; runs real object
//! stores ([`StoreServer`]) and providers of single sign-on ([`IdentityProvider`]).
//!
//! A guest is a Debian kernel with a small tree in memory (busybox, the real QEMU guest agent, a real
//! PostgreSQL, our freeze hook) and two disks: `data0` (ext4, with the database) and `data1` (xfs). It is
//! fetched and built once into a cache folder; a test or the demo then starts machines from it.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use testkit::{Format, GuestImage, GuestMachine, MachineOptions};
//!
//! # fn main() -> anyhow::Result<()> {
//! let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
//! let folder = Path::new("/tmp/one-guest");
//! let disks = image.fresh_disks(folder, Format::Qcow2)?;
//! let machine = GuestMachine::start(&image, MachineOptions::new("one", folder, disks))?;
//! machine.wait_postgres(Duration::from_secs(60))?;
//! machine.psql("create table t as select 1")?;
//! machine.power_off()?;
//! # Ok(())
//! # }
//! ```
//!
//! **Called by** tests of every crate that deals with machines, and by `xtask`. **Calls** nothing of ours:
//! its QMP and agent clients are its own, so that the product cannot be checked with its own mistakes. It
//! ships two files of `hypervisor` into the guest: the freeze hook and PostgreSQL's freeze script.
//!
//! Reading order: [`GuestImage`] (`guest.rs`) → `packages.rs`, `tree.rs`, `initramfs.rs`, `disks.rs` →
//! [`MachineOptions`] (`launch.rs`) → [`GuestMachine`] (`machine.rs`) → [`Agent`], [`Monitor`] →
//! [`oracle`]; `libvirt.rs` for the same guest under a libvirt of its own. The guest's first process is
//! `guest/init`; its contract is at the head of that file.
//!
//! Invariants:
//! - nothing is installed on the host but missing programs ([`ensure_packages`]), and that only as root;
//! - a stage of the cache is whole if its stamp is there; one process builds at a time;
//! - the harness never connects to the product's monitor, and holds the agent's socket only for one call;
//! - the oracle works on copies.
//!
//! Errors are `anyhow` and for people. A killed test may leave a QEMU process behind; its folder's
//! `console.log` and `qemu.log` say what happened.

mod accel;
mod agent;
mod base64;
mod command;
mod cpio;
mod disks;
mod elf;
mod guest;
mod host;
mod identity;
mod initramfs;
mod launch;
mod libvirt;
mod libvirt_xml;
mod line_socket;
mod machine;
mod modules;
mod monitor;
mod mounts;
pub mod oracle;
mod packages;
mod postgres;
mod probe;
mod progress;
mod python;
mod stage;
mod store_server;
mod tree;
mod wait;

pub use accel::Accel;
pub use agent::Agent;
pub use disks::{BaseDisks, Format, copy_image};
pub use guest::{GuestImage, default_cache};
pub use host::ensure_packages;
pub use identity::{AnotherProvider, IdToken, IdentityProvider, Signing, browse};
pub use launch::{GuestDisk, MachineOptions};
pub use libvirt::{LibvirtDaemon, LibvirtGuest};
pub use machine::GuestMachine;
pub use monitor::Monitor;
pub use mounts::unmount;
pub use postgres::PostgresServer;
pub use progress::{Progress, to_stderr};
pub use python::schemathesis;
pub use store_server::{StoreKind, StoreServer};
