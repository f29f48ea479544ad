//! Vaults that were written once and are read by every later version.
//!
//! `cargo xtask golden` writes the newest one anew: only while its format is not released.

use crate::backup::{back_up_for, blocks, noise, now};
use block::{BlockSink, BlockSource, MemoryDisk};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, CollectOptions, HashCost, KeyFile, KeyProvider, NewHolder, Note, Passphrase, PointDisk,
    Session, SessionId, Store, Vault, VaultId, scrub,
};
use zeroize::Zeroizing;

/// Every one there is, the newest last. `v1` was written before points had a `service`, `v1-service` before there were
/// notes.
const ALL: [&str; 3] = ["v1", "v1-service", "v1-notes"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A holder as cheap as there is: what it hashes with lies in the vault.
fn passphrase() -> Passphrase {
    let cost = HashCost { memory_kib: 64, passes: 1, lanes: 1 };
    let text = Zeroizing::new("golden words open it".to_owned());
    Passphrase::new(text).and_then(|one| one.at_cost(cost)).expect("a passphrase")
}

/// What a vault holds: hashes of disks, by point.
async fn content(vault: &Arc<Vault>) -> Value {
    let mut points = Vec::new();
    for point in vault.points().await.expect("list") {
        let mut disks = Vec::new();
        for record in &point.disks {
            let disk = PointDisk::new(Arc::clone(vault), record.map.clone());
            let bytes = disk.read(0, vec![0; disk.size() as usize]).await.expect("read");
            let hash = blake3::hash(&bytes).to_string();
            disks.push(json!({ "name": record.name, "bytes": disk.size(), "blake3": hash }));
        }
        let mut told = json!({ "id": point.id, "machine": point.machine, "disks": disks });
        if !point.service.is_null() {
            told["service"] = point.service;
        }
        points.push(told);
    }
    let deleted: Vec<_> =
        vault.deleted_points().await.expect("list").iter().map(|point| json!(point.id)).collect();
    let mut told = json!({ "points": points, "deleted": deleted });
    let found = vault.notes().await.expect("notes");
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    if !found.notes.is_empty() {
        told["notes"] = json!(found.notes);
    }
    told
}

#[tokio::test]
async fn every_version_reads_what_earlier_ones_wrote() {
    for name in ALL {
        reads(&folder(name)).await;
    }
}

async fn reads(folder: &Path) {
    let expected = std::fs::read(folder.join("expected.json")).expect("cargo xtask golden writes it");
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    assert_eq!(expected["points"].as_array().map(Vec::len), Some(2));
    assert_eq!(expected["deleted"].as_array().map(Vec::len), Some(1));
    let file = KeyFile::read(&folder.join("vault.key")).expect("the key");
    for holder in [&file as &dyn KeyProvider, &passphrase()] {
        let store = Store::local(&folder.join("vault")).expect("store");
        let vault = Arc::new(Vault::open(store, holder).await.expect("open"));
        assert_eq!(content(&vault).await, expected);
        let done = vault.verify(&|_| ()).await.expect("verify");
        assert!(done.damage.is_empty() && done.points.is_empty(), "{done:?}");
        assert!(scrub(vault.store(), &|_| ()).await.expect("scrub").damage.is_empty());
    }
}

/// Two points and a deleted one of a machine, a session that was given up, two holders, two notes of which one counts.
#[tokio::test]
#[ignore = "writes into the sources: cargo xtask golden"]
async fn write() {
    let folder = folder(ALL[ALL.len() - 1]);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("vault")).expect("mkdir");
    let (file, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    file.write(&folder.join("vault.key"), id).expect("write the key");
    let words = passphrase();
    let holders: [&dyn KeyProvider; 2] = [&file, &words];
    let holders = holders.map(|key| NewHolder { key, label: "golden".into(), added: now() });
    let store = Store::local(&folder.join("vault")).expect("store");
    let vault = Arc::new(Vault::create_with(store, id, now(), &holders).await.expect("create"));
    let disk = MemoryDisk::new(70 * CHUNK_BYTES + 77);
    for block in [0, 3, 66] {
        disk.write(block * CHUNK_BYTES as u64, noise(block + 1, 2000)).await.expect("in range");
    }
    let service = |number: u32| json!({ "version": 1, "job": number });
    let deleted = back_up_for(&vault, &disk, None, service(1)).await.expect("backup");
    disk.write(5 * CHUNK_BYTES as u64, noise(9, 300)).await.expect("in range");
    let first =
        back_up_for(&vault, &disk, Some((&deleted, &blocks(5..6))), service(2)).await.expect("backup");
    disk.zero(3 * CHUNK_BYTES as u64, CHUNK_BYTES as u64).await.expect("in range");
    back_up_for(&vault, &disk, Some((&first, &blocks(3..4))), Value::Null).await.expect("backup");
    vault.delete_point(deleted.id, now()).await.expect("delete");
    let session = Session::begin(&vault, SessionId(Uuid::now_v7()), now()).await.expect("begin");
    session.store(0, noise(11, CHUNK_BYTES)).await.expect("store");
    drop(session);
    for number in [1, 2] {
        let note = json!({ "version": 1, "said": number });
        let note = Note { machine: deleted.machine.clone(), number, at: now(), note };
        vault.put_note(&note).await.expect("note");
    }
    let later = now() + jiff::SignedDuration::from_hours(24 * 400);
    let options = CollectOptions {
        soft_delete: jiff::SignedDuration::from_hours(24 * 10_000),
        share_max: 1.0,
        ..CollectOptions::new(later)
    };
    assert_eq!(vault.collect(&options).await.expect("collect").aborted, 1);
    let text = serde_json::to_vec_pretty(&content(&vault).await).expect("plain data");
    std::fs::write(folder.join("expected.json"), text).expect("write");
}
