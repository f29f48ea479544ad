//! An index of as many chunks as is wished: how long it takes to make, to open and to look things up in, and in
//! how much memory. `cargo xtask bench index 100000000` prints it; as a test it is small and only checks answers.

use super::folder::Folder;
use super::known::FRESH_MAX;
use super::name::RunName;
use super::run::Run;
use super::spill::Spill;
use super::table::Table;
use super::{Index, Limits, Location};
use crate::{ChunkId, PackId, PackKind, SessionId, VaultId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Chunks of 64 KiB, a little compressed, in a pack of 48 MiB.
const CHUNKS_A_PACK: u64 = 1000;
const LOOKUPS: u64 = 200_000;

fn id(n: u64) -> ChunkId {
    ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn location(n: u64) -> Location {
    let session = SessionId(Uuid::from_u128(9));
    let pack = PackId { kind: PackKind::Data, session, sequence: (n / CHUNKS_A_PACK) as u32 };
    Location { pack, offset: (n % CHUNKS_A_PACK) as u32 * 48_000, length: 48_000 }
}

/// A figure of this process in MiB.
fn memory(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap_or("0 kB");
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap_or(0) / 1024
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    let (seconds, now, peak) = (begun.elapsed().as_secs_f64(), memory("VmRSS:"), memory("VmHWM:"));
    println!("{what}: {seconds:.2} s, {now} MiB of memory now, {peak} MiB at most so far");
    done
}

/// Looks up what is there and what is not.
fn look_up(what: &str, index: &Index, chunks: u64) {
    let step = (chunks / LOOKUPS).max(1);
    let hits = (0..chunks).step_by(step as usize);
    let count = hits.clone().count();
    timed(&format!("{count} hits in {} runs, {what}", index.runs.len()), || {
        for n in hits {
            assert_eq!(index.find(&id(n)).expect("whole"), [location(n)]);
        }
    });
    timed(&format!("{LOOKUPS} misses, {what}"), || {
        for n in 0..LOOKUPS {
            assert!(index.find(&id(u64::MAX - n)).expect("whole").is_empty());
        }
    });
}

#[test]
fn an_index_of_many_chunks() {
    let chunks = std::env::var("STRONGROOM_INDEX_CHUNKS").ok().and_then(|text| text.parse().ok());
    let chunks: u64 = chunks.unwrap_or(1_000_000);
    let place = tempfile::tempdir().expect("tempdir");
    let (limits, group) = (Limits::default(), Uuid::from_u128(4));
    let folder = Folder::below(place.path(), VaultId(Uuid::from_u128(1)));
    let index = |runs: BTreeMap<RunName, Arc<Run>>| {
        let (table, replaced) = (Table::new(runs.values().cloned()), BTreeMap::new());
        Index { folder: folder.clone(), limits, runs, table, replaced, damaged: BTreeSet::new() }
    };
    let mut spill = Spill::new(folder.clone(), limits, group);
    timed(&format!("{chunks} chunks added"), || {
        let mut numbers = (0..chunks).peekable();
        while numbers.peek().is_some() {
            let mut part: Vec<_> = numbers.by_ref().take(FRESH_MAX).map(|n| (id(n), location(n))).collect();
            spill.add(&mut part);
            spill.settle().expect("whole");
        }
    });
    let levels = spill.runs().into_iter().map(|run| (run.name, run)).collect();
    look_up("in levels", &index(levels), chunks);
    timed("merged into one group and kept", || {
        let mut merge = spill.into_merge().expect("whole");
        for sequence in 0.. {
            let body = merge.body(limits.run_entries).expect("whole");
            folder.keep(RunName { group, sequence }, &body).expect("kept");
            if merge.is_done() {
                break;
            }
        }
    });
    let kept = timed("opened", || {
        let names = (0..).map(|sequence| RunName { group, sequence });
        let open = |name: RunName| folder.open(name).map(|run| (name, Arc::new(run)));
        index(names.map_while(open).collect())
    });
    look_up("in one group", &kept, chunks);
    println!(
        "fences in memory: {} KiB",
        kept.runs.values().map(|run| run.bucket_count()).sum::<usize>() * 8 / 1024
    );
}
