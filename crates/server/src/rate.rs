//! How often somebody may ask: token buckets in memory of a fixed size.

use crate::answer::Refused;
use api::Code;
use jiff::Timestamp;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;

/// Two who share a bucket share its rate: with a thousand callers one in sixty does.
const BUCKETS: usize = 1 << 16;

/// A bucket for everybody who comes, chosen by a hash that nobody outside can know.
pub(crate) struct Buckets {
    /// What flows in each second.
    rate: f64,
    /// What a bucket holds.
    burst: f64,
    hasher: RandomState,
    buckets: Mutex<Vec<Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// What it held when it was last looked at.
    holds: f64,
    /// When that was; none: never, so it is full.
    looked: Option<Timestamp>,
}

impl Buckets {
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        let buckets = Mutex::new(vec![Bucket { holds: burst, looked: None }; BUCKETS]);
        Self { rate, burst, hasher: RandomState::new(), buckets }
    }

    /// Takes one from somebody's bucket.
    ///
    /// # Errors
    /// `TooManyRequests`, with when there will be one.
    pub(crate) fn take(&self, who: impl Hash, now: Timestamp) -> Result<(), Refused> {
        let place = usize::try_from(self.hasher.hash_one(who) % BUCKETS as u64).expect("less than 2^16");
        let mut buckets = self.buckets.lock().expect("nobody panics while holding it");
        let bucket = &mut buckets[place];
        let passed = bucket.looked.map_or(0.0, |looked| looked.duration_until(now).as_secs_f64().max(0.0));
        bucket.holds = (bucket.holds + passed * self.rate).min(self.burst);
        bucket.looked = Some(now);
        if bucket.holds >= 1.0 {
            bucket.holds -= 1.0;
            return Ok(());
        }
        let seconds = ((1.0 - bucket.holds) / self.rate).ceil().max(1.0) as u64;
        let detail = format!("at most {} requests a second over time", self.rate);
        Err(Refused::new(Code::TooManyRequests, detail).retry_after(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    #[test]
    fn a_burst_goes_through_and_then_the_rate() {
        let buckets = Buckets::new(2.0, 3.0);
        let taken = |who: &str, now| buckets.take(who, now).is_ok();
        assert_eq!([0; 4].map(|now| taken("a", at(now))), [true, true, true, false]);
        assert_eq!([499, 500, 501].map(|now| taken("a", at(now))), [false, true, false]);
        assert!(taken("b", at(501)), "each has its own");
        assert!(!taken("a", at(-9000)), "a clock that was put back fills nothing");
        assert_eq!(
            [100_000; 4].map(|now| taken("a", at(now))),
            [true, true, true, false],
            "no more than a burst"
        );
    }
}
