//! Failed sign-ins: who tries again and again waits longer and longer.
//!
//! Counted for a name from an address, so that somebody who guesses does not lock out its owner; for an address,
//! which may try many names; and for a name, which may be tried from many addresses: there the wait stays short. In
//! memory, each server by itself: a restart forgives.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// Entries kept; a full table forgets who may try again soonest.
const ENTRIES_MAX: usize = 10_000;
/// Mistakes that cost nothing, for a name from an address: people mistype.
const FREE: u32 = 4;
/// For an address or a name as a whole: offices share an address.
const FREE_ALONE: u32 = 20;
/// A guesser gets no further with longer waits; the owner of a mistyped password would.
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Whoever knows a name could shut its owner out for so long.
const WAIT_MAX_NAME: SignedDuration = SignedDuration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct Tries(Mutex<HashMap<Key, Count>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Both(String, IpAddr),
    Address(IpAddr),
    Name(String),
}

#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    last: Timestamp,
    until: Timestamp,
}

impl Key {
    fn all(name: &str, from: IpAddr) -> [Self; 3] {
        // A name that cannot exist need not be kept at its full length.
        let name: String = name.chars().take(64).collect();
        [Self::Both(name.clone(), from), Self::Address(from), Self::Name(name)]
    }

    fn wait(&self, failures: u32) -> SignedDuration {
        let (free, most) = match self {
            Self::Both(..) => (FREE, WAIT_MAX),
            Self::Address(_) => (FREE_ALONE, WAIT_MAX),
            Self::Name(_) => (FREE_ALONE, WAIT_MAX_NAME),
        };
        match failures.checked_sub(free + 1) {
            None => SignedDuration::ZERO,
            Some(beyond) => SignedDuration::from_secs(1 << beyond.min(20)).min(most),
        }
    }
}

impl Tries {
    /// How long to wait before the next try; zero: none.
    pub(crate) fn wait(&self, name: &str, from: IpAddr, now: Timestamp) -> SignedDuration {
        let counts = self.0.lock().expect("nobody panics while holding it");
        let waits = Key::all(name, from).into_iter().filter_map(|key| counts.get(&key)).map(|count| {
            // A clock that was put back must not shut anybody out for longer than the longest wait.
            now.duration_until(count.until).min(WAIT_MAX)
        });
        waits.max().unwrap_or_default().max(SignedDuration::ZERO)
    }

    /// A try failed.
    pub(crate) fn failed(&self, name: &str, from: IpAddr, now: Timestamp) {
        let mut counts = self.0.lock().expect("nobody panics while holding it");
        for key in Key::all(name, from) {
            if counts.len() >= ENTRIES_MAX && !counts.contains_key(&key) {
                make_room(&mut counts, now);
            }
            let count = counts.entry(key.clone()).or_insert(Count { failures: 0, last: now, until: now });
            // Old mistakes are forgotten.
            let failures = if is_old(count, now) { 0 } else { count.failures };
            let failures = failures.saturating_add(1);
            *count = Count { failures, last: now, until: now + key.wait(failures) };
        }
    }

    /// A try went well: it was its owner.
    pub(crate) fn went_well(&self, name: &str, from: IpAddr) {
        let [both, ..] = Key::all(name, from);
        self.0.lock().expect("nobody panics while holding it").remove(&both);
    }
}

fn is_old(count: &Count, now: Timestamp) -> bool {
    count.last.duration_until(now) > WAIT_MAX + WAIT_MAX
}

fn make_room(counts: &mut HashMap<Key, Count>, now: Timestamp) {
    counts.retain(|_, count| !is_old(count, now));
    if counts.len() < ENTRIES_MAX {
        return;
    }
    let soonest = counts.iter().min_by_key(|(_, count)| count.until).map(|(key, _)| key.clone());
    soonest.map(|key| counts.remove(&key));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn waits_grow_for_who_guesses_and_stay_short_for_the_owner() {
        let tries = Tries::default();
        for _ in 0..FREE {
            tries.failed("alice", HERE, at(0));
        }
        assert!(tries.wait("alice", HERE, at(0)).is_zero(), "a few mistakes are free");
        tries.failed("alice", HERE, at(0));
        assert_eq!(tries.wait("alice", HERE, at(0)).as_secs(), 1);
        for _ in 0..30 {
            tries.failed("alice", HERE, at(0));
        }
        assert_eq!(tries.wait("alice", HERE, at(0)), WAIT_MAX);
        assert_eq!(tries.wait("bob", HERE, at(0)), WAIT_MAX, "the address tries others");
        assert!(tries.wait("alice", THERE, at(0)) <= WAIT_MAX_NAME, "the owner is elsewhere");
        assert!(tries.wait("bob", THERE, at(0)).is_zero());
        assert!(tries.wait("alice", HERE, at(16 * 60)).is_zero(), "waits end");
        tries.failed("alice", HERE, at(3 * 3600));
        assert!(tries.wait("alice", HERE, at(3 * 3600)).is_zero(), "old mistakes are forgotten");
    }

    #[test]
    fn who_signs_in_begins_anew() {
        let tries = Tries::default();
        for _ in 0..=FREE {
            tries.failed("alice", HERE, at(0));
        }
        tries.went_well("alice", HERE);
        assert!(tries.wait("alice", HERE, at(0)).is_zero());
    }

    #[test]
    fn memory_is_bounded() {
        let tries = Tries::default();
        for number in 0..ENTRIES_MAX + 200 {
            tries.failed(&format!("user {number}"), HERE, at(0));
        }
        assert!(tries.0.lock().unwrap().len() <= ENTRIES_MAX);
        assert_eq!(tries.wait("new", HERE, at(0)), WAIT_MAX, "the address is not forgotten");
    }
}
