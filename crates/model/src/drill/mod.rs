//! Drills: a point is booted where it can harm nothing, and asked whether it is worth something.
//!
//! `record.rs` holds what one came to.

mod record;

pub use record::{Check, CheckRecord, DrillRecord, DrillStage, Verdict};
