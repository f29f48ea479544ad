//! Creating and opening: what bad input gets.

use crate::backup::{back_up, create, now};
use block::MemoryDisk;
use uuid::Uuid;
use vault::{ErrorKind, KeyFile, MachineKey, PointId, Store, Vault, VaultId};

async fn open(folder: &std::path::Path, holder: &KeyFile) -> vault::Result<Vault> {
    Vault::open(Store::local(folder)?, holder).await
}

#[tokio::test]
async fn a_vault_opens_with_its_key_and_no_other() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let opened = open(folder.path(), &holder).await.expect("opens");
    assert_eq!(opened.id(), vault.id());
    let error = open(folder.path(), &KeyFile::generate()).await.err().expect("another key");
    assert_eq!(error.kind(), ErrorKind::Key);
}

#[tokio::test]
async fn no_vault_a_full_folder_and_a_newer_vault_are_told_apart() {
    let folder = tempfile::tempdir().expect("tempdir");
    let holder = KeyFile::generate();
    assert_eq!(open(folder.path(), &holder).await.err().expect("none").kind(), ErrorKind::NotFound);
    assert_eq!(
        open(&folder.path().join("nowhere"), &holder).await.err().expect("none").kind(),
        ErrorKind::NotFound
    );
    let (_, holder) = create(folder.path()).await;
    let again =
        Vault::create(Store::local(folder.path()).expect("store"), VaultId(Uuid::new_v4()), now(), &holder);
    assert_eq!(again.await.err().expect("taken").kind(), ErrorKind::AlreadyExists);

    let path = folder.path().join("vault.json");
    let info = std::fs::read_to_string(&path).expect("read");
    assert!(info.contains("\"format\": 1") && info.contains("[]"), "{info}");
    std::fs::write(&path, info.replace("\"format\": 1", "\"format\": 2")).expect("write");
    assert_eq!(open(folder.path(), &holder).await.err().expect("newer").kind(), ErrorKind::Unsupported);
    std::fs::write(&path, info.replace("[]", "[\"time-travel\"]")).expect("write");
    let error = open(folder.path(), &holder).await.err().expect("unknown feature");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("time-travel"));
}

#[tokio::test]
async fn points_are_listed_and_a_strange_one_is_not_found() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    assert!(vault.points().await.expect("list").is_empty());
    let point = back_up(&vault, &MemoryDisk::new(10), None).await.expect("backup");
    let listed = vault.points().await.expect("list");
    assert_eq!(listed.iter().map(|p| p.id).collect::<Vec<_>>(), [point.id]);
    assert_eq!(listed[0].consistency["level"], "crash");
    let machine = MachineKey::new("machine-1").expect("a name");
    let error = vault.point(&machine, PointId(Uuid::nil())).await.expect_err("no such point");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(point.disk("disk7").expect_err("no such disk").to_string().contains("it has disk0"));
    assert!(MachineKey::new("../etc").is_err());
}
