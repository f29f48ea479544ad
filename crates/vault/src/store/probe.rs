//! What a store must prove before a vault is put on it: that names are given once, that what was written is
//! listed and read back, that what was deleted is gone. Stores that claim to and do not are common.
//!
//! CRASH: leaves objects under `probe/<uuid>/`, which nothing refers to.

use super::Store;
use super::error::named;
use super::request::within;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Who want one name at once. Broken stores were seen to let 10 to 32 of 32 win.
const RACERS: u8 = 32;
/// Names they race for. A store that lets two win half of the time passes one time in 16.
const ROUNDS: u8 = 4;
/// Bytes of the object whose ranges are read.
const SAMPLE_BYTES: usize = 4096;

/// What a store may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By many writers at once.
    Shared,
    /// By one writer at a time only, and if nothing but us sees to that: names are given twice.
    SingleWriter {
        /// What it did wrong.
        reasons: Vec<String>,
    },
    /// For nothing: what is written is not reliably found.
    Refused {
        /// What it did wrong.
        reasons: Vec<String>,
    },
}

/// What a probe found.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// What the store may be used for.
    pub verdict: Verdict,
    /// Per round of the race, how many won. Exactly one should.
    pub winners: Vec<usize>,
    /// By how many seconds the store's clock is ahead of ours; negative if behind. Nothing rests on it but
    /// what people set by the clock: retention of objects, and how log lines compare.
    pub clock_skew_seconds: i64,
    /// Whether these credentials may delete. Writers need not; collection does.
    pub can_delete: bool,
}

impl ProbeReport {
    /// Fails unless many may write to the store.
    pub fn require_shared(&self, store: &Store) -> Result<()> {
        let (what, reasons) = match &self.verdict {
            Verdict::Shared => return Ok(()),
            Verdict::SingleWriter { reasons } => {
                ("gives one name to several writers, so backups could overwrite each other", reasons)
            }
            Verdict::Refused { reasons } => ("does not keep what is written to it", reasons),
        };
        let context = format!("{} {what}: {}; use another store", store.shown(), reasons.join("; "));
        Err(Error::new(ErrorKind::Invalid, context))
    }
}

/// What was seen to be wrong so far.
#[derive(Default)]
struct Faults {
    /// Two can write one name.
    shared: Vec<String>,
    /// What is written is not found.
    any: Vec<String>,
}

impl Store {
    /// Finds out what the store can be trusted with: some 300 small requests, many at once. `id` must be
    /// new; `now` is this host's time.
    ///
    /// # Errors
    /// If the store cannot be reached or refuses us: that is no verdict.
    pub async fn probe(&self, id: Uuid, now: Timestamp) -> Result<ProbeReport> {
        let folder = format!("probe/{id}");
        let names: Vec<String> = (0..=ROUNDS).map(|round| format!("{folder}/{round}")).collect();
        let mut faults = Faults::default();
        let examined = self.examine(&folder, &names, now, &mut faults).await;
        let cleaned = self.clean(&folder, &names, &mut faults).await;
        let (winners, clock_skew_seconds) = examined?;
        let can_delete = cleaned?;
        let verdict = match faults {
            Faults { shared, any } if any.is_empty() && shared.is_empty() => Verdict::Shared,
            Faults { shared, any } if any.is_empty() => Verdict::SingleWriter { reasons: shared },
            Faults { shared, any } => Verdict::Refused { reasons: [any, shared].concat() },
        };
        Ok(ProbeReport { verdict, winners, clock_skew_seconds, can_delete })
    }

    async fn examine(
        &self,
        folder: &str,
        names: &[String],
        now: Timestamp,
        faults: &mut Faults,
    ) -> Result<(Vec<usize>, i64)> {
        let skew = self.examine_one(&names[0], now, faults).await?;
        let mut winners = Vec::new();
        for name in &names[1..] {
            winners.push(self.race(name, faults).await?);
        }
        let listed = self.list(folder).await?;
        for name in names.iter().filter(|name| !listed.iter().any(|(listed, _)| listed == *name)) {
            faults.any.push(format!("{name} was written and is not listed"));
        }
        Ok((winners, skew))
    }

    /// Writes one object, reads it in parts, and tries to write it again; gives the skew of the clock.
    async fn examine_one(&self, name: &str, now: Timestamp, faults: &mut Faults) -> Result<i64> {
        let started = tokio::time::Instant::now();
        let sample: Bytes = (0..SAMPLE_BYTES).map(|at| (at % 251) as u8).chain(name.bytes()).collect();
        self.create(name, sample.clone()).await?;
        let path = ObjectPath::from(name);
        let head = self.patiently(name, || within(0, self.objects.head(&path))).await;
        let head = head.map_err(|e| named(self.shown(), "look at", name, e))?;
        let elapsed = started.elapsed().as_secs().cast_signed();
        let skew = head.last_modified.timestamp() - now.as_second() - elapsed;
        let size = sample.len() as u64;
        for range in [0..1, 1000..2000, size - 1..size, 0..size] {
            let right = sample.slice(range.start as usize..range.end as usize);
            self.compare(name, range, &right, faults).await?;
        }
        let other = Bytes::from(vec![b'x'; sample.len()]);
        match self.create(name, other).await {
            Ok(()) => faults.shared.push("it let an object be overwritten that had to be new".into()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.compare(name, 0..size, &sample, faults).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(skew)
    }

    /// Many put one name at once; gives how many were told that they were the one.
    async fn race(&self, name: &str, faults: &mut Faults) -> Result<usize> {
        let bytes_of = |racer: u8| Bytes::from(format!("{racer} {name}"));
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (store, name, bytes) = (self.clone(), name.to_owned(), bytes_of(racer));
            racers.spawn(async move { (racer, store.create(&name, bytes).await) });
        }
        let mut winners = Vec::new();
        while let Some(done) = racers.join_next().await {
            match done.expect("a racer does not panic") {
                (racer, Ok(())) => winners.push(racer),
                (_, Err(error)) if error.kind() == ErrorKind::AlreadyExists => {}
                (_, Err(error)) => return Err(error),
            }
        }
        match winners[..] {
            [] => faults.any.push(format!("of {RACERS} who wrote one new name at once none was let")),
            [winner] => {
                let right = bytes_of(winner);
                self.compare(name, 0..right.len() as u64, &right, faults).await?;
            }
            _ => faults.shared.push(format!(
                "of {RACERS} who wrote one new name at once {} were told that they were the one",
                winners.len()
            )),
        }
        Ok(winners.len())
    }

    async fn compare(
        &self,
        name: &str,
        range: std::ops::Range<u64>,
        right: &Bytes,
        faults: &mut Faults,
    ) -> Result<()> {
        let found = match self.get_range(name, range.clone()).await {
            Ok(bytes) if bytes == right => return Ok(()),
            Ok(_) => "gives other bytes than were written".into(),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                format!("does not give what was written: {error}")
            }
            Err(error) => return Err(error),
        };
        faults.any.push(format!("bytes {} to {} of {name}: it {found}", range.start, range.end));
        Ok(())
    }

    /// Deletes what the probe wrote, twice; gives whether it may.
    async fn clean(&self, folder: &str, names: &[String], faults: &mut Faults) -> Result<bool> {
        for name in names.iter().chain(names) {
            match self.delete(name).await {
                Ok(()) => {}
                // By policy of the credentials, or of a store that keeps what it was given.
                Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::AlreadyExists) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        for (name, _) in self.list(folder).await? {
            faults.any.push(format!("{name} was deleted and is still listed"));
        }
        if let Some(directory) = &self.directory {
            // Fails while another probe is at work: then that one does it.
            let _ = std::fs::remove_dir(directory.join(folder));
            let _ = std::fs::remove_dir(directory.join("probe"));
        }
        Ok(true)
    }
}
