//! Backs off when the guest's writes suffer from being copied.

use super::{Limits, Throttle};
use hypervisor::{Machine, WriteLoad};
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::sleep;

/// So much slower writes may become, on average and as QEMU sees them: more is felt, less is noise. What is promised is
/// 1.3 times for half of them, as the guest sees them: its processors share ours, too.
const TOLERATED: f64 = 1.1;
/// And so much more besides, for a disk that answers at once.
const TOLERATED_FLOOR: Duration = Duration::from_micros(10);
/// Fewer writes than these in an interval say nothing.
const WRITES_MIN: u64 = 8;
/// How often the guest's writes are looked at: often enough for a backup of some seconds, rare enough to count some.
const INTERVAL: Duration = Duration::from_millis(250);
/// It never reads slower than this in a second. A backup that takes for ever hurts more: until its end, what the guest
/// overwrites is saved first, and at 8 MiB/s that alone slowed its writes down for as long as they were looked at.
const BYTES_MIN: u64 = 32 << 20;

/// It begins so fast where it is known how fast the guest's writes are: full speed is felt before the first look is
/// over. Where that is not known, it begins as slow as it gets.
const BYTES_BEGIN: u64 = 64 << 20;
/// More than anything here reads in a second: no limit from there on.
const BYTES_FREE: u64 = 1 << 30;

/// How long a guest's writes are looked at, at least, before anything is done: what is done goes by them.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Decides how fast to read. Pure: it is told what was seen, and gives the limit until it is told again.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// A write's mean latency without the backup, as far as is known.
    alone: Option<Duration>,
    limit: Option<u64>,
    /// It was too fast once: near where that was, it comes back with care.
    suffered: bool,
}

impl Backoff {
    /// For a guest that was looked at twice before anything was read. If it wrote too little in between, what it wrote
    /// since it was started tells something; of one that never wrote nothing is known, and nothing is limited.
    pub(crate) fn new(earlier: &WriteLoad, now: &WriteLoad) -> Self {
        let seen = mean(earlier, now);
        let alone = seen.or_else(|| mean(&WriteLoad::default(), now));
        let begin = if seen.is_some() { BYTES_BEGIN } else { BYTES_MIN };
        Self { alone, limit: alone.map(|_| begin), suffered: false }
    }

    /// What may be read until the next look.
    pub(crate) fn limits(&self) -> Limits {
        Limits { bytes: self.limit.and_then(NonZeroU64::new), reads: None }
    }

    /// Half as fast when writes are too slow; faster when they are not, until it need not be limited: twice where there
    /// are none, a quarter where there are, and a sixteenth once it was too fast, so that most of the time is spent below
    /// what is felt. `speed` is what was read in a second.
    fn observe(&mut self, latency: Option<Duration>, speed: u64) {
        let suffers = match (self.alone, latency) {
            (Some(alone), Some(now)) => now > alone.mul_f64(TOLERATED) + TOLERATED_FLOOR,
            _ => false,
        };
        if suffers && self.limit == Some(BYTES_MIN) {
            // Next to nothing is read: the guest is busier than it was, and that is not ours to pay for.
            self.alone = latency;
        } else if let (Some(alone), Some(now)) = (self.alone, latency) {
            // Half of the way: one quick interval may be chance, and what was known may be an hour's mean.
            self.alone = Some(alone - alone.saturating_sub(now) / 2);
        }
        self.suffered |= suffers;
        let step = match latency {
            None => 1,
            Some(_) if self.suffered => 16,
            Some(_) => 4,
        };
        self.limit = if suffers {
            // A limit that was not reached is not what must become less.
            Some((speed.min(self.limit.unwrap_or(speed)) / 2).max(BYTES_MIN))
        } else {
            self.limit.map(|limit| limit + limit / step).filter(|more| *more <= BYTES_FREE)
        };
    }
}

fn mean(earlier: &WriteLoad, now: &WriteLoad) -> Option<Duration> {
    let enough = now.writes.checked_sub(earlier.writes)? >= WRITES_MIN;
    now.mean_since(earlier).filter(|_| enough)
}

/// Does work no faster than the guest of `machine` bears, as far as it waits for `throttle`. Once the machine is gone,
/// nobody is there to suffer.
pub async fn beside<T>(machine: &dyn Machine, throttle: &Throttle, work: impl Future<Output = T>) -> T {
    let load = || async { machine.write_load().await.ok().flatten().unwrap_or_default() };
    let earlier = load().await;
    sleep(LOOK).await;
    let backoff = Backoff::new(&earlier, &load().await);
    throttle.set(backoff.limits());
    tokio::select! {
        done = work => done,
        () = watch(machine, throttle, backoff) => unreachable!("it watches for ever"),
    }
}

/// Keeps `throttle` at what the guest of `machine` bears, as long as it is polled. It stands at `backoff`'s limits.
pub(crate) async fn watch(machine: &dyn Machine, throttle: &Throttle, mut backoff: Backoff) {
    let intervals = Duration::from_secs(1).div_duration_f64(INTERVAL);
    let look = || async { machine.write_load().await.ok().flatten() };
    let mut earlier = look().await;
    loop {
        let passed = throttle.passed();
        sleep(INTERVAL).await;
        // Only to be kind: what stands against the backup itself is seen by whoever reads.
        let now = look().await;
        let latency = earlier.as_ref().zip(now.as_ref()).and_then(|(earlier, now)| mean(earlier, now));
        let speed = (throttle.passed() - passed) as f64 * intervals;
        backoff.observe(latency, speed as u64);
        throttle.set(backoff.limits());
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

    /// What may be read after such a look.
    fn after(backoff: &mut Backoff, latency: Option<Duration>, speed: u64) -> Option<u64> {
        backoff.observe(latency, speed);
        backoff.limits().bytes.map(NonZeroU64::get)
    }

    /// For a guest whose writes took so long when it was looked at.
    fn knowing(ms: u64) -> Backoff {
        let seen = WriteLoad { writes: 100, busy: Duration::from_millis(100 * ms) };
        Backoff::new(&WriteLoad::default(), &seen)
    }

    #[test]
    fn it_halves_while_writes_suffer_and_comes_back_when_they_do_not() {
        let mut backoff = knowing(10);
        assert_eq!(backoff.limits().bytes, NonZeroU64::new(BYTES_BEGIN), "before anything was seen");
        assert_eq!(after(&mut backoff, ms(11), 64 * MIB), Some(80 * MIB), "within what is borne");
        assert_eq!(after(&mut backoff, ms(20), 80 * MIB), Some(40 * MIB));
        assert_eq!(after(&mut backoff, ms(20), 40 * MIB), Some(BYTES_MIN));
        assert_eq!(after(&mut backoff, ms(11), 32 * MIB), Some(34 * MIB), "with care, where it was too fast");
        assert_eq!(after(&mut backoff, None, 34 * MIB), Some(68 * MIB), "nobody is there to suffer");
        let limits: Vec<Option<u64>> = (0..50).map(|_| after(&mut backoff, ms(11), 25 * MIB)).collect();
        assert!(
            limits.windows(2).all(|pair| pair[1].is_none_or(|next| pair[0].is_some_and(|one| one < next)))
        );
        assert_eq!(limits.last(), Some(&None), "unlimited in the end");
        assert_eq!(after(&mut backoff, ms(20), 500 * MIB), Some(250 * MIB), "and limited again");
    }

    #[test]
    fn it_never_stands_still_and_never_acts_on_nothing() {
        let mut backoff = knowing(1);
        let mut latency = 500;
        for _ in 0..20 {
            latency *= 2; // whatever it does, it gets worse
            assert!(after(&mut backoff, ms(latency), 0).is_some_and(|limit| limit >= BYTES_MIN));
        }
        let never_wrote = &WriteLoad::default();
        assert_eq!(after(&mut Backoff::new(never_wrote, never_wrote), ms(500), MIB), None);
        assert_eq!(after(&mut knowing(1), None, MIB), Some(128 * MIB));
        let us = |us: u64| WriteLoad { writes: 100, busy: Duration::from_micros(100 * us) };
        let mut quick = Backoff::new(&WriteLoad::default(), &us(50));
        assert_eq!(after(&mut quick, Some(Duration::from_micros(64)), MIB), Some(80 * MIB));
    }

    #[test]
    fn a_guest_that_became_busier_does_not_hold_the_backup_for_ever() {
        let mut backoff = knowing(10);
        // Three times slower, however little is read.
        let limits: Vec<Option<u64>> = (0..80).map(|_| after(&mut backoff, ms(30), 100 * MIB)).collect();
        assert!(limits.contains(&Some(BYTES_MIN)), "first it makes sure that it is not the cause");
        assert_eq!(limits.last(), Some(&None));
        // When it is less busy again, that is what it is compared with.
        for _ in 0..10 {
            assert_eq!(after(&mut backoff, ms(10), 100 * MIB), None);
        }
        assert_eq!(after(&mut backoff, ms(30), 100 * MIB), Some(50 * MIB));
    }

    #[test]
    fn few_writes_say_nothing() {
        let load = |writes, ms| WriteLoad { writes, busy: Duration::from_millis(ms) };
        let backoff = Backoff::new(&load(100, 100), &load(110, 150));
        assert_eq!((backoff.alone, backoff.limit), (ms(5), Some(BYTES_BEGIN)));
        let backoff = Backoff::new(&load(100, 200), &load(101, 202));
        assert_eq!((backoff.alone, backoff.limit), (ms(2), Some(BYTES_MIN)), "since its start");
        assert_eq!(Backoff::new(&load(0, 0), &load(1, 50)).alone, None);
    }
}
