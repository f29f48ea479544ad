//! When things run: slots, the start of each machine's run after its slot, what is due, and what is to be expected.
//!
//! | file | holds |
//! | --- | --- |
//! | `slot.rs` | the instants at which a policy wants a point, right in every time zone |
//! | `start.rs` | each machine's own moment after the slot |
//! | `due.rs` | what to run now: missed slots caught up once, overlapping ones skipped |
//! | `queue.rs` | who may start, under limits for each host, each store, and all |
//! | `forecast.rs` | what will run between two instants, and when it will end |

mod due;
mod forecast;
mod queue;
mod slot;
mod start;
#[cfg(test)]
mod tests;

pub use due::{Due, Skip, Skipped};
pub use forecast::{Expected, Forecast, Planned, expected_duration, forecast};
pub(crate) use forecast::{Playback, Watch};
pub use queue::{Limits, Queue, Run};
pub use slot::Slot;
pub use start::START_WINDOW_MAX;
