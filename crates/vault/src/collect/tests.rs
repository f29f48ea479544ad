//! A marker that has moved things itself: what it may remember, and what it must not.

use super::compact::candidates;
use super::mark::Marker;
use super::{CollectOptions, Collected};
use crate::log::Told;
use crate::map::Child;
use crate::pack::read_toc;
use crate::protocol::Record;
use crate::vault::Vault;
use crate::*;
use block::BlockSource;
use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

const BLOCK: u64 = CHUNK_BYTES as u64;
/// 40 leaves: those that a second day no longer needs are worth compacting.
const BLOCKS: u64 = 2560;
/// What the second day changes of it.
const CHANGED: u64 = 2300;

fn now() -> Timestamp {
    "2026-11-21T03:00:00Z".parse().expect("a time")
}

fn options() -> CollectOptions {
    let zero = SignedDuration::ZERO;
    CollectOptions { soft_delete: zero, grace: zero, share_max: 1.0, ..CollectOptions::new(now()) }
}

/// A block that compresses to one place of a pack.
fn block(day: u8, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[day]).update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes[..4096]);
    bytes
}

/// A point of one disk: blocks stored anew on top of a base, and some that are recorded as they are told.
async fn back_up(
    vault: &Arc<Vault>,
    (day, blocks): (u8, std::ops::Range<u64>),
    base: Option<&Point>,
    astray: Option<Child>,
) -> Point {
    let session = Session::begin(vault, SessionId(Uuid::now_v7()), now()).await.expect("begin");
    let old = base.map(|point| Base { point: point.id, map: &point.disks[0].map });
    let mut disk = session.disk(BLOCKS * BLOCK, old).await.expect("disk");
    if let Some(child) = astray {
        let batch = StoredBatch { offset: 0, chunks: vec![Some(child)], buffer: Vec::new() };
        disk.record(&session, &batch).await.expect("record");
    }
    for number in blocks {
        let batch = session.store(number * BLOCK, block(day, number)).await.expect("store");
        disk.record(&session, &batch).await.expect("record");
    }
    let map = disk.finish(&session).await.expect("finish");
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new("m").expect("a name"),
        machine_name: "m".into(),
        instant: now(),
        parent: None,
        consistency: serde_json::Value::Null,
        description: serde_json::Value::Null,
        service: serde_json::Value::Null,
    };
    let record = DiskRecord { name: "d".into(), map, tracking: String::new(), read_bytes: 0 };
    session.commit(draft, vec![record]).await.expect("commit")
}

/// A vault whose first packs are mostly garbage, and the point that needs the rest of them.
async fn mostly_garbage() -> (Arc<Vault>, Point) {
    let (store, holder) = (Store::new(Arc::new(InMemory::new()), "memory"), KeyFile::generate());
    let vault = Vault::create(store, VaultId(Uuid::new_v4()), now(), &holder).await.expect("create");
    let vault = Arc::new(vault);
    let first = back_up(&vault, (1, 0..BLOCKS), None, None).await;
    let second = back_up(&vault, (2, 0..CHANGED), Some(&first), None).await;
    vault.delete_point(first.id, now()).await.expect("delete");
    vault.purge_all().await;
    (vault, second)
}

impl Vault {
    async fn purge_all(&self) {
        let none = CollectOptions { compact_below: 0.0, ..options() };
        self.abort_and_purge(&none, &mut Collected::default()).await.expect("purge");
    }

    /// Takes what is known by now, and marks.
    async fn look(&self, marker: &mut Marker<'_>) {
        self.learn(marker).await;
        let told = self.read_log(Told::default()).await.expect("log");
        marker.mark_roots(&told, &[]).await.expect("mark");
    }

    async fn learn(&self, marker: &mut Marker<'_>) {
        let told = self.read_log(Told::default()).await.expect("log");
        marker.learn(&told, &self.list_packs().await.expect("packs"), BTreeSet::new());
    }

    /// The packs that a compaction would empty now.
    async fn worth_emptying(&self, marker: &Marker<'_>) -> BTreeSet<PackId> {
        let state = self.read_log(Told::default()).await.expect("log").state;
        let packs = self.list_packs().await.expect("packs");
        candidates(&state, &packs, marker, &options()).into_keys().collect()
    }
}

/// A marker that has moved what it could, the packs it has emptied, and those that hold it now.
async fn moved(vault: &Arc<Vault>) -> (Marker<'_>, BTreeSet<PackId>, BTreeSet<PackId>) {
    let mut marker = Marker::new(vault);
    vault.look(&mut marker).await;
    let emptied = vault.worth_emptying(&marker).await;
    let kinds: Vec<PackKind> = emptied.iter().map(|pack| pack.kind).collect();
    assert_eq!(kinds, [PackKind::Data, PackKind::Map]);
    let before = vault.list_packs().await.expect("packs");
    let mut done = Collected::default();
    vault.compact(&options(), &mut marker, &mut done).await.expect("compact");
    assert_eq!(done.compacted, 2);
    let after = vault.list_packs().await.expect("packs").into_keys();
    (marker, emptied, after.filter(|pack| !before.contains_key(pack)).collect())
}

#[tokio::test]
async fn what_was_moved_is_where_marking_anew_would_find_it() {
    let (vault, _) = mostly_garbage().await;
    let (mut marker, emptied, copies) = moved(&vault).await;
    vault.learn(&mut marker).await;
    assert_eq!(marker.points(), 1, "nothing is marked a second time");
    vault.look(&mut marker).await;
    let mut anew = Marker::new(&vault);
    vault.look(&mut anew).await;
    assert_eq!(marker.referred(), anew.referred());
    assert!(emptied.is_disjoint(&marker.referred()) && copies.is_subset(&marker.referred()));
    for pack in marker.referred() {
        let (here, there) = (marker.live_in(&pack).expect("referred"), anew.live_in(&pack).expect("equal"));
        assert!(here.is_same(there), "{pack}");
    }
}

/// Somebody else took other copies for the homes, and condemned these: then both must not go.
#[tokio::test]
async fn copies_that_are_doomed_are_no_longer_believed_in() {
    let (vault, _) = mostly_garbage().await;
    let (mut marker, emptied, copies) = moved(&vault).await;
    assert_eq!(copies.len(), 2);
    let condemn = Record::Condemn { packs: copies };
    vault.append_when_possible(Told::default(), &condemn, now()).await.expect("condemn");
    vault.look(&mut marker).await;
    assert!(emptied.is_subset(&marker.referred()), "they hold the only copies that nobody means to delete");
}

/// Copies that the index does not tell of cannot be found by anybody else.
#[tokio::test]
async fn copies_that_the_index_lost_do_not_count() {
    let (vault, point) = mostly_garbage().await;
    let mut marker = Marker::new(&vault);
    vault.look(&mut marker).await;
    let emptied = vault.worth_emptying(&marker).await;
    let before = vault.store().list("index").await.expect("list");
    let moved = vault.empty(emptied.clone().into_iter(), &options(), &marker).await.expect("moves");
    for (run, _) in vault.store().list("index").await.expect("list") {
        if !before.iter().any(|(old, _)| *old == run) {
            vault.store().delete(&run).await.expect("lose it");
        }
    }
    vault.follow(&mut marker, moved).await.expect("follow");
    vault.look(&mut marker).await;
    assert!(emptied.is_subset(&marker.referred()));
    vault.collect(&options()).await.expect("collect");
    assert_reads(&vault, &point, 2).await;
}

/// A hint that leads into a pack, but to no place of its table: the chunk may lie elsewhere in that pack, and was not
/// moved with what was marked.
#[tokio::test]
async fn a_mark_that_is_not_accounted_for_keeps_its_pack() {
    let (vault, point) = mostly_garbage().await;
    let mut marker = Marker::new(&vault);
    vault.look(&mut marker).await;
    let pack = *vault.worth_emptying(&marker).await.first().expect("a pack of data");
    let bytes = vault.store().get(&pack.object()).await.expect("pack");
    let entries = read_toc(vault.keys(), vault.id(), pack, &bytes).expect("table");
    let starts: BTreeSet<u32> = entries.iter().map(|(_, at)| at.offset / 4096).collect();
    let free = (0..).find(|grain| *grain > 0 && !starts.contains(grain)).expect("chunks are a little longer");
    let (id, mut at) = entries[7];
    at.offset = free * 4096;
    let astray = back_up(&vault, (3, 0..0), Some(&point), Some(Child { id, at })).await;
    vault.collect(&options()).await.expect("collect");
    let disk = PointDisk::new(Arc::clone(&vault), astray.disks[0].map.clone());
    assert!(disk.read(0, vec![0; CHUNK_BYTES]).await.expect("found by its id") == block(1, 7));
}

async fn assert_reads(vault: &Arc<Vault>, point: &Point, day: u8) {
    let disk = PointDisk::new(Arc::clone(vault), point.disks[0].map.clone());
    for number in [0, 1, CHANGED - 1, CHANGED, CHANGED + 1, BLOCKS - 1] {
        let day = if number < CHANGED { day } else { 1 };
        let bytes = disk.read(number * BLOCK, vec![0; CHUNK_BYTES]).await.expect("reads");
        assert!(bytes == block(day, number), "block {number}");
    }
}

#[tokio::test]
async fn metering_in_many_rounds_comes_to_the_same() {
    let (vault, second) = mostly_garbage().await;
    let all = vault.meter().await.expect("meter");
    assert!(all.machines.len() == 1 && all.unreferenced_bytes > 0, "{all:?}");
    for entries_max in [1, 50, 1000] {
        assert_eq!(vault.meter_within(entries_max).await.expect("meter"), all);
    }
    // What was moved is found where it lies now, and nothing counts twice.
    let collected = vault.collect(&options()).await.expect("collect");
    assert!(collected.compacted > 0, "{collected:?}");
    let after = vault.meter_within(7).await.expect("meter");
    assert_eq!(after, vault.meter().await.expect("meter"));
    let [before, now] = [&all.machines[0], &after.machines[0]];
    assert_eq!(before.used_bytes, now.used_bytes);
    assert!(now.share_bytes <= before.share_bytes && now.share_bytes == now.alone_bytes, "{second:?}");
    assert!(after.unreferenced_bytes < all.unreferenced_bytes);
}
