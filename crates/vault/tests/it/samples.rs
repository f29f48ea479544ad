//! Blocks chosen at random are what the point holds, and any of them may be chosen.

use crate::backup::{back_up, create, noise};
use block::{BlockSink, BlockSource, MemoryDisk};
use std::collections::BTreeSet;
use vault::CHUNK_BYTES;

/// Enough for three levels of nodes; the last block is short.
const BLOCKS: u64 = 4200;
const TAIL: usize = 5000;

fn length(block: u64) -> usize {
    if block + 1 == BLOCKS { TAIL } else { CHUNK_BYTES }
}

/// Numbers that are the same in every run.
fn numbers() -> impl FnMut() -> u64 + Send {
    let mut state = 42u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    }
}

#[tokio::test]
async fn samples_are_blocks_that_hold_data_and_are_told_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::new((BLOCKS as usize - 1) * CHUNK_BYTES + TAIL);
    // A dense part, a sparse one, and the end.
    let data: BTreeSet<u64> = (10..30).chain([700, 1900, 1901, BLOCKS - 1]).collect();
    for block in &data {
        disk.write(block * CHUNK_BYTES as u64, noise(*block, length(*block))).await.unwrap();
    }
    let point = back_up(&vault, &disk, None).await.unwrap();
    let map = &point.disks[0].map;
    let mut random = numbers();

    let all = vault.sample_blocks(map, 5000, &mut random).await.unwrap();
    let offsets: Vec<u64> = data.iter().map(|block| block * CHUNK_BYTES as u64).collect();
    assert_eq!(all.iter().map(|one| one.offset).collect::<Vec<_>>(), offsets);
    for sample in &all {
        let mut bytes = disk.read(sample.offset, vec![0; sample.length]).await.unwrap();
        assert!(vault.is_same(sample, &bytes));
        assert!(!vault.is_same(sample, &bytes[1..]));
        bytes[sample.length / 2] ^= 1;
        assert!(!vault.is_same(sample, &bytes));
    }
    let mut met = BTreeSet::new();
    for _ in 0..200 {
        let few = vault.sample_blocks(map, 8, &mut random).await.unwrap();
        assert!((1..=8).contains(&few.len()) && few.iter().all(|one| all.contains(one)));
        assert!(few.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        met.extend(few.iter().map(|one| one.offset));
    }
    assert_eq!(met.len(), data.len(), "none is out of reach");
    let empty = back_up(&vault, &MemoryDisk::new(CHUNK_BYTES), None).await.unwrap();
    assert_eq!(vault.sample_blocks(&empty.disks[0].map, 8, &mut random).await.unwrap(), []);
}
