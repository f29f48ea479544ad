//! A machine made again from what a point tells of it, under another name or the same, on restored disks.
//!
//! [`command_line()`] and [`libvirt_definition()`] are pure but for one question, whether a host's file is there: they are
//! asked before anything is copied, so what cannot be is refused before hours of writing. [`start()`] and
//! [`define()`] then do what was planned.
//!
//! One rule stands above all: **the new machine never opens what the original writes**. Each drive is a restored file,
//! or cannot be written, or is left out and told; sockets, logs and pid files move into a folder of the new machine's;
//! addresses that only one machine can have (displays' ports, debuggers) are given up. What is left out or changed is
//! listed with its reason in [`LeftOut`]; what the machine would not be the same without (flash, TPM, kernel) is
//! refused.
//!
//! | file | holds |
//! | --- | --- |
//! | `recreation.rs` | what is wanted, and what is told |
//! | `command_line.rs` | QEMU's command line: start here |
//! | `words.rs` | its grammar |
//! | `drives.rs`, `blockdev.rs` | disks in all the forms people write them |
//! | `cards.rs` | network cards |
//! | `over_server.rs` | disks that are overlays over a server |
//! | `seed.rs` | a disk that tells the guest who it is |
//! | `sockets.rs` | monitors, consoles, displays |
//! | `host.rs` | files and devices of the host |
//! | `start.rs` | QEMU started, and its TPM |
//! | `attended.rs` | QEMU started so that it ends with us, its console written down |
//! | `attended_libvirt.rs` | the same of libvirt |
//! | `domain.rs`, `interfaces.rs` | libvirt's XML |
//! | `define.rs` | asking libvirt to take it |
//! | `stop.rs` | a machine that is there: stopped, and started again |

mod attended;
mod attended_libvirt;
mod blockdev;
mod cards;
mod command_line;
mod define;
mod domain;
mod drives;
mod host;
mod interfaces;
mod over_server;
mod recreation;
mod seed;
mod sockets;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod words;

pub use attended::{AttendedQemu, end_stray, record_console, start_attended};
pub use attended_libvirt::{AttendedInLibvirt, attend, libvirt_user, start_attended_in_libvirt};
pub use command_line::command_line;
pub use define::{define, start_defined};
pub use domain::{LibvirtDefinition, libvirt_definition};
pub use recreation::new_mac;
pub use recreation::{
    Identity, LeftOut, Macs, Network, OverServer, QemuPlan, Recreation, RestoredFile, TpmPlan,
};
pub use seed::{seed_libvirt, seed_qemu};
pub use start::{StartedQemu, start};
pub use stop::{Stop, buses, libvirt_is_off, start_again, stop_libvirt, stop_qemu};
