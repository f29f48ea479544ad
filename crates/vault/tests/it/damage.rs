//! Whatever happens to an object, a reader gets the right bytes or an error that names the object.

use crate::backup::{back_up, create, noise, restore};
use block::{BlockSink, MemoryDisk};
use std::path::PathBuf;
use std::sync::Arc;
use vault::{CHUNK_BYTES, KeyFile, Store, Vault, scrub};

/// All objects of a vault in a directory, by folder.
fn objects(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut waiting = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).expect("read").map(|entry| entry.expect("entry").path()));
        } else {
            files.push(path);
        }
    }
    files
}

/// Opens the vault and restores every point of it anew, with nothing cached.
async fn restore_all(folder: &std::path::Path, holder: &KeyFile) -> Result<Vec<Vec<u8>>, String> {
    let vault = Vault::open(Store::local(folder).expect("store"), holder).await.map_err(|e| e.to_string())?;
    let vault = Arc::new(vault);
    let mut disks = Vec::new();
    for point in vault.points().await.map_err(|e| e.to_string())? {
        disks.push(restore(&vault, &point).await.map_err(|e| e.to_string())?);
    }
    Ok(disks)
}

#[tokio::test]
async fn every_flipped_byte_is_an_error_or_harmless() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let disk = MemoryDisk::new(3 * CHUNK_BYTES);
    disk.write(0, noise(1, 700)).await.expect("in range");
    disk.write(2 * CHUNK_BYTES as u64, noise(2, 300)).await.expect("in range");
    back_up(&vault, &disk, None).await.expect("backup");
    let right = vec![disk.bytes()];
    assert_eq!(restore_all(folder.path(), &holder).await.expect("whole"), right);
    for path in objects(folder.path()) {
        let whole = std::fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("write");
            if let Ok(disks) = restore_all(folder.path(), &holder).await {
                assert!(disks == right, "{} byte {at}: wrong data", path.display());
            }
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("write");
        let short = restore_all(folder.path(), &holder).await;
        // Caches, on which nothing but speed depends, and the record that a checkpoint stands for, are not
        // needed to restore. Whoever looks at every object finds them.
        let name = path.strip_prefix(folder.path()).expect("it lies there").to_str().expect("a name");
        let is_spare =
            ["index/", "checkpoints/", "log/0000000000000000"].iter().any(|one| name.starts_with(one));
        assert!(is_spare || short.is_err(), "{name} cut in half went unnoticed");
        if is_spare {
            let found = scrub(&Store::local(folder.path()).expect("store"), &|_| ()).await.expect("scrub");
            assert_eq!(found.damage.iter().map(|damage| damage.object.as_str()).collect::<Vec<_>>(), [name]);
        }
        std::fs::write(&path, &whole).expect("write");
    }
}

#[tokio::test]
async fn a_missing_pack_is_named() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, CHUNK_BYTES));
    let point = back_up(&vault, &disk, None).await.expect("backup");
    std::fs::remove_dir_all(folder.path().join("packs")).expect("remove");
    let vault =
        Arc::new(Vault::open(Store::local(folder.path()).expect("store"), &holder).await.expect("open"));
    let error = restore(&vault, &point).await.expect_err("no pack");
    assert_eq!(error.kind(), block::ErrorKind::Corrupt);
    assert!(error.to_string().contains("packs/"), "{error}");
}

#[tokio::test]
async fn a_damaged_point_hides_no_other() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, CHUNK_BYTES));
    let first = back_up(&vault, &disk, None).await.expect("backup");
    let second = back_up(&vault, &disk, None).await.expect("backup");
    let path = folder.path().join(format!("points/{}/{}", first.machine, first.id));
    std::fs::write(&path, b"rotten").expect("write");
    let vault =
        Arc::new(Vault::open(Store::local(folder.path()).expect("store"), &holder).await.expect("open"));
    let survey = vault.survey(None).await.expect("survey");
    assert_eq!(survey.points.iter().map(|point| point.id).collect::<Vec<_>>(), [second.id]);
    assert_eq!(survey.damage.len(), 1);
    assert!(vault.points().await.is_err(), "whoever wants all of them is told");
    assert!(restore(&vault, &survey.points[0]).await.expect("restore") == disk.bytes());
    std::fs::remove_file(&path).expect("remove");
    assert_eq!(vault.survey(None).await.expect("survey").damage.len(), 1, "a lost one is damage too");
}
