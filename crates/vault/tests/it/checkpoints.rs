//! Checkpoints of the log: what they save, and that nothing depends on them.

use crate::backup::{back_up, blocks, create_in, noise, now, restore};
use crate::counting::CountingStore;
use block::{BlockSink, MemoryDisk};
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use uuid::Uuid;
use vault::{CHUNK_BYTES, ErrorKind, KeyFile, Point, Session, SessionId, Store, Vault};

/// A vault in memory whose log has at least so many records.
async fn with_records(records: usize) -> (Arc<InMemory>, KeyFile, Point) {
    let inner = Arc::new(InMemory::new());
    let (vault, holder) = create_in(Store::new(Arc::clone(&inner) as Arc<_>, "memory")).await;
    let disk = MemoryDisk::from(noise(1, 3 * CHUNK_BYTES));
    let point = back_up(&vault, &disk, None).await.expect("backup");
    while names(&inner, "log").await.len() + 2 < records {
        // Sessions that die: a record each.
        Session::begin(&vault, SessionId(Uuid::now_v7()), now()).await.expect("begin");
    }
    back_up(&vault, &disk, None).await.expect("backup");
    (inner, holder, point)
}

async fn names(inner: &InMemory, folder: &str) -> Vec<Path> {
    let mut names: Vec<Path> =
        inner.list(Some(&folder.into())).map_ok(|object| object.location).try_collect().await.expect("list");
    names.sort();
    names
}

async fn open(inner: &Arc<InMemory>, holder: &KeyFile) -> vault::Result<Arc<Vault>> {
    Vault::open(Store::new(Arc::clone(inner) as Arc<_>, "memory"), holder).await.map(Arc::new)
}

async fn listed(inner: &Arc<InMemory>, holder: &KeyFile) -> vault::Result<usize> {
    Ok(open(inner, holder).await?.points().await?.len())
}

#[tokio::test]
async fn a_thousand_records_take_no_more_requests_than_ten() {
    let (inner, holder, point) = with_records(1001).await;
    assert!(names(&inner, "log").await.len() > 1000);
    assert!(names(&inner, "checkpoints").await.len() <= 2, "superseded ones are deleted");
    let (store, asked) = CountingStore::over(Arc::clone(&inner));
    let vault = Vault::open(store, &holder).await.expect("open");
    let points = vault.points_of(&point.machine).await.expect("list");
    assert_eq!(points.len(), 2);
    let requests = asked.take().requests;
    println!("opening and listing 2 points behind 1,001 records: {} requests", requests.len());
    assert!(requests.len() <= 10, "{requests:#?}");
    // The second point's object is the tenth.
    assert!(requests.len() - (points.len() - 1) < 10, "{requests:#?}");
}

#[tokio::test]
async fn the_first_block_of_a_cold_point_takes_seven_requests() {
    let inner = Arc::new(InMemory::new());
    let (vault, holder) = create_in(Store::new(Arc::clone(&inner) as Arc<_>, "memory")).await;
    // Three levels of map: more than 64 × 64 blocks.
    let disk = MemoryDisk::new(5000 * CHUNK_BYTES);
    for block in 0..5000u64 {
        disk.write(block * CHUNK_BYTES as u64, noise(block + 1, 512)).await.expect("in range");
    }
    let full = back_up(&vault, &disk, None).await.expect("full");
    disk.write(4999 * CHUNK_BYTES as u64, noise(9999, 512)).await.expect("in range");
    let changes = blocks(4999..5000);
    let incremental = back_up(&vault, &disk, Some((&full, &changes))).await.expect("incremental");
    for (point, most) in [(full, 7), (incremental, 7)] {
        let (store, asked) = CountingStore::over(Arc::clone(&inner));
        let vault = Arc::new(Vault::open(store, &holder).await.expect("open"));
        let point = vault.point(&point.machine, point.id).await.expect("point");
        let stored = vault::PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone());
        block::BlockSource::read(&stored, 0, vec![0; CHUNK_BYTES]).await.expect("read");
        let requests = asked.take().requests;
        println!("first block of a cold point: {} requests", requests.len());
        assert!(requests.len() <= most, "{requests:#?}");
    }
}

#[tokio::test]
async fn nothing_depends_on_a_checkpoint_but_the_number_of_requests() {
    let (inner, holder, point) = with_records(40).await;
    let checkpoints = names(&inner, "checkpoints").await;
    assert_eq!(checkpoints.len(), 2);
    for (damaged, _) in checkpoints.iter().rev().zip([1, 2]) {
        let bytes = inner.get(damaged).await.expect("there").bytes().await.expect("there");
        let mut flipped = bytes.to_vec();
        flipped[80] ^= 1;
        inner.put(damaged, flipped.into()).await.expect("memory");
        assert_eq!(listed(&inner, &holder).await.expect("the one before, or the log"), 2);
    }
    for gone in &checkpoints {
        inner.delete(gone).await.expect("memory");
        assert_eq!(listed(&inner, &holder).await.expect("without it"), 2);
    }
    let vault = open(&inner, &holder).await.expect("open");
    vault.delete_point(point.id, now()).await.expect("delete");
    assert_eq!(names(&inner, "checkpoints").await.len(), 1, "the next one who writes puts one");
    assert_eq!(listed(&inner, &holder).await.expect("list"), 1);
}

/// A point that was deleted and condemned packs keep their times through a checkpoint.
#[tokio::test]
async fn whatever_the_log_says_is_the_same_from_a_checkpoint() {
    let (inner, holder, point) = with_records(20).await;
    let vault = open(&inner, &holder).await.expect("open");
    vault.delete_point(point.id, now()).await.expect("delete");
    let disk = MemoryDisk::from(noise(3, 2 * CHUNK_BYTES));
    let kept = back_up(&vault, &disk, None).await.expect("backup");
    let mut options = crate::backup::at_once();
    options.grace = jiff::SignedDuration::from_hours(72);
    vault.collect(&options).await.expect("collect");
    let with = open(&inner, &holder).await.expect("open").plan_collection(&options).await.expect("plan");
    for name in names(&inner, "checkpoints").await {
        inner.delete(&name).await.expect("memory");
    }
    let without = open(&inner, &holder).await.expect("open").plan_collection(&options).await.expect("plan");
    assert_eq!(format!("{with:?}"), format!("{without:?}"));
    let vault = open(&inner, &holder).await.expect("open");
    assert!(restore(&vault, &kept).await.expect("restore") == disk.bytes());
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_damage_and_named() {
    let (inner, holder, _) = with_records(40).await;
    let checkpoint = names(&inner, "checkpoints").await.pop().expect("one");
    let number = u64::from_str_radix(checkpoint.filename().expect("a name"), 16).expect("hex");
    let records = names(&inner, "log").await;
    for record in &records[number as usize - 1..] {
        inner.delete(record).await.expect("memory");
    }
    let lost = records[number as usize - 1].to_string();
    // Whether the checkpoint can be read or not: its name says how much there was.
    for flip in [false, true] {
        if flip {
            inner.put(&checkpoint, "rotten".into()).await.expect("memory");
        }
        let error = listed(&inner, &holder).await.expect_err("it lacks a record");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&lost), "{error}");
        assert!(error.to_string().contains("lost its tail"), "{error}");
    }
}
