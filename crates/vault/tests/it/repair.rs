//! Repair: what is damaged is healed from what is whole, wherever that is, and nothing gets worse.

use crate::backup::{at_once, back_up, blocks, create, noise, restore};
use block::{BlockSink, MemoryDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use vault::{CHUNK_BYTES, CopyRun, KeyFile, Point, Repaired, SessionId, Store, Vault, copy_point};

/// A vault with one point, a second store of it, and what the disk holds.
struct Scene {
    folder: tempfile::TempDir,
    other: tempfile::TempDir,
    holder: KeyFile,
    disk: MemoryDisk,
    point: Point,
}

impl Scene {
    async fn new() -> Self {
        let (folder, other) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
        let (vault, holder) = create(folder.path()).await;
        let disk = MemoryDisk::from(noise(1, 150 * CHUNK_BYTES));
        let point = back_up(&vault, &disk, None).await.expect("backup");
        let mut copy = std::process::Command::new("cp");
        copy.arg("-a").arg(folder.path().join(".")).arg(other.path());
        assert!(copy.status().expect("cp").success());
        Self { folder, other, holder, disk, point }
    }

    async fn vault(&self) -> Arc<Vault> {
        open(self.folder.path(), &self.holder).await
    }

    fn pack(&self, kind: &str) -> PathBuf {
        let session = std::fs::read_dir(self.folder.path().join(kind)).expect("list").next();
        session.expect("one session").expect("entry").path().join("00000000")
    }

    fn flip(&self, kind: &str, at: usize) {
        let mut bytes = std::fs::read(self.pack(kind)).expect("read");
        bytes[at] ^= 4;
        std::fs::write(self.pack(kind), bytes).expect("write");
    }

    /// Flips a bit of the data that a point wrote.
    fn flip_of(&self, point: &Point, at: usize) {
        let path = self.folder.path().join(format!("packs/{}/00000000", point.session));
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[at] ^= 4;
        std::fs::write(&path, bytes).expect("write");
    }

    async fn repair(&self, other: Option<&Vault>) -> Repaired {
        let vault = self.vault().await;
        let found = vault.verify(&|_| ()).await.expect("verify");
        assert!(!found.damage.is_empty() && !found.points.is_empty(), "{found:?}");
        vault.repair(&found, other, crate::backup::now()).await.expect("repair")
    }

    async fn assert_whole(&self) {
        for _ in 0..2 {
            let vault = self.vault().await;
            assert!(restore(&vault, &self.point).await.expect("restore") == self.disk.bytes());
            let found = vault.verify(&|_| ()).await.expect("verify");
            assert!(found.points.is_empty(), "{found:?}");
            vault.collect(&at_once()).await.expect("collect");
        }
        let found = self.vault().await.verify(&|_| ()).await.expect("verify");
        assert!(found.damage.is_empty(), "the damaged pack is gone: {found:?}");
    }
}

async fn open(folder: &Path, holder: &KeyFile) -> Arc<Vault> {
    Arc::new(Vault::open(Store::local(folder).expect("store"), holder).await.expect("open"))
}

#[tokio::test]
async fn another_store_heals_chunks_nodes_and_missing_packs() {
    for (kind, whole_is_lost) in [("packs", false), ("maps", false), ("packs", true), ("maps", true)] {
        let scene = Scene::new().await;
        if whole_is_lost {
            std::fs::remove_file(scene.pack(kind)).expect("remove");
        } else {
            scene.flip(kind, 200);
        }
        let other = open(scene.other.path(), &scene.holder).await;
        let done = scene.repair(Some(&other)).await;
        assert!(done.from_other > 0 && done.lost == 0 && done.quarantined == 1, "{kind}: {done:?}");
        scene.assert_whole().await;
    }
}

#[tokio::test]
async fn without_another_store_what_is_whole_is_saved_and_a_full_backup_heals_the_rest() {
    let scene = Scene::new().await;
    scene.flip("packs", 200);
    let done = scene.repair(None).await;
    assert_eq!((done.saved, done.lost, done.from_other), (149, 1, 0));
    let vault = scene.vault().await;
    restore(&vault, &scene.point).await.expect_err("one chunk is lost");
    // The damaged pack stays as long as something has no better place.
    vault.collect(&at_once()).await.expect("collect");
    assert!(scene.pack("packs").exists());
    let full = back_up(&vault, &scene.disk, None).await.expect("full backup");
    assert_eq!(full.stats.new_bytes, CHUNK_BYTES as u64, "only what was lost is stored again");
    scene.assert_whole().await;
}

#[tokio::test]
async fn a_damaged_pack_is_no_longer_built_on() {
    let scene = Scene::new().await;
    scene.flip("packs", 200);
    let vault = scene.vault().await;
    let found = vault.verify(&|_| ()).await.expect("verify");
    vault.repair(&found, None, crate::backup::now()).await.expect("repair");
    let point = back_up(&vault, &scene.disk, None).await.expect("backup");
    assert!(restore(&vault, &point).await.expect("restore") == scene.disk.bytes());
}

#[tokio::test]
async fn repairing_what_is_whole_does_nothing_and_another_vault_is_refused() {
    let scene = Scene::new().await;
    let vault = scene.vault().await;
    let found = vault.verify(&|_| ()).await.expect("verify");
    let done = vault.repair(&found, None, crate::backup::now()).await.expect("repair");
    assert_eq!(done, Repaired::default());
    let folder = tempfile::tempdir().expect("tempdir");
    let (stranger, _) = create(folder.path()).await;
    let error = vault.repair(&found, Some(&stranger), crate::backup::now()).await.expect_err("refused");
    assert_eq!(error.kind(), vault::ErrorKind::Invalid);
}

/// A replica's nodes name places of its own: what is beneath a node that came from there is found through it too.
#[tokio::test]
async fn a_replica_heals_whatever_was_lost() {
    for lost in [&["maps"][..], &["packs"], &["maps", "packs"]] {
        let scene = Scene::new().await;
        let (vault, replica) = (scene.vault().await, tempfile::tempdir().expect("tempdir"));
        let place = Store::local(replica.path()).expect("store");
        let now = crate::backup::now();
        let replica = Vault::create_replica(place, &vault, now, &scene.holder).await.expect("replica");
        let replica = Arc::new(replica);
        let run = CopyRun { session: SessionId(Uuid::now_v7()), now };
        copy_point(&vault, &replica, &scene.point, run, &|_| ()).await.expect("copy");
        lost.iter().for_each(|kind| std::fs::remove_file(scene.pack(kind)).expect("remove"));
        let done = scene.repair(Some(&replica)).await;
        assert!(done.from_other > 0 && done.lost == 0, "{lost:?}: {done:?}");
        scene.assert_whole().await;
    }
}

/// What was compacted lies where no map says; damage there is found and healed all the same.
#[tokio::test]
async fn what_was_moved_is_healed_where_it_lies_now() {
    let scene = Scene::new().await;
    let vault = scene.vault().await;
    // Another point makes the first one's pack mostly garbage once it is deleted.
    scene.disk.write(0, noise(7, 120 * CHUNK_BYTES)).await.expect("in range");
    let second = back_up(&vault, &scene.disk, Some((&scene.point, &blocks(0..120)))).await.expect("backup");
    let other = tempfile::tempdir().expect("tempdir");
    vault.delete_point(scene.point.id, crate::backup::now()).await.expect("delete");
    assert!(vault.collect(&at_once()).await.expect("collect").compacted > 0);
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").arg(scene.folder.path().join(".")).arg(other.path());
    assert!(copy.status().expect("cp").success());
    // Every data pack loses a byte of its first chunk.
    for (name, _) in vault.store().list("packs").await.expect("list") {
        let path = scene.folder.path().join(name);
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[200] ^= 4;
        std::fs::write(&path, bytes).expect("write");
    }
    let vault = scene.vault().await;
    restore(&vault, &second).await.expect_err("damaged");
    let other = open(other.path(), &scene.holder).await;
    let done = scene.repair(Some(&other)).await;
    assert!(done.from_other > 0 && done.lost == 0, "{done:?}");
    let vault = scene.vault().await;
    assert!(restore(&vault, &second).await.expect("restore") == scene.disk.bytes());
}

#[tokio::test]
async fn a_damaged_point_keeps_nobody_from_verifying_and_repairing_the_others() {
    let scene = Scene::new().await;
    let vault = scene.vault().await;
    let broken = back_up(&vault, &MemoryDisk::from(noise(9, CHUNK_BYTES)), None).await.expect("backup");
    let object = scene.folder.path().join(format!("points/machine-1/{}", broken.id));
    let mut bytes = std::fs::read(&object).expect("read");
    bytes[13] ^= 1; // the epoch: a head that names another key
    std::fs::write(&object, bytes).expect("write");
    scene.flip_of(&scene.point, 200);
    let other = open(scene.other.path(), &scene.holder).await;
    let done = scene.repair(Some(&other)).await;
    assert!(done.from_other == 1 && done.lost == 0, "{done:?}");
    let vault = scene.vault().await;
    assert!(restore(&vault, &scene.point).await.expect("restore") == scene.disk.bytes());
}
