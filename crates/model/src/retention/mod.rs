//! What is kept until when, and why.
//!
//! | file | holds |
//! | --- | --- |
//! | `class.rs` | which days a point stands for, its classes from them, how long each keeps it |
//! | `plan.rs` | every copy of every point: kept until when and why, or expired |
//! | `difference.rs` | what a change of policy would lose, before it is made |
//!
//! The laws, each a property test:
//! - The newest point of a machine is never lost, nor the newest scheduled one: extra points displace nothing.
//! - What is locked or pinned is never lost, whatever the policy.
//! - Longer retention never loses more.
//! - A point is kept at least as long as each of its classes says.
//! - The order of the points does not matter, and what expired, once gone, changes nothing for the rest.
//! - Where a plan's expiries are written back as locks (an immutable vault), they only grow.

mod class;
mod difference;
mod plan;
#[cfg(test)]
mod tests;

pub use class::{Class, Keep, Rule, goes_to_vault, stands_for};
pub use difference::{Change, Difference, difference};
pub use plan::{Fate, Plan, Reason, Tier, Until, Verdict, Why, covered, plan};
