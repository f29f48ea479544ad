//! Drills: a point is booted where it can harm nothing, and asked whether it is worth something.
//!
//! `due.rs` says which are due, `record.rs` holds what one came to; what a policy says of them is
//! [`Drills`](crate::policy::Drills).

mod due;
mod record;

pub use due::{DrillHistory, DrillWindow, DueDrill};
pub use record::{Check, CheckRecord, DrillRecord, DrillStage, Verdict};
