//! Images: a generalised machine, stopped, becomes a version of an image in a vault, from which machines are made
//! ([`deploy`](crate::deploy)).
//!
//! A version is a point like any other, kept under the image's name instead of a machine's: it is copied to other
//! regions, verified and collected as points are.
//!
//! | file | holds |
//! | --- | --- |
//! | `course.rs` | [`capture()`] |
//! | `check.rs` | what on the disks belongs to one machine alone |
//! | `generalise.rs` | having a running guest forget it |
//! | `sysprep.rs` | the same on the disks of a stopped one |
//! | `record.rs` | what a version says of itself; which is meant |

mod check;
mod course;
mod generalise;
mod record;
mod sysprep;

pub use check::{Checked, Finding};
pub use course::{CaptureRequest, Captured, capture};
pub use generalise::{GENERALISE_STEPS, generalise};
pub use record::{ImageRecord, ImageVersion, image, images};
pub use sysprep::{GET_SYSPREP, OfflineGeneralise, SYSPREP};
