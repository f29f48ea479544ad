//! Drills: a point is booted where it can harm nothing, asked whether it is worth something, and torn down.
//!
//! The machine is the point's own by its description, with another uuid, other addresses, cards that are connected to
//! nothing, and nothing of the host's (`hypervisor::recreate`). Its disks are overlays in a folder of the drill's over
//! our NBD server of the point: nothing is copied, and what the guest writes is thrown away. The vault is only read.
//!
//! Tear-down is certain. QEMU is a part of this process and ends with it, however that ends, and libvirt destroys what it
//! runs for us when our connection ends; the folder goes with the drill. CRASH: a folder stays; it carries our mark, and the next drill, or the mover's start, plans what is to go,
//! checks that nobody is at work there, and deletes it ([`sweep()`]).
//!
//! | file | holds |
//! | --- | --- |
//! | `request.rs` | what is asked for |
//! | `course.rs` | [`drill()`], from beginning to end: start here |
//! | `attended.rs` | the machine, whoever runs it |
//! | `disks.rs` | the disks, as they are served and what lies over them |
//! | `console.rs` | what the guest says on its console |
//! | `sign.rs` | waiting for a sign of life |
//! | `checks.rs` | asking the guest |
//! | `screenshot.rs` | what its screen shows |
//! | `folder.rs` | the folder and its mark |
//! | `sweep.rs` | what killed drills have left |

mod attended;
mod checks;
mod console;
mod course;
mod disks;
mod folder;
mod request;
mod screenshot;
mod sign;
mod sweep;

pub use course::{DrillStep, Drilled, drill};
pub use request::{DrillRequest, Sign};
pub use screenshot::Screenshot;
pub use sweep::{Leftover, plan_sweep, sweep};
