//! Any history of a disk comes back, every point of it, byte for byte.

use crate::backup::{Changes, back_up, blocks, create, noise, restore};
use block::{BlockSink, BlockSource, MemoryDisk};
use proptest::prelude::*;
use std::sync::Arc;
use vault::{CHUNK_BYTES, DiskMap, PointDisk};

/// One step in the life of a disk between two points.
#[derive(Clone, Debug)]
enum Step {
    Write { block: u64, seed: u64 },
    Repeat { block: u64, source: u64 },
    Zero { block: u64, blocks: u64 },
}

fn step(blocks: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..blocks, 0u64..1000).prop_map(|(block, seed)| Step::Write { block, seed }),
        (0..blocks, 0..blocks).prop_map(|(block, source)| Step::Repeat { block, source }),
        (0..blocks, 1..200u64).prop_map(|(block, blocks)| Step::Zero { block, blocks }),
    ]
}

const BLOCK: u64 = CHUNK_BYTES as u64;

async fn apply(disk: &MemoryDisk, steps: &[Step]) -> Changes {
    let size = BlockSource::size(disk);
    let length = |block: u64| (size - block * BLOCK).min(BLOCK) as usize;
    let mut changed = std::collections::BTreeSet::new();
    for step in steps {
        match *step {
            Step::Write { block, seed } => {
                disk.write(block * BLOCK, noise(seed, length(block))).await.expect("in range");
                changed.insert(block);
            }
            Step::Repeat { block, source } if length(block) == length(source) => {
                let bytes = disk.read(source * BLOCK, vec![0; length(source)]).await.expect("in range");
                disk.write(block * BLOCK, bytes).await.expect("in range");
                changed.insert(block);
            }
            Step::Repeat { .. } => {}
            Step::Zero { block, blocks } => {
                let end = ((block + blocks) * BLOCK).min(size);
                disk.zero(block * BLOCK, end - block * BLOCK).await.expect("in range");
                changed.extend(block..end.div_ceil(BLOCK));
            }
        }
    }
    changed.into_iter().map(|block| block..block + 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_point_of_any_history_restores(
        tail in 1u64..BLOCK,
        history in prop::collection::vec(prop::collection::vec(step(300), 0..12), 1..5),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("tempdir");
            let (vault, _) = create(folder.path()).await;
            let disk = MemoryDisk::new((299 * BLOCK + tail) as usize);
            let mut taken: Vec<(vault::Point, Vec<u8>)> = Vec::new();
            for steps in &history {
                let changes = apply(&disk, steps).await;
                let parent = taken.last().map(|(point, _)| (point, &changes));
                let point = back_up(&vault, &disk, parent).await.expect("backup");
                taken.push((point, disk.bytes()));
            }
            for (point, bytes) in &taken {
                assert!(restore(&vault, point).await.expect("restore") == *bytes, "point {} differs", point.id);
            }
            // The content alone makes a map: a full backup of the same bytes ends in the same root.
            let full = back_up(&vault, &disk, None).await.expect("full");
            let last = &taken.last().expect("one at least").0;
            assert!(full.disks[0].map.same_content(&last.disks[0].map));
            assert_eq!(full.stats.new_bytes, 0, "everything was known");
        });
    }
}

#[tokio::test]
async fn reads_of_any_offset_and_length_agree_with_the_disk() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::new(40 * CHUNK_BYTES + 777);
    for (block, seed) in [(0, 1), (1, 2), (5, 3), (17, 1), (40, 9)] {
        let length = if block == 40 { 777 } else { CHUNK_BYTES };
        disk.write(block * BLOCK, noise(seed, length)).await.expect("in range");
    }
    let point = back_up(&vault, &disk, None).await.expect("backup");
    let stored = PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone());
    let size = stored.size();
    for (offset, length) in
        [(0, 1), (65_535, 2), (3, 200_000), (size - 1, 1), (size - 70_000, 70_000), (0, size)]
    {
        let (ours, theirs) = (vec![1; length as usize], vec![2; length as usize]);
        let ours = stored.read(offset, ours).await.expect("read");
        assert!(ours == disk.read(offset, theirs).await.expect("read"), "{length} bytes at {offset}");
    }
    assert!(stored.read(size, vec![0; 1]).await.is_err(), "nothing lies beyond the end");
}

#[tokio::test]
async fn equal_halves_share_one_leaf_that_is_not_in_the_store_yet() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let half = noise(1, 64 * CHUNK_BYTES);
    let disk = MemoryDisk::from([half.clone(), half].concat());
    let point = back_up(&vault, &disk, None).await.expect("backup");
    assert!(restore(&vault, &point).await.expect("restore") == disk.bytes());
    assert_eq!(point.stats.new_bytes, 64 * BLOCK);
}

#[tokio::test]
async fn a_grown_disk_keeps_its_past_and_a_shrunk_one_is_refused() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let small = MemoryDisk::new(3 * CHUNK_BYTES);
    small.write(0, noise(1, 3 * CHUNK_BYTES)).await.expect("in range");
    let first = back_up(&vault, &small, None).await.expect("backup");
    // 64 × 64 blocks and one more: two levels above the old root.
    let large = MemoryDisk::new(4097 * CHUNK_BYTES);
    large.write(0, small.bytes()).await.expect("in range");
    large.write(BLOCK, noise(3, CHUNK_BYTES)).await.expect("in range");
    large.write(4096 * BLOCK, noise(2, CHUNK_BYTES)).await.expect("in range");
    let changes = vec![1..2, 4096..4097];
    let second = back_up(&vault, &large, Some((&first, &changes))).await.expect("backup");
    assert!(restore(&vault, &second).await.expect("restore") == large.bytes());
    assert!(back_up(&vault, &small, Some((&second, &vec![]))).await.is_err());
    let odd = MemoryDisk::new(CHUNK_BYTES + 1);
    let odd = back_up(&vault, &odd, None).await.expect("backup");
    assert!(back_up(&vault, &small, Some((&odd, &vec![]))).await.is_err(), "its last block was short");
}

#[tokio::test]
async fn an_incremental_writes_in_proportion_to_the_change() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::new(2000 * CHUNK_BYTES);
    for block in 0..2000 {
        disk.write(block * BLOCK, noise(block + 1, 4096)).await.expect("in range");
    }
    let first = back_up(&vault, &disk, None).await.expect("full");
    disk.write(1234 * BLOCK, noise(99, CHUNK_BYTES)).await.expect("in range");
    let second = back_up(&vault, &disk, Some((&first, &blocks(1234..1235)))).await.expect("incremental");
    assert_eq!(second.stats.new_bytes, BLOCK);
    assert!(second.stats.stored_bytes < BLOCK + 3 * 4096, "one chunk and one path: {:?}", second.stats);
    let unchanged = back_up(&vault, &disk, Some((&second, &vec![]))).await.expect("incremental");
    assert_eq!(unchanged.stats.stored_bytes, 0);
    assert!(DiskMap::same_content(&unchanged.disks[0].map, &second.disks[0].map));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_or_fetched_before_is_at_hand() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let chunk = CHUNK_BYTES as u64;
    let bytes: Vec<u8> = (0..10 * chunk + 512).map(|n| (n * 7 / 64) as u8).collect();
    let disk = MemoryDisk::from(bytes.clone());
    disk.zero(3 * chunk, 2 * chunk).await.expect("zero");
    let point = back_up(&vault, &disk, None).await.expect("back up");
    let stored = PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone()).keeping(64 << 20);
    assert_eq!(stored.opened_bytes(), 0);
    // Across data, zeros and the end, whatever the length.
    let expected = disk.bytes();
    for (offset, length) in [(0, 1), (4095, 70_000), (2 * chunk + 5, 200_000), (9 * chunk, chunk + 512)] {
        for _ in 0..2 {
            let read = stored.read(offset, vec![9; length as usize]).await.expect("read");
            assert_eq!(read, expected[offset as usize..(offset + length) as usize], "{length} at {offset}");
        }
    }
    let opened = stored.opened_bytes();
    stored.prefetch(0, chunk).await.expect("fetch");
    assert_eq!(stored.opened_bytes(), opened, "what is at hand is not fetched");
    stored.prefetch(6 * chunk, 2 * chunk).await.expect("fetch");
    assert_eq!(stored.opened_bytes(), opened + 2 * chunk);
    stored.read(6 * chunk, vec![0; chunk as usize]).await.expect("read");
    assert_eq!(stored.opened_bytes(), opened + 2 * chunk);
    assert!(stored.prefetch(10 * chunk, chunk).await.is_err(), "beyond the end");
}

/// Reads that run while the store is not there are errors, or right; afterwards they are right.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_goes_away_and_comes_back_never_gives_other_bytes() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (here, away) = (folder.path().join("vault"), folder.path().join("away"));
    std::fs::create_dir(&here).expect("a folder");
    let (vault, _) = create(&here).await;
    let disk = MemoryDisk::new(256 * CHUNK_BYTES);
    for block in (0..256).filter(|block| block % 5 != 3) {
        disk.write(block * BLOCK, noise(block, CHUNK_BYTES)).await.expect("in range");
    }
    let point = back_up(&vault, &disk, None).await.expect("backup");
    let expected = Arc::new(disk.bytes());
    for round in 0..20 {
        // Little is kept, so that most reads go to the store.
        let stored = PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone()).keeping(20 * BLOCK);
        let stored = Arc::new(stored);
        let reading = (0..4u64).map(|reader| {
            let (stored, expected) = (Arc::clone(&stored), Arc::clone(&expected));
            tokio::spawn(async move {
                let (mut failed, mut random) = (0, round * 4 + reader + 1);
                for _ in 0..60 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let length = 4096 << ((random >> 33) % 8);
                    let offset = (random >> 40) % (expected.len() as u64 - length) / 512 * 512;
                    let range = offset as usize..(offset + length) as usize;
                    match stored.read(offset, vec![0xee; length as usize]).await {
                        Ok(found) => assert!(found == expected[range], "{length} bytes at {offset}"),
                        Err(_) => failed += 1,
                    }
                    tokio::task::yield_now().await;
                }
                failed
            })
        });
        let reading: Vec<_> = reading.collect();
        std::fs::rename(&here, &away).expect("it goes away");
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        std::fs::rename(&away, &here).expect("it comes back");
        for reader in reading {
            reader.await.expect("no other bytes");
        }
        let whole = stored.read(0, vec![0xee; expected.len()]).await.expect("it is back");
        assert!(whole == *expected, "round {round}");
    }
}
