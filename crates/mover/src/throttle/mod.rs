//! How fast a source may be read: limits of a job, of a host, and those that a suffering guest sets.
//!
//! A [`Throttle`] is shared by all that it limits: one for a job, one for a host's jobs. A read waits for every
//! throttle it stands under. Freezing a machine and giving it back is never slowed: the sooner the better.

mod backoff;
mod bucket;

pub use backoff::beside;
pub(crate) use backoff::{Backoff, LOOK, watch};

use async_trait::async_trait;
use block::{BlockSource, Extent};
use bucket::Bucket;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// The most that may be read in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: Option<NonZeroU64>,
    /// Reads, of a MiB at most each.
    pub reads: Option<NonZeroU64>,
}

/// A limit that several readers share.
#[derive(Debug)]
pub struct Throttle {
    bucket: Mutex<Bucket>,
    /// Bytes let through so far.
    passed: AtomicU64,
}

impl Throttle {
    /// Lets so much through.
    pub fn new(limits: Limits) -> Self {
        Self { bucket: Mutex::new(Bucket::new(limits, Instant::now())), passed: AtomicU64::new(0) }
    }

    /// Changes the limits, for reads that come from now on.
    pub fn set(&self, limits: Limits) {
        self.bucket.lock().expect("no holder panics").set(limits);
    }

    /// Returns when so many bytes may be read.
    pub async fn admit(&self, bytes: u64) {
        let when = self.bucket.lock().expect("no holder panics").take(bytes, Instant::now());
        if let Some(when) = when {
            sleep_until(when).await;
        }
        self.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

/// Reads of a running machine's disk that are under way at once. QEMU answers them on the thread that also serves the
/// guest, one behind the other: a write of the guest's waits for all that came before it.
pub(crate) const READS_BESIDE_GUEST: usize = 4;

/// A source that is read no faster than all its throttles allow.
pub struct Throttled<S> {
    source: S,
    throttles: Vec<Arc<Throttle>>,
    /// Reads that may still be begun.
    turns: Semaphore,
}

impl<S: BlockSource> Throttled<S> {
    /// Puts a source under throttles.
    pub fn new(source: S, throttles: Vec<Arc<Throttle>>) -> Self {
        Self { source, throttles, turns: Semaphore::new(Semaphore::MAX_PERMITS) }
    }

    /// Has so many reads under way at most.
    pub(crate) fn at_once(self, reads: usize) -> Self {
        Self { turns: Semaphore::new(reads), ..self }
    }

    /// The source again.
    pub fn into_inner(self) -> S {
        self.source
    }
}

#[async_trait]
impl<S: BlockSource> BlockSource for Throttled<S> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        self.source.extents(offset, length).await
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        for throttle in &self.throttles {
            throttle.admit(buffer.len() as u64).await;
        }
        let _turn = self.turns.acquire().await.expect("never closed");
        self.source.read(offset, buffer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::MemoryDisk;

    #[tokio::test]
    async fn what_is_read_passes_every_throttle_and_stays_what_it_was() {
        let throttles = [Limits::default(), Limits { bytes: NonZeroU64::new(1 << 40), reads: None }];
        let throttles = throttles.map(|limits| Arc::new(Throttle::new(limits)));
        let source = Throttled::new(MemoryDisk::from(vec![7; 4096]), throttles.to_vec());
        assert_eq!(source.read(1024, vec![0; 2048]).await.unwrap(), [7; 2048]);
        assert!(source.read(4096, vec![0; 1]).await.is_err());
        assert!(throttles.iter().all(|throttle| throttle.passed() == 2049));
        assert_eq!(source.extents(0, 4096).await.unwrap().len(), 1);
    }
}
