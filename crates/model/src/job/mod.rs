//! Jobs: what kinds there are, the states they go through, who may work on them, and when they are tried again.
//!
//! A job is a row that several servers see. Whoever works on it holds a **lease**, with a **generation** that grows
//! with each claim; every report names the generation it was made under, and counts only if that is the newest. So a
//! claimant that was asleep, cut off or slow can change nothing after another took over, whatever its clock says: the
//! lease's time decides when somebody *may* take over, the generation who *did*.
//!
//! | file | holds |
//! | --- | --- |
//! | `kind.rs` | kinds, their steps, which exclude each other |
//! | `state.rs` | the job, and every transition in one function |
//! | `log.rs` | what of a change is written down |
//! | `retry.rs` | whether and when a failed attempt is tried again |
//! | `model.rs` | two servers, every interleaving, a crash at any point |
//!
//! What a crash leaves: a job with a lease that lapses. The next claim goes on at the step the last one was at; steps
//! find what they already did.

mod kind;
mod log;
#[cfg(test)]
mod model;
mod retry;
mod state;
#[cfg(test)]
mod tests;

pub use kind::{JobKind, Step};
pub use log::{JobEvent, written};
pub use retry::{Failure, Patience};
pub use state::{Claim, Event, Generation, Job, JobState, LAPSES_MAX, Lease, Refusal};
