//! Deleting and collecting: what is deleted comes back until it is purged, what is needed never goes.

use crate::backup::{at_once, back_up, blocks, create, noise, now, restore};
use block::{BlockSink, MemoryDisk};
use jiff::SignedDuration;
use std::sync::Arc;
use uuid::Uuid;
use vault::{CHUNK_BYTES, CollectOptions, ErrorKind, Session, SessionId, Vault};

const BLOCK: u64 = CHUNK_BYTES as u64;

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

async fn ids(vault: &Vault) -> Vec<vault::PointId> {
    vault.points().await.expect("list").iter().map(|point| point.id).collect()
}

#[tokio::test]
async fn a_deleted_point_comes_back_until_it_is_purged() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 8 * CHUNK_BYTES));
    let point = back_up(&vault, &disk, None).await.expect("backup");
    vault.delete_point(point.id, now()).await.expect("delete");
    assert!(ids(&vault).await.is_empty());
    assert_eq!(vault.deleted_points().await.expect("list").len(), 1);
    let early = CollectOptions { share_max: 1.0, ..CollectOptions::new(now() + days(13)) };
    assert_eq!(vault.collect(&early).await.expect("collect").deleted, 0);
    vault.undelete_point(point.id, now()).await.expect("undelete");
    assert!(restore(&vault, &point).await.expect("restore") == disk.bytes());

    vault.delete_point(point.id, now()).await.expect("delete");
    let late = CollectOptions { share_max: 1.0, ..CollectOptions::new(now() + days(15)) };
    let done = vault.collect(&late).await.expect("collect");
    assert_eq!((done.purged, done.deleted), (1, 0), "condemned now, deleted after the grace");
    let later = CollectOptions { share_max: 1.0, ..CollectOptions::new(now() + days(19)) };
    let done = vault.collect(&later).await.expect("collect");
    assert_eq!(done.deleted, 2, "its data and its map: {done:?}");
    let error = vault.undelete_point(point.id, now()).await.expect_err("it is purged");
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn what_other_points_share_stays_and_the_rest_goes() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 64 * CHUNK_BYTES));
    let mut taken = vec![(back_up(&vault, &disk, None).await.expect("backup"), disk.bytes())];
    for day in 1..10 {
        disk.write(day * BLOCK, noise(100 + day, CHUNK_BYTES)).await.expect("in range");
        let parent = &taken.last().expect("one at least").0;
        let point = back_up(&vault, &disk, Some((parent, &blocks(day..day + 1)))).await.expect("backup");
        taken.push((point, disk.bytes()));
    }
    let (_, before) = vault.usage().await.expect("usage");
    let plan = vault.plan_collection(&at_once()).await.expect("plan");
    assert!(plan.garbage.is_empty(), "nothing was deleted: {plan:?}");
    let gone: Vec<_> = taken.drain(3..8).collect();
    for (point, _) in &gone {
        vault.delete_point(point.id, now()).await.expect("delete");
    }
    vault.collect(&at_once()).await.expect("collect");
    let (_, after) = vault.usage().await.expect("usage");
    assert!(after < before, "{after} of {before}");
    for (point, bytes) in &taken {
        assert!(restore(&vault, point).await.expect("restore") == *bytes);
    }
    assert_eq!(ids(&vault).await.len(), taken.len());
}

/// A node that is known may have been written when its chunks lay elsewhere, and that place may be gone
/// while the node is not.
#[tokio::test]
async fn a_known_node_whose_chunks_were_collected_is_not_used_again() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let (half, old) = (64 * CHUNK_BYTES, noise(1, 64 * CHUNK_BYTES));
    back_up(&vault, &MemoryDisk::from(old.clone()), None)
        .await
        .expect("the chunks of the second half are known");
    let mut rotated = old[CHUNK_BYTES..].to_vec();
    rotated.extend_from_slice(&old[..CHUNK_BYTES]);
    let both = MemoryDisk::new(2 * half);
    both.write(0, noise(2, half)).await.expect("in range");
    both.write(half as u64, rotated.clone()).await.expect("in range");
    let first =
        back_up(&vault, &both, None).await.expect("new chunks, and leaves of both halves in one pack");
    let second_half = MemoryDisk::new(2 * half);
    second_half.write(half as u64, rotated).await.expect("in range");
    back_up(&vault, &second_half, None).await.expect("keeps the pack of leaves");
    vault.delete_point(first.id, now()).await.expect("delete");
    let done = vault.collect(&at_once()).await.expect("collect");
    assert!(done.deleted > 0, "the first half's chunks are gone: {done:?}");
    let again = back_up(&vault, &both, None).await.expect("backup");
    assert!(restore(&vault, &again).await.expect("restore") == both.bytes());
}

#[tokio::test]
async fn a_run_that_would_delete_too_much_stops() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let point = back_up(&vault, &MemoryDisk::from(noise(1, CHUNK_BYTES)), None).await.expect("backup");
    vault.delete_point(point.id, now()).await.expect("delete");
    let careful = CollectOptions { share_max: 0.5, ..at_once() };
    let plan = vault.plan_collection(&careful).await.expect("plan");
    assert_eq!((plan.purge.len(), plan.garbage.len()), (1, 2));
    assert_eq!(vault.collect(&careful).await.expect_err("too much").kind(), ErrorKind::TooMuch);
    assert_eq!(vault.deleted_points().await.expect("list").len(), 1, "nothing was purged before it stopped");
    vault.undelete_point(point.id, now()).await.expect("it can still be had back");
}

#[tokio::test]
async fn a_session_that_was_aborted_cannot_commit_and_its_packs_go() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let slow = Session::begin(&vault, SessionId(Uuid::now_v7()), now()).await.expect("begin");
    let batch = slow.store(0, noise(5, CHUNK_BYTES)).await.expect("store");
    let mut map = slow.disk(BLOCK, None).await.expect("disk");
    map.record(&slow, &batch).await.expect("record");
    let map = map.finish(&slow).await.expect("finish");
    assert_eq!(vault.collect(&at_once()).await.expect("collect").aborted, 1);
    let draft = vault::PointDraft {
        id: vault::PointId(Uuid::now_v7()),
        machine: vault::MachineKey::new("m").expect("a name"),
        machine_name: "m".into(),
        instant: now(),
        parent: None,
        consistency: serde_json::Value::Null,
        description: serde_json::Value::Null,
        service: serde_json::Value::Null,
    };
    let record = vault::DiskRecord { name: "d".into(), map, tracking: String::new(), read_bytes: 0 };
    let error = slow.commit(draft, vec![record]).await.expect_err("fenced");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(ids(&vault).await.is_empty());
    vault.collect(&at_once()).await.expect("collect");
    assert!(vault.plan_collection(&at_once()).await.expect("plan").garbage.is_empty(), "nothing is left");
}

#[tokio::test]
async fn a_lost_point_object_stops_everything_that_would_believe_it_never_was() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    back_up(&vault, &MemoryDisk::from(noise(1, CHUNK_BYTES)), None).await.expect("backup");
    std::fs::remove_dir_all(folder.path().join("points")).expect("remove");
    assert_eq!(vault.collect(&at_once()).await.expect_err("damage").kind(), ErrorKind::Corrupt);
    assert_eq!(vault.points().await.expect_err("damage").kind(), ErrorKind::Corrupt);
}

/// Writers, deleters and collectors at once on one vault: whatever was acknowledged and not deleted restores.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_lose_nothing() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let writers = (0..4u64).map(|writer| {
        let vault = Arc::clone(&vault);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            for round in 0..6u64 {
                // Contents repeat over writers and rounds, so that they use one another's packs.
                let disk = MemoryDisk::from(noise((writer + round) % 3, 6 * CHUNK_BYTES));
                disk.write(0, noise(1000 + writer * 100 + round, CHUNK_BYTES)).await.expect("in range");
                match back_up(&vault, &disk, None).await {
                    Ok(point) if round % 2 == 0 => {
                        vault.delete_point(point.id, now()).await.expect("delete");
                    }
                    Ok(point) => kept.push((point, disk.bytes())),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                }
            }
            kept
        })
    });
    let writers: Vec<_> = writers.collect();
    let collectors = (0..2).map(|_| {
        let vault = Arc::clone(&vault);
        tokio::spawn(async move {
            let patient = CollectOptions { session_age: days(10_000), ..at_once() };
            for _ in 0..10 {
                if let Err(error) = vault.collect(&patient).await {
                    assert!(matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Store), "{error}");
                }
            }
        })
    });
    let collectors: Vec<_> = collectors.collect();
    let mut kept = Vec::new();
    for writer in writers {
        kept.extend(writer.await.expect("no writer panics"));
    }
    for collector in collectors {
        collector.await.expect("no collector panics");
    }
    vault.collect(&at_once()).await.expect("collect");
    for (point, bytes) in &kept {
        assert!(restore(&vault, point).await.expect("restore") == *bytes, "point {}", point.id);
    }
    assert_eq!(ids(&vault).await.len(), kept.len());
}
