//! Points copied from store to store: equal bytes, at the cost of the difference, whole or not at all.

use crate::backup::{Changes, back_up, blocks, create_in, noise, now, restore};
use crate::counting::CountingStore;
use crate::crash::CutStore;
use block::{BlockSink, MemoryDisk};
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, Copied, CopyCourse, CopyPlan, CopyRun, ErrorKind, KeyFile, Point, SessionId, Standing,
    Store, Vault, copy_point, copy_point_again, plan_copy,
};

const BLOCK: u64 = CHUNK_BYTES as u64;

fn memory(inner: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(inner) as Arc<_>, "memory")
}

async fn replica(of: &Vault, holder: &KeyFile) -> (Arc<InMemory>, Arc<Vault>) {
    let inner = Arc::new(InMemory::new());
    let made = Vault::create_replica(memory(&inner), of, now(), holder).await.expect("replica");
    (inner, Arc::new(made))
}

async fn copy(from: &Arc<Vault>, to: &Arc<Vault>, point: &Point) -> vault::Result<Copied> {
    let run = CopyRun { session: SessionId(Uuid::now_v7()), now: now() };
    copy_point(from, to, point, run, &|_| ()).await
}

async fn made(from: &Arc<Vault>, to: &Arc<Vault>, point: &Point) -> Point {
    match copy(from, to, point).await.expect("copy") {
        Copied::Made(point) => *point,
        other => panic!("it is made: {other:?}"),
    }
}

/// A vault in memory with `count` incrementals of one disk, and what each of them holds.
async fn history(seed: u64, count: u64) -> (Arc<InMemory>, Arc<Vault>, KeyFile, Vec<(Point, Vec<u8>)>) {
    let inner = Arc::new(InMemory::new());
    let (vault, holder) = create_in(memory(&inner)).await;
    let size = 150 * CHUNK_BYTES - 1000;
    let disk = MemoryDisk::new(size);
    disk.write(3 * BLOCK, noise(seed, 40 * CHUNK_BYTES)).await.expect("in range");
    disk.write(size as u64 - 500, noise(seed + 1, 500)).await.expect("in range");
    let mut points: Vec<(Point, Vec<u8>)> = Vec::new();
    for step in 0..count {
        let mut changes: Changes = Vec::new();
        // Some blocks are written, some zeroed, some get what stands elsewhere.
        let first = (seed * 7 + step * 31) % 100;
        disk.write(first * BLOCK, noise(seed * 100 + step, 2 * CHUNK_BYTES)).await.expect("in range");
        changes.push(first..first + 2);
        disk.zero((first + 10) * BLOCK, 3 * BLOCK).await.expect("in range");
        changes.push(first + 10..first + 13);
        disk.write((first + 20) * BLOCK, noise(seed * 100 + step, CHUNK_BYTES)).await.expect("in range");
        changes.push(first + 20..first + 21);
        let parent = points.last().map(|(point, _)| (point, &changes));
        let point = back_up(&vault, &disk, parent).await.expect("backup");
        points.push((point, disk.bytes()));
    }
    (inner, vault, holder, points)
}

#[tokio::test]
async fn copies_hold_equal_bytes_whatever_the_history_and_the_order() {
    for seed in 1..5u64 {
        let (_, vault, holder, mut points) = history(seed, 6).await;
        let (inner, there) = replica(&vault, &holder).await;
        points.rotate_left(seed as usize);
        for (point, _) in &points {
            let copied = made(&vault, &there, point).await;
            assert_eq!(
                (copied.id, copied.instant, &copied.machine),
                (point.id, point.instant, &point.machine)
            );
            assert_eq!(copied.consistency, point.consistency);
            assert_ne!(copied.session, point.session, "the session is the target's");
        }
        for (point, _) in &points {
            assert!(
                matches!(copy(&vault, &there, point).await.expect("copy"), Copied::There(id) if id == point.id)
            );
        }
        // Anew, with nothing cached, and without the source.
        drop((vault, there));
        let there = Arc::new(Vault::open(memory(&inner), &holder).await.expect("open"));
        let listed = there.points().await.expect("list");
        assert_eq!(listed.len(), points.len());
        for (point, bytes) in &points {
            let copied = listed.iter().find(|copied| copied.id == point.id).expect("listed");
            assert!(copied.disks[0].map.same_content(&point.disks[0].map), "equal bytes, equal roots");
            assert!(restore(&there, copied).await.expect("restore") == *bytes, "seed {seed}");
        }
        assert!(there.verify(&|_| ()).await.expect("verify").damage.is_empty());
        back_up(&there, &MemoryDisk::from(noise(9, 9 * CHUNK_BYTES)), None).await.expect("it is a vault");
    }
}

#[tokio::test]
async fn a_copy_costs_what_differs() {
    let (inner, holder) = (Arc::new(InMemory::new()), KeyFile::generate());
    let id = vault::VaultId(Uuid::new_v4());
    let vault = Arc::new(Vault::create(memory(&inner), id, now(), &holder).await.expect("create"));
    let disk = MemoryDisk::from(noise(1, 2000 * CHUNK_BYTES));
    let full = back_up(&vault, &disk, None).await.expect("full");
    disk.write(1234 * BLOCK, noise(99, CHUNK_BYTES)).await.expect("in range");
    let second = back_up(&vault, &disk, Some((&full, &blocks(1234..1235)))).await.expect("incremental");
    let (replica_inner, there) = replica(&vault, &holder).await;
    let whole = made(&vault, &there, &full).await;
    assert!(whole.stats.stored_bytes.abs_diff(full.stats.stored_bytes) < full.stats.stored_bytes / 100);
    drop(there);
    let (source, read) = CountingStore::over(inner);
    let (target, put) = CountingStore::over(replica_inner);
    let source = Arc::new(Vault::open(source, &holder).await.expect("open"));
    let target = Arc::new(Vault::open(target, &holder).await.expect("open"));
    let plan = plan_copy(&source, &target, &second).await.expect("plan");
    assert!(matches!(plan, CopyPlan::Make(BLOCK)), "{plan:?}");
    read.take();
    put.take();
    let source = Arc::new(Vault::open(source.store().clone(), &holder).await.expect("open, nothing cached"));
    let copied = made(&source, &target, &second).await;
    let (read, put) = (read.take(), put.take());
    println!("1 of 2,000 blocks: {} bytes read, {} put", read.bytes_read, put.bytes_put);
    assert_eq!(copied.stats.new_bytes, BLOCK);
    // The chunk, the start of a map pack, and small objects; the disk has 125 MiB.
    assert!(read.bytes_read < 400 << 10, "{read:?}");
    assert!(put.bytes_put < 100 << 10, "{put:?}");
    assert!(restore(&target, &copied).await.expect("restore") == disk.bytes());
}

#[tokio::test(start_paused = true)]
async fn whichever_write_is_the_last_a_copy_is_whole_or_not_listed_and_goes_through_again() {
    let (_, vault, holder, points) = history(1, 2).await;
    let mut finished_once = false;
    for (budget, lands) in (0..).flat_map(|budget| [(budget, false), (budget, true)]) {
        let inner = Arc::new(InMemory::new());
        let cut = Store::new(Arc::new(CutStore::new(Arc::clone(&inner), budget, lands)), "cut");
        let mut acknowledged = Vec::new();
        let finished = async {
            let there = Vault::create_replica(cut, &vault, now(), &holder).await.map(Arc::new)?;
            for (point, _) in &points {
                copy(&vault, &there, point).await?;
                acknowledged.push(point.id);
            }
            vault::Result::Ok(())
        };
        let finished = finished.await.is_ok();
        let there = match Vault::open(memory(&inner), &holder).await {
            Ok(there) => there,
            Err(_) => Vault::create_replica(memory(&inner), &vault, now(), &holder).await.expect("again"),
        };
        let there = Arc::new(there);
        let bytes_of = |copied: &Point| {
            let by_content =
                |(point, _): &&(Point, Vec<u8>)| point.disks[0].map.same_content(&copied.disks[0].map);
            &points.iter().find(by_content).expect("one of them").1
        };
        let listed = there.points().await.expect("list");
        assert!(
            acknowledged.iter().all(|id| listed.iter().any(|copied| copied.id == *id)),
            "budget {budget}"
        );
        for copied in &listed {
            assert!(restore(&there, copied).await.expect("restore") == *bytes_of(copied), "budget {budget}");
        }
        for (point, _) in &points {
            copy(&vault, &there, point).await.expect("again");
        }
        let listed = there.points().await.expect("list");
        assert_eq!(listed.len(), points.len(), "none twice: budget {budget}");
        for copied in &listed {
            assert!(restore(&there, copied).await.expect("restore") == *bytes_of(copied), "budget {budget}");
        }
        for (point, _) in &points {
            assert!(matches!(copy(&vault, &there, point).await.expect("copy"), Copied::There(_)));
        }
        if finished {
            finished_once = true;
            break;
        }
    }
    assert!(finished_once);
}

#[tokio::test]
async fn a_damaged_source_fails_by_name_and_commits_nothing() {
    let (inner, vault, holder, points) = history(2, 2).await;
    let packs: Vec<Path> =
        inner.list(Some(&"packs".into())).map_ok(|object| object.location).try_collect().await.expect("list");
    for name in &packs {
        let whole = inner.get(name).await.expect("there").bytes().await.expect("there");
        let mut flipped = whole.to_vec();
        flipped[100] ^= 4;
        for spoilt in [Some(flipped), None] {
            match spoilt {
                Some(bytes) => drop(inner.put(name, bytes.into()).await.expect("memory")),
                None => inner.delete(name).await.expect("memory"),
            }
            let (_, there) = replica(&vault, &holder).await;
            let source = Arc::new(Vault::open(memory(&inner), &holder).await.expect("open"));
            let error = copy(&source, &there, &points[1].0).await.expect_err("it lacks a chunk");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(name.as_ref()), "{error}");
            assert!(there.points().await.expect("list").is_empty());
        }
        inner.put(name, whole.into()).await.expect("memory");
    }
}

/// A copy of a point, even if the target has purged it.
async fn again(from: &Arc<Vault>, to: &Arc<Vault>, point: &Point) -> Copied {
    let pace = |_: u64| -> futures_util::future::BoxFuture<'_, ()> { Box::pin(std::future::ready(())) };
    let course = CopyCourse { progress: &|_| (), pace: &pace };
    let run = CopyRun { session: SessionId(Uuid::now_v7()), now: now() };
    copy_point_again(from, to, point, run, course).await.expect("copy")
}

#[tokio::test]
async fn what_was_purged_in_the_target_comes_back_to_who_asks_for_it_as_often_as_they_do() {
    let (_, vault, holder, points) = history(5, 3).await;
    let (inner, there) = replica(&vault, &holder).await;
    for (point, _) in &points {
        made(&vault, &there, point).await;
    }
    let (wanted, bytes) = &points[0];
    let mut names = vec![wanted.id];
    assert!(there.first_names().await.expect("the log").is_empty(), "each is by its own");
    for _ in 0..3 {
        let (here, standing) = there.standing_of(wanted.id).await.expect("the log");
        assert_eq!((Some(&here), standing), (names.last(), Standing::Listed));
        there.delete_point(here, now()).await.expect("delete");
        assert!(
            matches!(again(&vault, &there, wanted).await, Copied::Deleted(id) if id == here),
            "it can be had back"
        );
        there.collect(&crate::backup::at_once()).await.expect("collect");
        let (gone, standing) = there.standing_of(wanted.id).await.expect("the log");
        assert_eq!((gone, standing), (here, Standing::Purged));
        assert!(
            matches!(copy(&vault, &there, wanted).await.expect("copy"), Copied::Deleted(_)),
            "not unasked"
        );
        let Copied::Made(back) = again(&vault, &there, wanted).await else { panic!("it comes back") };
        assert!(!names.contains(&back.id), "a name is never used twice");
        names.push(back.id);
        assert_eq!(there.first_names().await.expect("the log"), [(back.id, wanted.id)].into());
        assert!(matches!(again(&vault, &there, wanted).await, Copied::There(id) if id == back.id));
    }
    // Anew, with nothing cached and without the source: all is whole.
    drop((vault, there));
    let there = Arc::new(Vault::open(memory(&inner), &holder).await.expect("open"));
    let found = there.find_point(&wanted.machine, wanted.id).await.expect("by the id that people know");
    assert!(restore(&there, &found).await.expect("restore") == *bytes);
    assert_eq!(there.points().await.expect("list").len(), 3);
    assert!(there.verify(&|_| ()).await.expect("verify").damage.is_empty());
}

#[tokio::test]
async fn what_was_deleted_in_the_target_stays_so_and_a_stranger_is_refused() {
    let (_, vault, holder, points) = history(3, 2).await;
    let (_, there) = replica(&vault, &holder).await;
    let first = &points[0].0;
    made(&vault, &there, first).await;
    there.delete_point(first.id, now()).await.expect("delete");
    assert!(matches!(copy(&vault, &there, first).await.expect("copy"), Copied::Deleted(_)));
    there.collect(&crate::backup::at_once()).await.expect("collect");
    assert!(matches!(copy(&vault, &there, first).await.expect("purged"), Copied::Deleted(_)));
    assert_eq!(vault.points().await.expect("list").len(), 2, "the source has both");
    let copied = made(&vault, &there, &points[1].0).await;
    assert!(restore(&there, &copied).await.expect("restore") == points[1].1);

    let (stranger, _) = create_in(memory(&Arc::default())).await;
    let error = copy(&vault, &stranger, first).await.expect_err("another vault");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let full = memory(&Arc::default());
    full.create("something", "x").await.expect("memory");
    let error = Vault::create_replica(full, &vault, now(), &holder).await.err().expect("not empty");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn changed_ranges_are_those_that_changed() {
    let (_, vault, _, points) = history(4, 5).await;
    for (old, before) in &points {
        for (new, after) in &points {
            let (old, new) = (&old.disks[0].map, &new.disks[0].map);
            let ranges = vault.changed_ranges(old, new).await.expect("diff");
            let mut expected: Vec<std::ops::Range<u64>> = Vec::new();
            for (block, (a, b)) in (0u64..).zip(before.chunks(CHUNK_BYTES).zip(after.chunks(CHUNK_BYTES))) {
                let range = block * BLOCK..block * BLOCK + a.len() as u64;
                match expected.last_mut() {
                    _ if a == b => {}
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => expected.push(range),
                }
            }
            assert!(ranges.iter().all(|range| range.start < range.end && range.end <= new.size));
            // Where a whole subtree became zero more may be named, all of it zero.
            let covered = |at: &std::ops::Range<u64>| {
                ranges.iter().any(|range| range.start <= at.start && at.end <= range.end)
            };
            assert!(expected.iter().all(covered), "{ranges:?} {expected:?}");
            let named: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            let changed: u64 = expected.iter().map(|range| range.end - range.start).sum();
            assert!(named - changed <= 64 * BLOCK, "{ranges:?} {expected:?}");
        }
    }
}

#[tokio::test]
async fn a_rotated_data_key_is_followed_by_the_replica() {
    let (inner, vault, holder, points) = history(5, 2).await;
    let (replica_inner, there) = replica(&vault, &holder).await;
    made(&vault, &there, &points[0].0).await;
    let mut holders = vault::Holders::open(memory(&inner), &holder).await.expect("open");
    holders.rotate().await.expect("rotate");
    made(&vault, &there, &points[1].0).await;
    let opened = vault::Holders::open(memory(&replica_inner), &holder).await.expect("open");
    assert_eq!((opened.keyring(), opened.epoch()), (holders.keyring(), holders.epoch()));
    let there = Arc::new(Vault::open(memory(&replica_inner), &holder).await.expect("open"));
    for (point, bytes) in &points {
        let copied = there.point(&point.machine, point.id).await.expect("there");
        assert!(restore(&there, &copied).await.expect("restore") == *bytes);
    }
    // Where the replica's keys were changed by themselves, both go their ways, and copies still go through.
    let mut own = vault::Holders::open(memory(&replica_inner), &holder).await.expect("open");
    own.rotate().await.expect("rotate");
    holders.rotate().await.expect("rotate");
    holders.rotate().await.expect("rotate");
    let disk = MemoryDisk::from(noise(77, 3 * CHUNK_BYTES));
    let third = back_up(&vault, &disk, None).await.expect("backup");
    let copied = made(&vault, &there, &third).await;
    assert!(restore(&there, &copied).await.expect("restore") == disk.bytes());
    let opened = vault::Holders::open(memory(&replica_inner), &holder).await.expect("open");
    assert_eq!(opened.epoch(), own.epoch(), "the replica keeps its own");
}
