//! Everything with blocks is a [`BlockSource`] or a [`BlockSink`].
//!
//! A live disk frozen behind NBD, a disk image, a recovery point, a buffer in a test: all answer the
//! same three questions (how large, what lies where, which bytes), and everything that moves data is
//! a short loop over them. This crate is those two traits, the algebra of [`Extent`]s, the loop
//! ([`copy()`]) and the two simplest ends of it: memory and files.
//!
//! **Called by** every crate of the data plane. **Calls** nothing of ours. It knows no protocol, no
//! vault and no machine.
//!
//! Reading order: [`BlockSource`] and [`BlockSink`] (`traits.rs`) → [`Extent`] (`extent.rs`) →
//! [`pieces()`] (`pieces.rs`) → [`copy()`] (`copy.rs`) → [`FileDisk`], [`MemoryDisk`].
//!
//! Invariants:
//! - extents returned for a range are in order, touch one another, and cover exactly that range;
//! - a source never changes under its reader: whoever makes one has fixed its instant;
//! - bytes cross the traits in owned buffers, so a buffer can be reused and can move to another thread.
//!
//! Errors are [`Error`]: its [`ErrorKind`] says whether trying again can help. Nothing here is durable
//! by itself: after a crash a half-written sink is just that, and whoever made it must say so.

mod copy;
pub mod direct;
mod error;
mod extent;
mod file;
mod memory;
mod pieces;
mod traits;

pub use copy::{Copied, CopyOptions, copy};
pub use error::{Error, ErrorKind, Result};
pub use extent::{Extent, ExtentKind, align, coalesce};
pub use file::FileDisk;
pub use memory::MemoryDisk;
pub use pieces::{EXTENT_WINDOW, pieces};
pub use traits::{BlockSink, BlockSource, check_range};
