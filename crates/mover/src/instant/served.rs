//! A disk of a point as it is served: reads of the guest and of the stream, each counted; the guest's go first.
//!
//! The two come over one connection. They are told apart by length: a job deals with pieces of 512 KiB, a guest's reads
//! are shorter as a rule. Nothing that QEMU asked for is held back: while a job waits for its answer, reads of the guest
//! wait with it (measured, QEMU 7.2). What yields to the guest is what we fetch beforehand.
//!
//! QEMU is never told the status of blocks. While a job runs, its copy-on-read filter asks whether anything lies beneath
//! before it reads for the guest; that question failing, it takes the range for one beyond the end, reads nothing and
//! reports success: for as long as a mover was dead, guests read zeros (seen with QEMU 7.2; the same in later ones). An
//! export without status is never asked, the read itself fails, and the guest is stopped.

use super::ahead::{Ahead, PIECE_BYTES};
use super::boot::{BootLog, BootRecord};
use super::turn::Turn;
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;
use vault::PointDisk;

/// Bytes of a machine's disks kept inflated, for all of them together: its boot's reads twice over.
const KEPT_BYTES: u64 = 256 << 20;
/// What is fetched for a boot before it is asked for: the rest of the kept bytes is for what it does ask for.
const PREFETCHED_BYTES_MAX: u64 = KEPT_BYTES / 2;
/// Fetched for a boot in one go, before it is looked whether the guest reads.
const PREFETCH_STEP: u64 = 512 << 10;

/// What was read so far through a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Reads of the guest.
    pub guest_reads: u64,
    /// Their bytes.
    pub guest_bytes: u64,
    /// Bytes read by the stream.
    pub stream_bytes: u64,
    /// Bytes fetched because an earlier boot read them.
    pub prefetched_bytes: u64,
    /// Bytes fetched from the vault and opened, for whatever reason.
    pub opened_bytes: u64,
    /// Milliseconds that what is fetched for a boot let the guest go first.
    pub yielded_ms: u64,
}

#[derive(Default)]
struct Counters {
    guest_reads: AtomicU64,
    guest_bytes: AtomicU64,
    stream_bytes: AtomicU64,
    prefetched_bytes: AtomicU64,
    yielded_ms: AtomicU64,
}

/// What all disks of a machine share.
pub(super) struct Shared {
    pub(super) turn: Turn,
    pub(super) disks: usize,
}

/// A disk as it is served.
pub(super) struct Served {
    disk: Arc<PointDisk>,
    shared: Arc<Shared>,
    ahead: Ahead,
    log: Option<BootLog>,
    /// The piece that a job reads.
    announced: Mutex<Range<u64>>,
    /// A read that failed, and was not seen to succeed since.
    failed: Mutex<Option<(u64, usize)>>,
    counters: Counters,
}

impl Served {
    pub(super) fn new(disk: PointDisk, shared: &Arc<Shared>, log: Option<BootLog>) -> Arc<Self> {
        let disk = disk.keeping(KEPT_BYTES / shared.disks.max(1) as u64);
        Arc::new(Self {
            disk: Arc::new(disk),
            shared: Arc::clone(shared),
            ahead: Ahead::default(),
            log,
            announced: Mutex::new(0..0),
            failed: Mutex::new(None),
            counters: Counters::default(),
        })
    }

    /// As an export.
    pub(super) fn export(self: &Arc<Self>) -> nbd::Export {
        nbd::Export::read_only(Arc::new(Reads(Arc::clone(self)))).without_status()
    }

    pub(super) fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Traffic {
            guest_reads: load(&counters.guest_reads),
            guest_bytes: load(&counters.guest_bytes),
            stream_bytes: load(&counters.stream_bytes),
            prefetched_bytes: load(&counters.prefetched_bytes),
            opened_bytes: self.disk.opened_bytes(),
            yielded_ms: load(&counters.yielded_ms),
        }
    }

    /// Whether the vault can be read: tries again what failed last.
    pub(super) async fn is_readable(&self) -> bool {
        let failed = *self.failed.lock().expect("no holder panics");
        let Some((offset, length)) = failed else { return true };
        let readable = self.disk.read(offset, vec![0; length]).await.is_ok();
        if readable {
            *self.failed.lock().expect("no holder panics") = None;
        }
        readable
    }

    /// Gets to hand what an earlier boot read, in its order, whenever the guest itself does not read.
    pub(super) async fn prefetch(&self, record: BootRecord) {
        let most = PREFETCHED_BYTES_MAX / self.shared.disks.max(1) as u64;
        for (offset, length) in record.ranges(self.disk.size()) {
            for start in (offset..offset + length).step_by(PREFETCH_STEP as usize) {
                self.yield_to_guest().await;
                let step = PREFETCH_STEP.min(offset + length - start);
                // It fails for the guest as well, who will be told.
                if self.disk.prefetch(start, step).await.is_err()
                    || add(&self.counters.prefetched_bytes, step) + step >= most
                {
                    return;
                }
            }
        }
    }

    /// Ends what was noted of a boot.
    pub(super) fn keep_boot(&self) {
        if let Some(log) = &self.log {
            log.keep();
        }
    }

    async fn yield_to_guest(&self) {
        let began = Instant::now();
        self.shared.turn.yield_to_guest().await;
        add(&self.counters.yielded_ms, began.elapsed().as_millis() as u64);
    }

    fn is_announced(&self, offset: u64, length: usize) -> bool {
        let announced = self.announced.lock().expect("no holder panics");
        announced.contains(&offset) && offset + length as u64 <= announced.end
    }

    async fn read_for_stream(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        add(&self.counters.stream_bytes, buffer.len() as u64);
        match self.ahead.take(offset, buffer).await {
            Ok(filled) => Ok(filled),
            Err(buffer) => self.disk.read(offset, buffer).await,
        }
    }

    async fn read_for_guest(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        let _turn = self.shared.turn.take();
        add(&self.counters.guest_reads, 1);
        add(&self.counters.guest_bytes, buffer.len() as u64);
        if let Some(log) = &self.log {
            log.note(offset, buffer.len() as u64, Instant::now());
        }
        self.disk.read(offset, buffer).await
    }
}

/// Adds, and gives what it was before.
fn add(counter: &AtomicU64, amount: u64) -> u64 {
    counter.fetch_add(amount, Ordering::Relaxed)
}

/// What reads are answered from.
struct Reads(Arc<Served>);

#[async_trait]
impl BlockSource for Reads {
    fn size(&self) -> u64 {
        self.0.disk.size()
    }

    /// Our server asks before each large read, of which it leaves out the holes.
    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        let served = &self.0;
        let extents = served.disk.extents(offset, length).await?;
        if length == PIECE_BYTES && extents.iter().any(|extent| extent.kind == ExtentKind::Data) {
            *served.announced.lock().expect("no holder panics") = offset..offset + length;
            if served.shared.turn.is_free() {
                served.ahead.follow(&served.disk, offset);
            }
        }
        Ok(extents)
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        let length = buffer.len();
        let read = if self.0.is_announced(offset, length) {
            self.0.read_for_stream(offset, buffer).await
        } else {
            self.0.read_for_guest(offset, buffer).await
        };
        if let Err(error) = &read {
            tracing::warn!("a read of {length} bytes at {offset} failed: {error}");
            *self.0.failed.lock().expect("no holder panics") = Some((offset, length));
        }
        read
    }
}
