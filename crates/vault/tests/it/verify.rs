//! Verification finds every damaged byte, and names whom it hurts.

use crate::backup::{back_up, blocks, create, noise};
use block::{BlockSink, MemoryDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{CHUNK_BYTES, KeyFile, Store, Vault, scrub};

async fn reopen(folder: &Path, holder: &KeyFile) -> Vault {
    Vault::open(Store::local(folder).expect("store"), holder).await.expect("open")
}

/// The one object in a folder of the vault whose session wrote last.
fn newest(folder: &Path, kind: &str) -> PathBuf {
    let sessions = std::fs::read_dir(folder.join(kind)).expect("list");
    let last = sessions.map(|entry| entry.expect("entry").path()).max().expect("one at least");
    last.join("00000000")
}

#[tokio::test]
async fn a_whole_vault_is_found_whole() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 70 * CHUNK_BYTES));
    back_up(&vault, &disk, None).await.expect("backup");
    let done = vault.verify(&|_| ()).await.expect("verify");
    assert!(done.damage.is_empty() && done.points.is_empty(), "{done:?}");
    assert_eq!(done.chunks, 70 + 3, "chunks, two leaves and a root");
    let done = scrub(vault.store(), &|_| ()).await.expect("scrub");
    assert!(done.damage.is_empty(), "{done:?}");
}

#[tokio::test]
async fn a_flipped_byte_is_named_with_the_points_it_hurts() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 70 * CHUNK_BYTES));
    let first = back_up(&vault, &disk, None).await.expect("backup");
    disk.write(5 * CHUNK_BYTES as u64, noise(2, CHUNK_BYTES)).await.expect("in range");
    let second = back_up(&vault, &disk, Some((&first, &blocks(5..6)))).await.expect("backup");
    let pack = newest(folder.path(), "packs");
    let mut bytes = std::fs::read(&pack).expect("read");
    bytes[100] ^= 4;
    std::fs::write(&pack, &bytes).expect("write");
    let vault = reopen(folder.path(), &holder).await;
    let done = vault.verify(&|_| ()).await.expect("verify");
    assert_eq!(done.damage.len(), 1, "{done:?}");
    assert!(pack.ends_with(&done.damage[0].object), "{done:?}");
    let hurt: Vec<_> = done.points.iter().map(|hurt| (hurt.point, hurt.ranges.clone())).collect();
    let start = 5 * CHUNK_BYTES as u64;
    assert_eq!(hurt, [(second.id, blocks(start..start + CHUNK_BYTES as u64))], "the first point is whole");
    assert_eq!(scrub(vault.store(), &|_| ()).await.expect("scrub").damage.len(), 1);
}

#[tokio::test]
async fn missing_packs_and_damaged_maps_are_named() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 70 * CHUNK_BYTES));
    let point = back_up(&vault, &disk, None).await.expect("backup");
    let data = newest(folder.path(), "packs");
    std::fs::rename(&data, folder.path().join("aside")).expect("rename");
    let done = reopen(folder.path(), &holder).await.verify(&|_| ()).await.expect("verify");
    assert_eq!(done.damage.len(), 1);
    assert!(done.damage[0].found.contains("missing"));
    let whole = 0..70 * CHUNK_BYTES as u64;
    assert_eq!(done.points[0].ranges, Vec::from([whole.clone()]));
    std::fs::rename(folder.path().join("aside"), &data).expect("rename");
    std::fs::write(newest(folder.path(), "maps"), b"short").expect("write");
    let done = reopen(folder.path(), &holder).await.verify(&|_| ()).await.expect("verify");
    assert_eq!((done.points[0].point, done.points[0].ranges.clone()), (point.id, Vec::from([whole])));
}

/// 2,000 random flips anywhere: deep verification names each one that lies in a pack.
#[tokio::test]
async fn random_flips_are_all_found() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    back_up(&vault, &MemoryDisk::from(noise(3, 9 * CHUNK_BYTES)), None).await.expect("backup");
    let vault = Arc::new(reopen(folder.path(), &holder).await);
    let mut state = 7u64;
    for kind in ["packs", "maps"] {
        let path = newest(folder.path(), kind);
        let whole = std::fs::read(&path).expect("read");
        for _ in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = whole.clone();
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (state >> 30 & 7);
            std::fs::write(&path, &bytes).expect("write");
            let done = vault.verify(&|_| ()).await.expect("verify");
            assert!(!done.damage.is_empty(), "a flip at byte {at} of {kind} went unnoticed");
        }
        std::fs::write(&path, &whole).expect("write");
    }
}
