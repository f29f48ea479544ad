//! Metering: every stored byte is somebody's, once; what is shared is divided, and falls to who is left.

use crate::backup::{at_once, back_up_as, create};
use block::{BlockSink, MemoryDisk};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vault::{CHUNK_BYTES, MachineUse, Metered, Point, Vault};

/// A block that does not compress takes itself, its codec byte, its tag, and its row in the pack's table.
const STORED: u64 = CHUNK_BYTES as u64 + 1 + 16 + 40;
const BLOCKS: usize = 24;

/// A block that does not compress, another for each seed.
fn block(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK_BYTES];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A disk of these blocks; 0 is zeros.
async fn disk(seeds: &[u64]) -> MemoryDisk {
    let disk = MemoryDisk::new(BLOCKS * CHUNK_BYTES);
    for (place, seed) in seeds.iter().enumerate().filter(|(_, seed)| **seed != 0) {
        disk.write((place * CHUNK_BYTES) as u64, block(*seed)).await.expect("in range");
    }
    disk
}

async fn back_up(vault: &Arc<Vault>, machine: &str, seeds: &[u64]) -> Point {
    back_up_as(vault, &disk(seeds).await, None, (machine, Value::Null)).await.expect("backup")
}

/// Measures, and adds up.
async fn metered(vault: &Vault) -> Metered {
    let metered = vault.meter().await.expect("meter");
    assert_eq!(metered.stored_bytes, vault.usage().await.expect("list").1);
    let parts: u64 = metered.machines.iter().map(|one| one.share_bytes).sum();
    let own = metered.unreferenced_bytes + metered.index_bytes + metered.other_bytes;
    assert_eq!(parts + own, metered.stored_bytes, "{metered:?}");
    assert!(metered.machines.iter().all(|one| one.alone_bytes <= one.share_bytes), "{metered:?}");
    metered
}

fn part<'a>(metered: &'a Metered, machine: &str) -> &'a MachineUse {
    metered.machines.iter().find(|one| one.machine.as_str() == machine).expect("it has points")
}

#[tokio::test]
async fn clones_share_and_what_is_shared_falls_to_who_is_left() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    assert!(metered(&vault).await.machines.is_empty());
    let common: Vec<u64> = (1..=20).collect();
    let mut twin = common.clone();
    twin.extend([100, 101]);
    back_up(&vault, "original", &common).await;
    let alone = metered(&vault).await;
    let before = part(&alone, "original").clone();
    assert_eq!((before.share_bytes, before.used_bytes), (before.alone_bytes, 20 * CHUNK_BYTES as u64));
    assert!(before.share_bytes > 20 * STORED && before.share_bytes < 20 * STORED + 8000, "{before:?}");
    let second = back_up(&vault, "twin", &twin).await;
    let both = metered(&vault).await;
    let [original, twin] = ["original", "twin"].map(|machine| part(&both, machine));
    // The point's objects and maps are their own, as are two blocks of the twin's.
    assert!(original.share_bytes.abs_diff(10 * STORED) < 8000, "{original:?}");
    assert!(twin.share_bytes.abs_diff(12 * STORED) < 8000, "{twin:?}");
    assert!(original.alone_bytes < 8000 && twin.alone_bytes.abs_diff(2 * STORED) < 8000, "{both:?}");
    assert_eq!(twin.used_bytes, 22 * CHUNK_BYTES as u64);
    // Deleted, it can be had back, and is stored; collected, all falls to the other.
    vault.delete_point(second.id, crate::backup::now()).await.expect("delete");
    let deleted = metered(&vault).await;
    let kept = part(&deleted, "twin");
    assert_eq!((kept.points, kept.share_bytes), (0, twin.share_bytes));
    vault.collect(&at_once()).await.expect("collect");
    let left = metered(&vault).await;
    assert_eq!(left.machines.len(), 1);
    let original = part(&left, "original");
    assert_eq!((original.share_bytes, original.alone_bytes), (before.share_bytes, before.alone_bytes));
}

/// Machines of random blocks, points that come and go: each machine's part is what it should be, block by block.
#[tokio::test]
async fn parts_are_those_of_an_oracle_whatever_comes_and_goes() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let mut chance = 77u64;
    let mut next = |end: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % end
    };
    let names = ["a", "b", "c", "d"];
    let mut there: BTreeMap<&str, Vec<(Point, BTreeSet<u64>)>> = BTreeMap::new();
    for round in 0..14 {
        let name = names[next(4) as usize];
        let seeds: Vec<u64> = (0..BLOCKS).map(|_| next(60)).collect();
        let point = back_up(&vault, name, &seeds).await;
        let blocks = seeds.into_iter().filter(|seed| *seed != 0).collect();
        there.entry(name).or_default().push((point, blocks));
        if round % 3 == 2 {
            let name = names[next(4) as usize];
            if let Some((gone, _)) = there.get_mut(name).and_then(Vec::pop) {
                vault.delete_point(gone.id, crate::backup::now()).await.expect("delete");
                vault.collect(&at_once()).await.expect("collect");
            }
            there.retain(|_, points| !points.is_empty());
        }
        let metered = metered(&vault).await;
        assert_eq!(metered.machines.len(), there.len());
        let of: BTreeMap<&str, BTreeSet<u64>> = there
            .iter()
            .map(|(name, points)| (*name, points.iter().flat_map(|(_, blocks)| blocks).copied().collect()))
            .collect();
        for (name, blocks) in &of {
            let users = |seed: &u64| of.values().filter(|other| other.contains(seed)).count() as u64;
            let share: u64 = blocks.iter().map(|seed| STORED / users(seed)).sum();
            let alone: u64 = blocks.iter().filter(|seed| users(seed) == 1).count() as u64 * STORED;
            let part = part(&metered, name);
            // Beside blocks: maps of one node and objects of points.
            let own = 8000 * there[name].len() as u64;
            assert!((share..share + own).contains(&part.share_bytes), "{name}: {share} {part:?}");
            assert!((alone..alone + own).contains(&part.alone_bytes), "{name}: {alone} {part:?}");
            let newest = &there[name].last().expect("it has points").1;
            assert!(part.used_bytes >= newest.len() as u64 * CHUNK_BYTES as u64);
            assert_eq!(part.points, there[name].len() as u64);
        }
    }
}
