//! Many seeds on all cores.

use crate::seed::{Outcome, run};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What came of many seeds.
#[derive(Debug)]
pub struct Swept {
    /// Requests and acts.
    pub events: u64,
    /// Seeds that failed.
    pub failed: u64,
}

/// Runs all of them, whatever fails, and tells of each failure.
pub fn sweep(seeds: Range<u64>, failed: &(dyn Fn(u64, &Outcome) + Sync)) -> Swept {
    let (next, failures, events) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let outcome = run(seed, false);
            events.fetch_add(outcome.events, Ordering::Relaxed);
            if outcome.failure.is_some() {
                failures.fetch_add(1, Ordering::Relaxed);
                failed(seed, &outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    Swept { events: events.into_inner(), failed: failures.into_inner() }
}
