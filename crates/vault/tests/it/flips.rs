//! Bits that flip, everywhere and by the hundred thousand: an error that is named, or the right bytes.

use crate::backup::{at_once, back_up, blocks, create_in, noise, now, restore};
use crate::crash::CutStore;
use crate::faults::FaultStore;
use block::{BlockSink, BlockSource, MemoryDisk};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use vault::{CHUNK_BYTES, ErrorKind, KeyFile, Point, PointDisk, Store, Vault};

/// Flips in packs of data.
const FLIPS: u64 = 100_000;

async fn objects(store: &InMemory) -> Vec<(Path, Bytes)> {
    let listed: Vec<_> = store.list(None).try_collect().await.expect("list");
    let mut objects = Vec::new();
    for meta in listed {
        let bytes = store.get(&meta.location).await.expect("get").bytes().await.expect("bytes");
        objects.push((meta.location, bytes));
    }
    objects
}

/// Reads everything, then writes; the points that were found restore to `right`.
async fn use_all(store: InMemory, holder: &KeyFile, right: &[(Point, Vec<u8>)]) -> Result<(), ErrorKind> {
    let vault = Vault::open(Store::new(Arc::new(store), "flipped"), holder).await.map_err(|e| e.kind())?;
    let vault = Arc::new(vault);
    let listed = vault.points().await.map_err(|e| e.kind())?;
    assert_eq!(listed.len(), right.len(), "a point is hidden or made up");
    for (point, bytes) in right {
        let listed = listed.iter().find(|listed| listed.id == point.id).expect("the same points");
        match restore(&vault, listed).await {
            Ok(found) => assert!(found == *bytes, "other bytes, and no error"),
            // `Io` is how a missing epoch or a newer version comes through: the head of an object says so.
            Err(error) => {
                let is_named = matches!(error.kind(), block::ErrorKind::Corrupt | block::ErrorKind::Io);
                assert!(is_named, "{:?}: {error}", error.kind());
            }
        }
    }
    let disk = MemoryDisk::from(noise(9, 100));
    let made = back_up(&vault, &disk, None).await.map_err(|e| e.kind())?;
    assert!(restore(&vault, &made).await.map_err(|_| ErrorKind::Corrupt)? == disk.bytes());
    vault.plan_collection(&at_once()).await.map(drop).map_err(|e| e.kind())
}

/// Two points, one of them deleted, and a collector that died with its intent published.
async fn scene() -> (Arc<InMemory>, KeyFile, Vec<(Point, Vec<u8>)>) {
    let inner = Arc::new(InMemory::new());
    let (vault, holder) = create_in(Store::new(Arc::clone(&inner) as _, "memory")).await;
    let disk = MemoryDisk::new(3 * CHUNK_BYTES);
    disk.write(0, noise(1, 700)).await.expect("in range");
    disk.write(2 * CHUNK_BYTES as u64, noise(2, 300)).await.expect("in range");
    let gone = back_up(&vault, &disk, None).await.expect("backup");
    disk.write(0, noise(3, 500)).await.expect("in range");
    let first = back_up(&vault, &disk, None).await.expect("backup");
    let mut right = vec![(first.clone(), disk.bytes())];
    disk.write(CHUNK_BYTES as u64, noise(4, 200)).await.expect("in range");
    let second = back_up(&vault, &disk, Some((&first, &blocks(1..2)))).await.expect("backup");
    right.push((second, disk.bytes()));
    vault.delete_point(gone.id, now()).await.expect("delete");
    for budget in 0.. {
        let fork = Arc::new(inner.fork());
        let cut = Store::new(Arc::new(CutStore::new(Arc::clone(&fork), budget, false)), "cut");
        let vault = Arc::new(Vault::open(cut, &holder).await.expect("open"));
        let _ = vault.collect(&at_once()).await;
        if objects(&fork).await.iter().any(|(name, _)| name.as_ref().starts_with("gc/")) {
            return (fork, holder, right);
        }
        assert!(budget < 50, "a collection publishes an intent");
    }
    unreachable!("budgets do not end")
}

#[tokio::test(start_paused = true)]
async fn every_byte_of_every_object_but_data() {
    let (inner, holder, right) = scene().await;
    use_all(inner.fork(), &holder, &right).await.expect("whole");
    let (mut bytes_flipped, mut named) = (0u64, 0u64);
    let mut folders = std::collections::BTreeSet::new();
    for (name, bytes) in
        objects(&inner).await.into_iter().filter(|(name, _)| !name.as_ref().starts_with("packs/"))
    {
        folders.insert(name.as_ref().split('/').next().unwrap_or_default().to_owned());
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            let fork = inner.fork();
            fork.put(&name, flipped.into()).await.expect("put");
            bytes_flipped += 1;
            let Err(kind) = use_all(fork, &holder, &right).await else { continue };
            named += 1;
            let is_named = match kind {
                ErrorKind::Corrupt | ErrorKind::Key | ErrorKind::Unsupported => true,
                // A vault.json that says it is something else.
                ErrorKind::NotFound => name.as_ref() == "vault.json",
                _ => false,
            };
            assert!(is_named, "{name}, byte {at}: {kind:?}");
        }
    }
    let all = ["checkpoints", "gc", "index", "keys", "log", "maps", "points", "vault.json"];
    assert_eq!(folders.into_iter().collect::<Vec<_>>(), all);
    // A checkpoint stands for the log before it, and the log for a checkpoint: flips in either are mostly harmless.
    assert!(named > bytes_flipped / 3, "{named} of {bytes_flipped}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_bits_of_data() {
    let (store, faulty) = FaultStore::with(&[], &[], &[]);
    let (vault, _) = create_in(store).await;
    // One chunk that does not compress, two that do.
    let mut bytes = vec![0; 3 * CHUNK_BYTES];
    let mut chance = 5u64;
    let mut next = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chance >> 33
    };
    bytes[..CHUNK_BYTES].fill_with(|| next() as u8);
    bytes[CHUNK_BYTES..][..900].copy_from_slice(&noise(2, 900));
    bytes[2 * CHUNK_BYTES..][..4000].copy_from_slice(&noise(3, 4000));
    let point = back_up(&vault, &MemoryDisk::from(bytes.clone()), None).await.expect("backup");
    let found = objects(&faulty.inner).await;
    let (name, pack) = found.iter().find(|(name, _)| name.as_ref().starts_with("packs/")).expect("one pack");
    let (mut flipped, mut named) = (pack.to_vec(), 0);
    let mut buffer = vec![0; bytes.len()];
    for _ in 0..FLIPS {
        let (at, bit) = (next() as usize % pack.len(), 1 << (next() % 8));
        flipped[at] ^= bit;
        faulty.inner.put(name, Bytes::copy_from_slice(&flipped).into()).await.expect("put");
        flipped[at] ^= bit;
        // Another disk each time: one keeps what it has read.
        let disk = PointDisk::new(Arc::clone(&vault), point.disks[0].map.clone());
        buffer = match disk.read(0, buffer).await {
            Ok(read) => {
                assert!(read == bytes, "byte {at}: other bytes, and no error");
                read
            }
            Err(error) => {
                assert_eq!(error.kind(), block::ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains("packs/"), "{error}");
                named += 1;
                vec![0; bytes.len()]
            }
        };
    }
    assert!(named > FLIPS * 9 / 10, "nearly all of a pack is data: {named}");
}
