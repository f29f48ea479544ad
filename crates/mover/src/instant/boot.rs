//! What a machine's boot read, so that its next one finds it at hand.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use vault::{CHUNK_BYTES, MachineKey};

/// A boot is over after so long: what is read later depends on what people do.
const BOOT_TIME: Duration = Duration::from_secs(120);
/// Blocks noted of a boot: 512 MiB of a disk.
const BLOCKS_MAX: usize = 8192;
/// A record's bytes at the most: each block by itself, in decimals.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A file of a boot's reads: runs of blocks in the order in which they were first read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootRecord {
    /// First block and count.
    pub(super) runs: Vec<(u64, u64)>,
}

/// Notes what a boot reads of a disk.
pub(super) struct BootLog {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    began: Option<Instant>,
    blocks: HashSet<u64>,
    record: BootRecord,
    /// How many blocks the record on disk has.
    kept: usize,
}

/// Where the record of a disk lies in a cache.
fn path_of(cache: &Path, machine: &MachineKey, disk: &str) -> PathBuf {
    cache.join("boots").join(machine.as_str()).join(format!("{}.json", crate::restore::file_name(disk)))
}

impl BootRecord {
    /// What is known of a disk's last boot. A record that cannot be read is none: it only makes things quicker.
    pub(super) fn read(cache: &Path, machine: &MachineKey, disk: &str) -> Self {
        let path = path_of(cache, machine, disk);
        let small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= RECORD_BYTES_MAX);
        let text = if small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The ranges of a disk of `size` bytes, in order.
    pub(super) fn ranges(&self, size: u64) -> Vec<(u64, u64)> {
        let chunk = CHUNK_BYTES as u64;
        let range = |(first, count): &(u64, u64)| {
            let offset = first.checked_mul(chunk).filter(|offset| *offset < size)?;
            let length = count.saturating_mul(chunk).min(size - offset);
            (length > 0).then_some((offset, length))
        };
        self.runs.iter().take(BLOCKS_MAX).filter_map(range).collect()
    }

    fn push(&mut self, block: u64) {
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == block => *count += 1,
            _ => self.runs.push((block, 1)),
        }
    }
}

impl BootLog {
    pub(super) fn new(cache: &Path, machine: &MachineKey, disk: &str) -> Self {
        Self { path: path_of(cache, machine, disk), seen: Mutex::default() }
    }

    /// The guest read something.
    pub(super) fn note(&self, offset: u64, length: u64, now: Instant) {
        let mut seen = self.seen.lock().expect("no holder panics");
        let began = *seen.began.get_or_insert(now);
        if now - began > BOOT_TIME || seen.blocks.len() >= BLOCKS_MAX {
            return;
        }
        let chunk = CHUNK_BYTES as u64;
        for block in offset / chunk..(offset + length).div_ceil(chunk) {
            if seen.blocks.insert(block) {
                seen.record.push(block);
            }
        }
    }

    /// Keeps what was noted for the next boot; nothing if the guest read nothing. That it cannot be kept is no fault
    /// of the restore's.
    pub(super) fn keep(&self) {
        let record = {
            let mut seen = self.seen.lock().expect("no holder panics");
            if seen.kept == seen.blocks.len() {
                return;
            }
            seen.kept = seen.blocks.len();
            seen.record.clone()
        };
        let folder = self.path.parent().expect("it was joined");
        let partial = self.path.with_extension("partial");
        let text = serde_json::to_vec(&record).expect("plain data");
        let kept = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&partial, text))
            .and_then(|()| std::fs::rename(&partial, &self.path));
        if let Err(error) = kept {
            tracing::warn!("cannot note what the boot read in {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_kept_in_its_order_and_cut_to_the_disk() {
        let folder = tempfile::tempdir().expect("tempdir");
        let machine = MachineKey::new("m").expect("a key");
        let log = BootLog::new(folder.path(), &machine, "d-disk0");
        let (now, chunk) = (Instant::now(), CHUNK_BYTES as u64);
        for block in [7, 8, 7, 2, 9] {
            log.note(block * chunk + 4096, 4096, now);
        }
        log.note(100 * chunk, 4096, now + BOOT_TIME * 2); // no boot any more
        log.keep();
        let record = BootRecord::read(folder.path(), &machine, "d-disk0");
        assert_eq!(record.runs, [(7, 2), (2, 1), (9, 1)]);
        assert_eq!(record.ranges(8 * chunk + 10), [(7 * chunk, chunk + 10), (2 * chunk, chunk)]);
        assert_eq!(BootRecord::read(folder.path(), &machine, "other"), BootRecord::default());
    }

    #[test]
    fn a_record_that_is_none_is_no_harm() {
        let folder = tempfile::tempdir().expect("tempdir");
        let machine = MachineKey::new("m").expect("a key");
        let path = path_of(folder.path(), &machine, "d");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
        for text in ["", "{", r#"{"runs":[[18446744073709551615,18446744073709551615]]}"#] {
            std::fs::write(&path, text).expect("write");
            assert!(BootRecord::read(folder.path(), &machine, "d").ranges(1 << 20).is_empty());
        }
    }
}
