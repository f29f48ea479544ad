//! What a copy had uploaded when it died is not uploaded again; and whoever was inherited from makes no point.

use crate::backup::{at_once, back_up, create, create_in, noise, now, restore};
use crate::counting::CountingStore;
use crate::crash::CutStore;
use block::MemoryDisk;
use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, Copied, CopyRun, DiskRecord, Ended, ErrorKind, KeyFile, MachineKey, Point, PointDraft,
    PointId, Session, SessionId, Store, Vault, copy_point,
};

/// Small packs, so that there are many to die between.
const PACK_BYTES: usize = 256 << 10;
/// Chunks of the disk that is copied.
const CHUNKS: usize = 400;

fn memory(inner: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(inner) as Arc<_>, "memory")
}

async fn open(store: Store, holder: &KeyFile) -> Arc<Vault> {
    Arc::new(Vault::open(store, holder).await.expect("open").with_pack_bytes(PACK_BYTES))
}

fn session() -> SessionId {
    SessionId(Uuid::now_v7())
}

async fn copy(from: &Arc<Vault>, to: &Arc<Vault>, point: &Point, id: SessionId) -> vault::Result<Point> {
    match copy_point(from, to, point, CopyRun { session: id, now: now() }, &|_| ()).await? {
        Copied::Made(point) => Ok(*point),
        other => panic!("nobody else has made it: {other:?}"),
    }
}

/// Bytes of all packs of data in a store.
async fn packed(inner: &InMemory) -> u64 {
    let packs: Vec<_> = inner.list(Some(&Path::from("packs"))).try_collect().await.expect("memory");
    packs.iter().map(|pack| pack.size).sum()
}

#[tokio::test(start_paused = true)]
async fn wherever_a_copy_dies_the_next_one_uploads_only_the_rest() {
    let (vault, holder) = create_in(memory(&Arc::default())).await;
    let disk = MemoryDisk::from(noise(5, CHUNKS * CHUNK_BYTES));
    let point = back_up(&vault, &disk, None).await.expect("backup");
    let empty = Arc::new(InMemory::new());
    Vault::create_replica(memory(&empty), &vault, now(), &holder).await.expect("replica");
    let undisturbed = Arc::new(empty.fork());
    let (store, put) = CountingStore::over(Arc::clone(&undisturbed));
    copy(&vault, &open(store, &holder).await, &point, session()).await.expect("copy");
    let (whole_bytes, whole_puts) = (packed(&undisturbed).await, put.take().bytes_put);
    let mut died = 0;
    for budget in 1.. {
        let inner = Arc::new(empty.fork());
        let cut = Store::new(Arc::new(CutStore::new(Arc::clone(&inner), budget, false)), "cut");
        // Several die, one after the other, each a little further on.
        let mut sessions = vec![session(), session()];
        let first = copy(&vault, &open(cut, &holder).await, &point, sessions[0]).await;
        if first.is_ok() {
            break;
        }
        died += 1;
        let there = open(memory(&inner), &holder).await;
        there.inherit_session(sessions[0], now()).await.expect("inherit");
        let cut = Store::new(Arc::new(CutStore::new(Arc::clone(&inner), budget, false)), "cut");
        if copy(&vault, &open(cut, &holder).await, &point, sessions[1]).await.is_err() {
            there.inherit_session(sessions[1], now()).await.expect("inherit");
            let left = packed(&inner).await;
            let (store, put) = CountingStore::over(Arc::clone(&inner));
            sessions.push(session());
            copy(&vault, &open(store, &holder).await, &point, sessions[2]).await.expect("the rest");
            // All but what is new: map, index, log. What the dead had open, up to two packs each, is sealed anew.
            let rest = put.take().bytes_put;
            assert!(
                rest <= whole_puts - left + (64 << 10),
                "{budget}: {rest} of {whole_puts}, {left} were there"
            );
        }
        let all = packed(&inner).await;
        assert!(
            all <= whole_bytes + (16 << 10),
            "{budget}: nothing lies there twice: {all} of {whole_bytes}"
        );
        // Nothing cached, and after a collection: what was inherited is what the point is made of.
        let there = open(memory(&inner), &holder).await;
        there.collect(&at_once()).await.expect("collect");
        there.collect(&at_once()).await.expect("collect");
        let copied = there.points().await.expect("list").pop().expect("the point");
        assert!(restore(&there, &copied).await.expect("restore") == disk.bytes(), "{budget}");
        assert!(there.verify(&|_| ()).await.expect("verify").damage.is_empty());
    }
    assert!(died > 8, "it died at {died} places");
}

#[tokio::test]
async fn whoever_is_inherited_from_makes_no_point_and_what_nobody_uses_goes() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (_, holder) = create(folder.path()).await;
    let vault = open(Store::local(folder.path()).expect("store"), &holder).await;
    let (id, bytes) = (session(), noise(7, 20 * CHUNK_BYTES));
    let still_writing = Session::begin(&vault, id, now()).await.expect("begin");
    let mut map = still_writing.disk(bytes.len() as u64, None).await.expect("a disk");
    let batch = still_writing.store(0, bytes.clone()).await.expect("store");
    map.record(&still_writing, &batch).await.expect("record");
    // Each batch fills a pack. Two are uploaded at once: whoever stores the sixth has waited for the first.
    for seed in 8..14 {
        still_writing.store(0, noise(seed, 20 * CHUNK_BYTES)).await.expect("store");
    }
    let other = open(Store::local(folder.path()).expect("store"), &holder).await;
    assert_eq!(other.inherit_session(id, now()).await.expect("inherit"), Ended::Aborted);
    let map = map.finish(&still_writing).await.expect("finish");
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new("machine-1").expect("a name"),
        machine_name: "one".into(),
        instant: now(),
        parent: None,
        consistency: serde_json::Value::Null,
        description: serde_json::Value::Null,
        service: serde_json::Value::Null,
    };
    let record = DiskRecord { name: "disk0".into(), map, tracking: String::new(), read_bytes: 0 };
    let fenced = still_writing.commit(draft, vec![record]).await.expect_err("fenced");
    assert_eq!(fenced.kind(), ErrorKind::Conflict);
    assert!(other.points().await.expect("list").is_empty());
    assert_eq!(other.inherit_session(id, now()).await.expect("again"), Ended::Committed);
    assert!(Session::begin(&other, id, now()).await.is_err(), "its id is used up");

    other.collect(&at_once()).await.expect("condemned");
    other.collect(&at_once()).await.expect("deleted");
    let packs = std::fs::read_dir(folder.path().join("packs")).expect("a folder");
    let left = packs.flatten().flat_map(|session| std::fs::read_dir(session.path()).expect("a folder"));
    assert_eq!(left.count(), 0, "nobody used any of it");
    let disk = MemoryDisk::from(bytes);
    let point = back_up(&other, &disk, None).await.expect("backup");
    assert!(restore(&other, &point).await.expect("restore") == disk.bytes());
}

#[tokio::test]
async fn one_that_had_uploaded_nothing_is_aborted() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let (begun, not_begun) = (session(), session());
    let writing = Session::begin(&vault, begun, now()).await.expect("begin");
    for id in [begun, not_begun] {
        assert_eq!(vault.inherit_session(id, now()).await.expect("inherit"), Ended::Aborted);
        assert_eq!(vault.abort_session(id, now()).await.expect("ask"), Ended::Aborted);
    }
    drop(writing);
    assert!(Session::begin(&vault, not_begun, now()).await.is_err(), "fenced");
}
