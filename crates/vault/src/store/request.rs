//! How a request is made: so many at once, each with a deadline, and again if its failure may pass.

use super::Store;
use super::error::may_pass;
use std::time::Duration;

/// Requests under way at once. Enough for the latency of a distant store (32 reads of 64 KiB at 50 ms are
/// 40 MiB/s); more of them make a store that is overloaded refuse everybody.
pub(super) const REQUESTS_MAX: usize = 32;
/// Tries of one request. With the pauses between them a store may be away for 15 to 30 seconds; what is
/// away for longer is an outage, and the whole job's matter.
pub(super) const ATTEMPTS_MAX: u32 = 8;
/// Tries when a store is opened: a mistaken address should be told at once.
pub(super) const ATTEMPTS_AT_OPEN_MAX: u32 = 3;
/// The pause after the first failure; it doubles with every one.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest pause: what a store that says "slow down" needs to make room again.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long an answer may take beside its bytes. A healthy store needs milliseconds; a local disk behind a
/// controller that resets has been seen to need half a minute.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The slowest line there is: 1 Mbit/s. A pack of 48 MiB may then take 7 minutes.
const BYTES_PER_SECOND_MIN: u64 = 128 * 1024;

/// What the library gives.
pub(super) type ObjectResult<T> = std::result::Result<T, object_store::Error>;

/// A request that moves `bytes`, within its deadline. Whether one that had no answer in time took effect is
/// not known.
pub(super) async fn within<T>(bytes: u64, request: impl Future<Output = ObjectResult<T>>) -> ObjectResult<T> {
    let limit = ANSWER_MAX + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
    tokio::time::timeout(limit, request).await.unwrap_or_else(|_| {
        let source = format!("no answer within {} s", limit.as_secs()).into();
        Err(object_store::Error::Generic { store: "object store", source })
    })
}

impl Store {
    /// Makes a request until it succeeds, its failure is final, or it was tried often enough. It must do
    /// no harm when it takes effect twice.
    pub(super) async fn patiently<T, F>(&self, name: &str, request: impl Fn() -> F) -> ObjectResult<T>
    where
        F: Future<Output = ObjectResult<T>>,
    {
        self.repeatedly(name, ATTEMPTS_MAX, request).await
    }

    /// As [`Store::patiently`], with so many tries.
    pub(super) async fn repeatedly<T, F>(
        &self,
        name: &str,
        attempts: u32,
        request: impl Fn() -> F,
    ) -> ObjectResult<T>
    where
        F: Future<Output = ObjectResult<T>>,
    {
        let mut attempt = 1;
        loop {
            // Boxed: what the library keeps per request would otherwise lie in every future above.
            match self.once(Box::pin(request())).await {
                Err(error) if attempt < self.attempts(attempts) && may_pass(&error) => {
                    pause(name, attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// One try, when its turn has come.
    pub(super) async fn once<T>(&self, request: impl Future<Output = ObjectResult<T>>) -> ObjectResult<T> {
        let _permit = self.requests.acquire().await.expect("never closed");
        self.check_directory()?;
        request.await
    }

    /// How often a request is tried that may be tried `attempts` times. A file system has tried itself:
    /// what it fails with does not pass by waiting.
    pub(super) fn attempts(&self, attempts: u32) -> u32 {
        if self.directory.is_some() { 1 } else { attempts }
    }
}

/// Waits after the failure of try number `attempt`: half of the pause for sure, the rest by chance, so that
/// many who failed at once do not come back at once.
pub(super) async fn pause(name: &str, attempt: u32) {
    let whole = (PAUSE_FIRST * 2u32.pow(attempt.min(16) - 1)).min(PAUSE_MAX);
    tokio::time::sleep(whole / 2 + (whole / 2).mul_f64(chance(name, attempt))).await;
}

/// From 0 to 1, by the object's name: names hold random ids, so writers differ, and a simulation repeats.
fn chance(name: &str, attempt: u32) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(&attempt.to_le_bytes());
    f64::from(hasher.finalize().as_bytes()[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_pauses_of_a_request_take_half_a_minute_at_most() {
        let started = tokio::time::Instant::now();
        for attempt in 1..ATTEMPTS_MAX {
            pause("packs/x/1", attempt).await;
        }
        let took = started.elapsed();
        assert!((Duration::from_secs(12)..=Duration::from_secs(31)).contains(&took), "{took:?}");
    }
}
