//! Snapshots: many points of one disk, each whole whatever becomes of the others; and what each takes up.

use crate::backup::{at_once, back_up, blocks, create, noise, now, restore};
use block::{BlockSink, MemoryDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vault::{CHUNK_BYTES, Point, PointId, Used, Vault};

const BLOCK: u64 = CHUNK_BYTES as u64;
/// As many as a disk may have.
const SNAPSHOTS: u64 = 500;
/// Blocks of the disk.
const BLOCKS: u64 = 12;

async fn assert_whole(vault: &Arc<Vault>, taken: &[(Point, Vec<u8>)]) {
    for (number, (point, bytes)) in taken.iter().enumerate() {
        let restored = restore(vault, point).await.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(restored == *bytes, "{number} is what the disk was");
    }
}

#[tokio::test]
async fn each_of_500_is_whole_and_any_can_go() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, BLOCKS as usize * CHUNK_BYTES));
    let mut taken = vec![(back_up(&vault, &disk, None).await.expect("backup"), disk.bytes())];
    for number in 1..SNAPSHOTS {
        let block = number * 5 % BLOCKS;
        disk.write(block * BLOCK, noise(1000 + number, CHUNK_BYTES)).await.expect("in range");
        let parent = &taken.last().expect("one at least").0;
        let point = back_up(&vault, &disk, Some((parent, &blocks(block..block + 1)))).await.expect("backup");
        taken.push((point, disk.bytes()));
    }
    assert_whole(&vault, &taken).await;
    // The first, on which all were built; one in the middle; the newest.
    for place in [0, 249, taken.len() - 3] {
        let (point, _) = taken.remove(place);
        vault.delete_point(point.id, now()).await.expect("delete");
        vault.collect(&at_once()).await.expect("collect");
    }
    assert_whole(&vault, &taken).await;
    // Nine of ten.
    let (kept, gone): (Vec<_>, Vec<_>) =
        taken.into_iter().enumerate().partition(|(number, _)| number % 10 == 3);
    for (_, (point, _)) in gone {
        vault.delete_point(point.id, now()).await.expect("delete");
    }
    let (_, before) = vault.usage().await.expect("usage");
    vault.collect(&at_once()).await.expect("collect");
    let (_, after) = vault.usage().await.expect("usage");
    assert!(after < before, "space is given back: {after} of {before}");
    let kept: Vec<_> = kept.into_iter().map(|(_, one)| one).collect();
    assert_whole(&vault, &kept).await;
    assert!(vault.verify(&|_| ()).await.expect("verify").damage.is_empty());
}

async fn used(vault: &Vault, points: &[&Point]) -> Vec<Used> {
    let of: BTreeSet<PointId> = points.iter().map(|point| point.id).collect();
    let used: BTreeMap<_, _> = vault.used(&of).await.expect("measured").into_iter().collect();
    points.iter().map(|point| used[&point.id]).collect()
}

#[tokio::test]
async fn what_each_takes_up_is_what_it_would_give_back() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 100 * CHUNK_BYTES));
    let first = back_up(&vault, &disk, None).await.expect("backup");
    let [alone] = used(&vault, &[&first]).await[..] else { panic!("one point") };
    assert_eq!((alone.unique_bytes, alone.shared_bytes), (first.stats.stored_bytes, 0));

    // Twice the same: neither gives anything back.
    let again = back_up(&vault, &disk, Some((&first, &Vec::new()))).await.expect("backup");
    let both = used(&vault, &[&first, &again]).await;
    assert_eq!(both, [Used { unique_bytes: 0, shared_bytes: alone.unique_bytes }; 2]);
    vault.delete_point(again.id, now()).await.expect("delete");
    assert_eq!(used(&vault, &[&first]).await[0].unique_bytes, 0, "it can be had back, and needs its data");
    vault.collect(&at_once()).await.expect("collect");
    assert_eq!(used(&vault, &[&first]).await[0], alone, "it alone is left");

    // Two blocks change, then one of them again.
    disk.write(0, noise(2, 2 * CHUNK_BYTES)).await.expect("in range");
    let second = back_up(&vault, &disk, Some((&first, &blocks(0..2)))).await.expect("backup");
    disk.write(0, noise(3, CHUNK_BYTES)).await.expect("in range");
    let third = back_up(&vault, &disk, Some((&second, &blocks(0..1)))).await.expect("backup");
    let [one, two, three] = used(&vault, &[&first, &second, &third]).await[..] else { panic!("three") };
    assert_eq!(three.unique_bytes, third.stats.stored_bytes, "nobody builds on the newest");
    assert!(two.unique_bytes < second.stats.stored_bytes, "one of its two blocks is the third's, too");
    assert!(two.unique_bytes > 0 && one.unique_bytes > two.unique_bytes, "{one:?} {two:?}");
    for used in [one, two, three] {
        assert!(used.shared_bytes > 90 * 10_000, "most of the disk is everybody's: {used:?}");
    }
}
