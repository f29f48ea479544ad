//! Backs off when the guest's writes suffer from being copied.

use super::{Limits, Throttle};
use hypervisor::{Machine, WriteLoad};
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::sleep;

/// So much slower writes may become: more is felt, less is noise.
const TOLERATED: f64 = 1.3;
/// And so much more besides, for a disk that answers at once.
const TOLERATED_FLOOR: Duration = Duration::from_micros(200);
/// Fewer writes than these in an interval say nothing.
const WRITES_MIN: u64 = 8;
/// How often the guest's writes are looked at: often enough to matter, rare enough to count some.
const INTERVAL: Duration = Duration::from_secs(1);
/// It never reads slower than this in a second. A backup that takes for ever hurts too: until its end, what the guest
/// overwrites is saved first.
const BYTES_MIN: u64 = 8 << 20;

/// Decides how fast to read. Pure: it is told what was seen, and gives the limit until it is told again.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// A write's mean latency before the backup.
    before: Option<Duration>,
    limit: Option<u64>,
    /// What was read in a second when it first had to slow down.
    free: u64,
}

impl Backoff {
    pub(crate) fn new(before: Option<Duration>) -> Self {
        Self { before, limit: None, free: 0 }
    }

    /// The mean latency between two looks before the backup, or since the machine was started if too little was
    /// written in between.
    pub(crate) fn baseline(earlier: &WriteLoad, now: &WriteLoad) -> Option<Duration> {
        mean(earlier, now).or_else(|| mean(&WriteLoad::default(), now))
    }

    /// Half as fast when writes are too slow; a quarter faster when they are not, until it need not be limited.
    fn observe(&mut self, latency: Option<Duration>, read_bytes: u64) -> Option<u64> {
        let suffers = match (self.before, latency) {
            (Some(before), Some(now)) => now > before.mul_f64(TOLERATED) + TOLERATED_FLOOR,
            _ => false,
        };
        self.limit = match self.limit {
            None if suffers => {
                self.free = read_bytes;
                Some((read_bytes / 2).max(BYTES_MIN))
            }
            None => None,
            Some(limit) if suffers => Some((limit / 2).max(BYTES_MIN)),
            Some(limit) => Some(limit + limit / 4).filter(|more| *more <= self.free),
        };
        self.limit
    }
}

fn mean(earlier: &WriteLoad, now: &WriteLoad) -> Option<Duration> {
    let enough = now.writes.checked_sub(earlier.writes)? >= WRITES_MIN;
    now.mean_since(earlier).filter(|_| enough)
}

/// Keeps `throttle` at what the guest of `machine` bears, as long as it is polled.
pub(crate) async fn watch(machine: &dyn Machine, throttle: &Throttle, before: Option<Duration>) {
    let mut backoff = Backoff::new(before);
    let mut earlier = None;
    loop {
        let passed = throttle.passed();
        sleep(INTERVAL).await;
        // Only to be kind: what stands against the backup itself is seen by whoever reads.
        let now = machine.write_load().await.ok().flatten();
        let latency = earlier.as_ref().zip(now.as_ref()).and_then(|(earlier, now)| mean(earlier, now));
        let limit = backoff.observe(latency, throttle.passed() - passed);
        throttle.set(Limits { bytes: limit.and_then(NonZeroU64::new), reads: None });
        earlier = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn it_halves_while_writes_suffer_and_comes_back_when_they_do_not() {
        let mut backoff = Backoff::new(ms(10));
        assert_eq!(backoff.observe(ms(13), 100 * MIB), None, "within what is borne");
        assert_eq!(backoff.observe(ms(20), 100 * MIB), Some(50 * MIB));
        assert_eq!(backoff.observe(ms(20), 50 * MIB), Some(25 * MIB));
        let limits: Vec<Option<u64>> = (0..8).map(|_| backoff.observe(ms(11), 25 * MIB)).collect();
        assert!(
            limits.windows(2).all(|pair| pair[1].is_none_or(|next| pair[0].is_some_and(|one| one < next)))
        );
        assert_eq!(limits.last(), Some(&None), "unlimited in the end");
        assert!(limits.iter().flatten().all(|limit| *limit <= 100 * MIB));
    }

    #[test]
    fn it_never_stands_still_and_never_acts_on_nothing() {
        let mut backoff = Backoff::new(ms(1));
        for _ in 0..20 {
            backoff.observe(ms(500), 20 * MIB);
        }
        assert_eq!(backoff.limit, Some(BYTES_MIN));
        assert_eq!(Backoff::new(None).observe(ms(500), MIB), None);
        assert_eq!(Backoff::new(ms(1)).observe(None, MIB), None);
        assert_eq!(
            Backoff::new(Some(Duration::from_micros(50))).observe(Some(Duration::from_micros(240)), MIB),
            None
        );
    }

    #[test]
    fn few_writes_say_nothing() {
        let load = |writes, ms| WriteLoad { writes, busy: Duration::from_millis(ms) };
        assert_eq!(Backoff::baseline(&load(100, 100), &load(110, 150)), ms(5));
        assert_eq!(Backoff::baseline(&load(100, 200), &load(101, 202)), ms(2), "since its start");
        assert_eq!(Backoff::baseline(&load(0, 0), &load(1, 50)), None);
    }
}
