//! When a slot's run really starts: a while after it, so that not all machines start at once.

use super::Slot;
use crate::chance::mix;
use crate::{MachineId, Policy};
use jiff::{SignedDuration, Timestamp};

/// Runs start within two hours of their slot, as in Azure.
pub const START_WINDOW_MAX: SignedDuration = SignedDuration::from_hours(2);
/// Where points are frequent, within this part of the time between them, so that they stay apart.
const START_WINDOW_PART: i32 = 4;

impl Policy {
    /// How long after its slot a run may start.
    pub fn start_window(&self) -> SignedDuration {
        START_WINDOW_MAX.min(self.rhythm().interval() / START_WINDOW_PART)
    }

    /// When a machine's run for a slot starts. The same for ever, for the same machine and slot; evenly spread over
    /// the window for many machines; drawn anew for every slot, so that no machine is always the last.
    pub fn start_of(&self, slot: &Slot, machine: MachineId) -> Timestamp {
        let window = self.start_window().as_secs().cast_unsigned();
        let (high, low) = machine.0.as_u64_pair();
        let hash = mix(mix(mix(high) ^ low) ^ slot.at.as_second().cast_unsigned());
        // The hash as a fraction of its range: no remainder, so no part of the window is favoured.
        let delay = (u128::from(hash) * u128::from(window)) >> u64::BITS;
        slot.at.saturating_add(SignedDuration::from_secs(delay as i64)).expect("a duration, not a span")
    }

    /// A machine's slots whose runs start from an instant on and before another, and when each does: what a
    /// [`forecast`](super::forecast()) is made of.
    pub fn starts(
        &self,
        machine: MachineId,
        from: Timestamp,
        before: Timestamp,
    ) -> impl Iterator<Item = (Slot, Timestamp)> {
        let earliest = from.saturating_sub(self.start_window()).expect("a duration, not a span");
        let starts = self.slots(earliest, before).map(move |slot| (slot, self.start_of(&slot, machine)));
        starts.filter(move |(_, start)| from <= *start && *start < before)
    }
}
