//! Compaction: what is needed moves, everything stays readable, the space comes back.

use crate::backup::{at_once, back_up, blocks, create, create_in, noise, now, restore};
use crate::crash::CutStore;
use block::{BlockSink, MemoryDisk};
use object_store::memory::InMemory;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;
use vault::{CHUNK_BYTES, CollectOptions, KeyFile, Point, Store, Vault, VaultId};

const BLOCK: u64 = CHUNK_BYTES as u64;

/// A first point of which later ones need only a few blocks, and is deleted.
async fn mostly_garbage(vault: &Arc<Vault>) -> vault::Result<Vec<(Point, Vec<u8>)>> {
    let disk = MemoryDisk::from(noise(1, 200 * CHUNK_BYTES));
    let mut taken = vec![(back_up(vault, &disk, None).await?, disk.bytes())];
    for day in 0..3u64 {
        let changed = day * 60..(day + 1) * 60;
        let bytes = noise(100 + day, 60 * CHUNK_BYTES);
        disk.write(changed.start * BLOCK, bytes).await.expect("in range");
        let point = back_up(vault, &disk, Some((&taken[day as usize].0, &blocks(changed)))).await?;
        taken.push((point, disk.bytes()));
    }
    for (deleted, _) in taken.drain(..3) {
        vault.delete_point(deleted.id, now()).await?;
    }
    Ok(taken)
}

async fn packs(store: &Store) -> BTreeSet<String> {
    let folder = [store.list("packs").await.expect("list"), store.list("maps").await.expect("list")];
    folder.into_iter().flatten().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn what_is_needed_moves_and_the_rest_goes() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let taken = mostly_garbage(&vault).await.expect("backups");
    let before = packs(vault.store()).await;
    let plan = vault.plan_collection(&at_once()).await.expect("plan");
    assert!(!plan.compact.is_empty(), "{plan:?}");
    let done = vault.collect(&at_once()).await.expect("collect");
    assert!(done.compacted > 0 && done.moved_bytes < 3_000_000, "{done:?}");
    let after = packs(vault.store()).await;
    assert!(plan.compact.keys().all(|pack| !after.contains(&pack.object())), "{before:?} {after:?}");
    let reopened = Vault::open(Store::local(folder.path()).expect("store"), &holder).await.expect("open");
    for vault in [vault, Arc::new(reopened)] {
        for (point, bytes) in &taken {
            assert!(restore(&vault, point).await.expect("restore") == *bytes);
        }
        let verified = vault.verify(&|_| ()).await.expect("verify");
        assert!(verified.damage.is_empty() && verified.points.is_empty(), "{verified:?}");
        let again = vault.collect(&at_once()).await.expect("collect");
        assert_eq!((again.compacted, again.deleted), (0, 0), "what was moved is not moved again");
    }
}

#[tokio::test]
async fn later_backups_build_on_what_was_moved() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let (point, bytes) = mostly_garbage(&vault).await.expect("backups").remove(0);
    vault.collect(&at_once()).await.expect("collect");
    let disk = MemoryDisk::from(bytes);
    disk.write(0, noise(9, CHUNK_BYTES)).await.expect("in range");
    let next = back_up(&vault, &disk, Some((&point, &blocks(0..1)))).await.expect("incremental");
    let full = back_up(&vault, &disk, None).await.expect("full");
    assert_eq!(full.stats.new_bytes, 0, "every chunk is known where it lies now");
    vault.delete_point(point.id, now()).await.expect("delete");
    for _ in 0..2 {
        vault.collect(&at_once()).await.expect("collect");
        for point in [&next, &full] {
            assert!(restore(&vault, point).await.expect("restore") == disk.bytes());
        }
    }
}

/// The marker looks a moved chunk up; without the index it must refuse to delete, not believe it unneeded.
#[tokio::test]
async fn without_an_index_nothing_that_was_moved_is_collected() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let taken = mostly_garbage(&vault).await.expect("backups");
    // Moved, not yet deleted: the grace holds the old packs.
    let waiting = CollectOptions { grace: jiff::SignedDuration::from_hours(24), ..at_once() };
    vault.collect(&waiting).await.expect("collect");
    std::fs::remove_dir_all(folder.path().join("index")).expect("remove the index");
    let vault = Vault::open(Store::local(folder.path()).expect("store"), &holder).await.expect("open");
    let vault = Arc::new(vault);
    let later = CollectOptions { now: at_once().now + jiff::SignedDuration::from_hours(48), ..at_once() };
    let before = packs(vault.store()).await;
    vault.collect(&later).await.expect("collect");
    let after = packs(vault.store()).await;
    for (point, bytes) in &taken {
        assert!(restore(&vault, point).await.expect("restore") == *bytes, "{before:?} {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_whichever_write_of_a_compaction_is_the_last() {
    let mut finished_once = false;
    for (budget, lands) in (0..).flat_map(|budget| [(budget, false), (budget, true)]) {
        let inner = Arc::new(InMemory::new());
        let holder = KeyFile::generate();
        let id = VaultId(Uuid::new_v4());
        let store = || Store::new(Arc::clone(&inner) as _, "whole");
        let whole = Arc::new(Vault::create(store(), id, now(), &holder).await.expect("create"));
        let taken = mostly_garbage(&whole).await.expect("backups");
        let cut = Store::new(Arc::new(CutStore::new(Arc::clone(&inner), budget, lands)), "cut");
        let cut = Arc::new(Vault::open(cut, &holder).await.expect("open"));
        let finished = cut.collect(&at_once()).await.is_ok();
        let after = Arc::new(Vault::open(store(), &holder).await.expect("open"));
        for _ in 0..2 {
            for (point, bytes) in &taken {
                assert!(restore(&after, point).await.expect("restore") == *bytes, "budget {budget} {lands}");
            }
            after.collect(&at_once()).await.expect("the next collection goes through");
        }
        let (_, bytes) = after.usage().await.expect("usage");
        assert!(bytes < 9_000_000, "budget {budget} {lands}: {bytes} bytes are left");
        if finished {
            finished_once = true;
            break;
        }
    }
    assert!(finished_once);
}

/// What was moved away is no loss: the breaker lets its old packs go, however many they are.
#[tokio::test]
async fn a_large_compaction_does_not_trip_the_breaker() {
    let (vault, _) = create_in(Store::new(Arc::new(InMemory::new()), "memory")).await;
    let (point, bytes) = mostly_garbage(&vault).await.expect("backups").remove(0);
    let grace = jiff::SignedDuration::from_hours(24);
    let first = CollectOptions { grace, compact_below: 0.9, ..at_once() };
    vault.collect(&first).await.expect("compacts");
    let second = CollectOptions { now: first.now + grace * 2, share_max: 0.2, grace, ..at_once() };
    assert!(vault.collect(&second).await.expect("nothing of it is a loss").deleted > 0);
    assert!(restore(&vault, &point).await.expect("restore") == bytes);
}

#[tokio::test]
async fn small_gains_and_a_threshold_of_nothing_compact_nothing() {
    let (vault, _) = create_in(Store::new(Arc::new(InMemory::new()), "memory")).await;
    mostly_garbage(&vault).await.expect("backups");
    let never = CollectOptions { compact_below: 0.0, ..at_once() };
    assert_eq!(vault.collect(&never).await.expect("collect").compacted, 0);
    let little = CollectOptions { compact_bytes_max: 0, ..at_once() };
    assert_eq!(vault.collect(&little).await.expect("collect").compacted, 0);
}
