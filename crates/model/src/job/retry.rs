//! Whether and when a failed attempt is tried again.

use crate::chance::Random;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What an attempt failed of: as fine as what to do next differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Failure {
    /// A host or store does not answer. Comes back by itself, within minutes or after a night.
    Unreachable,
    /// Somebody else's work is in the way. Over soon.
    Busy,
    /// The guest could not be brought to rest. Seldom changes soon, and each attempt disturbs it.
    Guest,
    /// A store is full. Somebody has to act.
    NoSpace,
    /// Access is refused, keys do not fit. Trying again changes nothing, and may lock an account.
    Denied,
    /// What it works on is not there, or makes no sense. Trying again changes nothing.
    Invalid,
    /// Stored bytes are not what was written. Trying again changes nothing.
    Corrupt,
    /// Its claimants went away again and again.
    Lost,
}

/// How often and how long apart something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// Before the second; each wait after it is twice as long.
    pub first_wait: SignedDuration,
    /// No wait is longer.
    pub longest_wait: SignedDuration,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Busy,
        Self::Guest,
        Self::NoSpace,
        Self::Denied,
        Self::Invalid,
        Self::Corrupt,
        Self::Lost,
    ];

    /// How patient to be with it.
    pub fn patience(self) -> Patience {
        let minutes = SignedDuration::from_mins;
        let patience = |attempts, first, longest| Patience {
            attempts,
            first_wait: minutes(first),
            longest_wait: minutes(longest),
        };
        match self {
            // Two to three and a half hours: a host's reboot, a store's bad evening; over before a next slot, mostly.
            Self::Unreachable => patience(12, 1, 30),
            Self::Busy => patience(10, 1, 10),
            Self::Guest => patience(3, 5, 10),
            Self::NoSpace => patience(4, 15, 60),
            Self::Denied | Self::Invalid | Self::Corrupt | Self::Lost => patience(1, 0, 0),
        }
    }

    /// How long to wait after the so manieth attempt failed of this, the first being 1; none: it has failed for good.
    /// Between half of the wait and the whole, by the seed, so that what failed together is not tried together.
    pub fn wait(self, attempt: u32, seed: u64) -> Option<SignedDuration> {
        let Patience { attempts, first_wait, longest_wait } = self.patience();
        if attempt >= attempts {
            return None;
        }
        // Doublings beyond 20 are longer than any longest wait.
        let doublings = attempt.saturating_sub(1).min(20);
        let wait = (first_wait * (1 << doublings)).min(longest_wait);
        let half = wait.as_millis().cast_unsigned() / 2;
        let half = u64::try_from(half).expect("an hour at most");
        let extra = Random::new(seed).below(half + 1);
        Some(SignedDuration::from_millis((half + extra).cast_signed()))
    }
}
