//! A miniature of the mover's loop, and the oracle it is checked against: disks in memory.

use block::{BlockSource, ExtentKind, MemoryDisk, pieces};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    Base, CHUNK_BYTES, CollectOptions, DiskRecord, KeyFile, MachineKey, Point, PointDisk, PointDraft,
    PointId, Session, SessionId, Store, Vault, VaultId,
};

/// The time at which all of these tests take place.
pub(crate) fn now() -> jiff::Timestamp {
    "2026-11-21T03:00:00Z".parse().expect("a time")
}

/// One changed range.
pub(crate) fn blocks(range: std::ops::Range<u64>) -> Changes {
    Vec::from([range])
}

/// A collection long after, that waits for nothing.
pub(crate) fn at_once() -> CollectOptions {
    let later = now() + jiff::SignedDuration::from_hours(24 * 400);
    let zero = jiff::SignedDuration::ZERO;
    let day = jiff::SignedDuration::from_hours(24);
    CollectOptions {
        soft_delete: zero,
        grace: zero,
        session_age: day,
        share_max: 1.0,
        ..CollectOptions::new(later)
    }
}

pub(crate) async fn create(folder: &Path) -> (Arc<Vault>, KeyFile) {
    create_in(Store::local(folder).expect("store")).await
}

pub(crate) async fn create_in(store: Store) -> (Arc<Vault>, KeyFile) {
    let holder = KeyFile::generate();
    let vault = Vault::create(store, VaultId(Uuid::new_v4()), now(), &holder).await.expect("create");
    (Arc::new(vault), holder)
}

/// What the oracle changed since the last point: whole blocks.
pub(crate) type Changes = Vec<std::ops::Range<u64>>;

/// Backs one disk up: all of it, or the changes on top of `parent`.
pub(crate) async fn back_up(
    vault: &Arc<Vault>,
    disk: &MemoryDisk,
    parent: Option<(&Point, &Changes)>,
) -> vault::Result<Point> {
    back_up_for(vault, disk, parent, serde_json::Value::Null).await
}

/// The same, with what a service wants to find again.
pub(crate) async fn back_up_for(
    vault: &Arc<Vault>,
    disk: &MemoryDisk,
    parent: Option<(&Point, &Changes)>,
    service: serde_json::Value,
) -> vault::Result<Point> {
    back_up_as(vault, disk, parent, ("machine-1", service)).await
}

/// The same, of another machine.
pub(crate) async fn back_up_as(
    vault: &Arc<Vault>,
    disk: &MemoryDisk,
    parent: Option<(&Point, &Changes)>,
    (machine, service): (&str, serde_json::Value),
) -> vault::Result<Point> {
    let session = Session::begin(vault, SessionId(Uuid::now_v7()), now()).await?;
    let size = BlockSource::size(disk);
    let old = parent.map(|(point, _)| Base { point: point.id, map: &point.disks[0].map });
    let mut writer = session.disk(size, old).await?;
    if let Some((_, changes)) = parent {
        for range in changes {
            let (start, end) = (range.start * CHUNK_BYTES as u64, (range.end * CHUNK_BYTES as u64).min(size));
            let bytes = disk.read(start, vec![0; (end - start) as usize]).await.expect("in range");
            writer.record(&session, &session.store(start, bytes).await?).await?;
        }
    } else {
        use futures_util::TryStreamExt;
        let mut all = pieces(disk, CHUNK_BYTES as u64, 4 * CHUNK_BYTES as u64);
        while let Some(piece) = all.try_next().await.expect("memory") {
            if piece.kind == ExtentKind::Data {
                let bytes = disk.read(piece.offset, vec![0; piece.length as usize]).await.expect("in range");
                writer.record(&session, &session.store(piece.offset, bytes).await?).await?;
            } else {
                writer.record_zeros(&session, piece.offset, piece.length).await?;
            }
        }
    }
    let map = writer.finish(&session).await?;
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new(machine).expect("a name"),
        machine_name: "one".into(),
        instant: now(),
        parent: parent.map(|(point, _)| point.id),
        consistency: serde_json::json!({"level": "crash"}),
        description: serde_json::Value::Null,
        service,
    };
    let record = DiskRecord { name: "disk0".into(), map, tracking: "test".into(), read_bytes: 0 };
    session.commit(draft, vec![record]).await
}

/// Everything on the first disk of a point.
pub(crate) async fn restore(vault: &Arc<Vault>, point: &Point) -> block::Result<Vec<u8>> {
    let disk = PointDisk::new(Arc::clone(vault), point.disks[0].map.clone());
    let target = MemoryDisk::new(disk.size() as usize);
    block::copy(&disk, &target, block::CopyOptions::default(), &|_| ()).await?;
    Ok(target.bytes())
}

/// Bytes that compress about as disks do, different for every seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length).map(|at| if at % 4 == 0 { (next() >> 32) as u8 } else { (at / 1024) as u8 }).collect()
}
