//! The arithmetic of a limit: when the next read may begin. Pure; time is passed in.

use super::Limits;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::Instant;

/// What was not used for so long may be made up for. Longer would be felt by the guest as a burst.
const BURST: Duration = Duration::from_millis(100);

/// Reads take their place one behind the other, each as long as it costs at the limit.
#[derive(Debug)]
pub(super) struct Bucket {
    limits: Limits,
    /// When all that was let through so far is paid for.
    paid: Instant,
}

impl Bucket {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, paid: now }
    }

    pub(super) fn set(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// When a read of so many bytes may begin; `None` is at once.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let start = self.paid.max(now.checked_sub(BURST).unwrap_or(now));
        self.paid = start + self.cost(bytes);
        (start > now).then_some(start)
    }

    fn cost(&self, bytes: u64) -> Duration {
        let at = |amount: u64, rate: Option<NonZeroU64>| {
            rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(amount as f64 / rate.get() as f64))
        };
        at(bytes, self.limits.bytes).max(at(1, self.limits.reads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn limits(bytes: u64, reads: u64) -> Limits {
        Limits { bytes: NonZeroU64::new(bytes), reads: NonZeroU64::new(reads) }
    }

    /// How long it takes until the last of these reads may begin, if each is asked for as soon as it can be.
    fn time_for(limits: Limits, reads: &[u64]) -> Duration {
        let began = Instant::now();
        let (mut bucket, mut now) = (Bucket::new(limits, began), began);
        for bytes in reads {
            now = bucket.take(*bytes, now).unwrap_or(now);
        }
        now - began
    }

    #[test]
    fn the_tighter_limit_holds() {
        let reads = [MIB; 101];
        assert_eq!(time_for(limits(0, 0), &reads), Duration::ZERO);
        assert_eq!(time_for(limits(50 * MIB, 0), &reads).as_millis(), 2000);
        assert_eq!(time_for(limits(0, 20), &reads).as_millis(), 5000);
        assert_eq!(time_for(limits(50 * MIB, 20), &reads).as_millis(), 5000);
    }

    #[test]
    fn idle_time_is_made_up_for_a_little_only() {
        let began = Instant::now();
        let mut bucket = Bucket::new(limits(10 * MIB, 0), began);
        let later = began + Duration::from_secs(60);
        let waits = (0..20).filter(|_| bucket.take(MIB / 10, later).is_some()).count();
        // Ten make up for what was not used, one is of now.
        assert_eq!(waits, 9);
    }

    proptest! {
        #[test]
        fn in_no_time_is_more_let_through_than_the_limit(
            reads in prop::collection::vec((1u64..MIB, 0u64..300), 1..200),
        ) {
            let rate = 5 * MIB;
            let began = Instant::now();
            let (mut bucket, mut now, mut passed) = (Bucket::new(limits(rate, 0), began), began, 0);
            for (bytes, idle_ms) in reads {
                now += Duration::from_millis(idle_ms);
                now = bucket.take(bytes, now).unwrap_or(now);
                let allowed = ((now - began) + BURST).as_secs_f64() * rate as f64;
                // What passed before this one was paid for before it began.
                prop_assert!(passed as f64 <= allowed + 1.0);
                passed += bytes;
            }
        }
    }
}
