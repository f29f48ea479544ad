//! What is to run now: one run for all that was missed, none beside another.

use super::Slot;
use crate::{MachineId, Policy};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Missed slots are told one by one for so long; a server that was off for longer says "and before".
const MISSED_TOLD: SignedDuration = SignedDuration::from_hours(31 * 24);

/// What is due for one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Run this one now.
    pub run: Option<Slot>,
    /// Record that these do not run, and why.
    pub skipped: Vec<Skipped>,
}

/// A slot without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Which.
    pub slot: Slot,
    /// Why.
    pub why: Skip,
}

/// Why a slot has no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Nobody was there to start it; a later slot's run makes up for it.
    Missed,
    /// The machine's run before it was still under way.
    StillRunning,
}

impl Policy {
    /// What is due for a machine at `now`, when all slots up to `settled` have had a run or a record.
    ///
    /// Several slots may have come since: the last one runs, the others are recorded as missed. If a run is under
    /// way, none runs and all are recorded: one that waited would run right after it, for nothing. For a machine newly
    /// protected, `settled` is the time it was.
    pub fn due(&self, machine: MachineId, settled: Timestamp, now: Timestamp, is_running: bool) -> Due {
        let told = now.saturating_sub(MISSED_TOLD).expect("a duration, not a span");
        let after = settled.max(told);
        let mut slots: Vec<_> = self
            .slots(after, now)
            .filter(|slot| slot.at > after && self.start_of(slot, machine) <= now)
            .collect();
        let run = if is_running { None } else { slots.pop() };
        let why = if is_running { Skip::StillRunning } else { Skip::Missed };
        Due { run, skipped: slots.into_iter().map(|slot| Skipped { slot, why }).collect() }
    }
}
