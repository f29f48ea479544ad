//! What can be read with the objects and a key alone, whatever else is lost: all of it, and never wrong bytes.

use crate::backup::{back_up, blocks, create, noise, now};
use block::{BlockSink, MemoryDisk};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, ErrorKind, Gap, KeyFile, NewHolder, Point, Rescue, Session, SessionId, Standing, Store,
};

const BLOCK: u64 = CHUNK_BYTES as u64;

/// A vault with a full point and an incremental, and what they hold.
struct Scene {
    folder: tempfile::TempDir,
    vault: std::sync::Arc<vault::Vault>,
    holder: KeyFile,
    points: Vec<(Point, Vec<u8>)>,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let (vault, holder) = create(folder.path()).await;
        // Two levels of map, and a last block that is short.
        let disk = MemoryDisk::new(130 * CHUNK_BYTES - 100);
        disk.write(0, noise(1, 70 * CHUNK_BYTES)).await.expect("in range");
        disk.write(129 * BLOCK, noise(2, 700)).await.expect("in range");
        let full = back_up(&vault, &disk, None).await.expect("full");
        let before = disk.bytes();
        disk.write(66 * BLOCK, noise(3, CHUNK_BYTES)).await.expect("in range");
        let second = back_up(&vault, &disk, Some((&full, &blocks(66..67)))).await.expect("incremental");
        let points = vec![(full, before), (second, disk.bytes())];
        Self { folder, vault, holder, points }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn remove(&self, name: &str) {
        let path = self.path(name);
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.expect("it was there");
    }

    async fn rescue(&self) -> vault::Result<Rescue> {
        Rescue::open(Store::local(self.folder.path()).expect("store"), &self.holder, None).await
    }

    /// What is found, and of each point what is read and what is missing.
    async fn read(&self) -> (Vec<Standing>, Vec<Vec<Gap>>) {
        let rescue = self.rescue().await.expect("open");
        let found = rescue.points().await.expect("points");
        let (mut standings, mut gaps) = (Vec::new(), Vec::new());
        for (point, bytes) in &self.points {
            let found = found.points.iter().find(|found| found.point.id == point.id).expect("it is found");
            standings.push(found.standing);
            gaps.push(read_and_check(&rescue, &found.point, bytes).await);
        }
        (standings, gaps)
    }

    fn pack(&self, folder: &str, point: usize) -> PathBuf {
        self.path(&format!("{folder}/{}/00000000", self.points[point].0.session))
    }
}

/// Reads a disk; everything but what is said to be missing is as it was, and that is zero.
async fn read_and_check(rescue: &Rescue, point: &Point, bytes: &[u8]) -> Vec<Gap> {
    let sink = MemoryDisk::new(bytes.len());
    let gaps = rescue.read_disk(&point.disks[0].map, &sink, &|_| ()).await.expect("read");
    let mut expected = bytes.to_vec();
    for gap in &gaps {
        assert!(gap.length > 0 && !gap.reason.is_empty());
        expected[gap.offset as usize..(gap.offset + gap.length) as usize].fill(0);
    }
    assert!(sink.bytes() == expected, "wrong bytes beside {gaps:?}");
    gaps
}

#[tokio::test]
async fn a_whole_vault_is_read_whole() {
    let scene = Scene::new().await;
    let (standings, gaps) = scene.read().await;
    assert_eq!(standings, [Standing::Listed, Standing::Listed]);
    assert_eq!(gaps, [vec![], vec![]]);
}

#[tokio::test]
async fn log_index_and_vault_json_are_not_needed() {
    let scene = Scene::new().await;
    for lost in ["log", "index", "vault.json", "checkpoints"] {
        scene.remove(lost);
        let (standings, gaps) = scene.read().await;
        // Checkpoints still say that there was a log; without both, nothing says that there were points.
        let log = if lost == "checkpoints" { Standing::NotInLog } else { Standing::LogUnreadable };
        assert_eq!(standings, [log, log], "{lost}");
        assert_eq!(gaps, [vec![], vec![]], "{lost}");
    }
    std::fs::write(scene.path("vault.json"), "{").expect("write");
    assert_eq!(scene.read().await.1, [vec![], vec![]], "damaged");
    scene.remove("keys");
    let error = scene.rescue().await.err().expect("nothing says which vault it is");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_damaged_keyring_is_passed_over_when_a_person_says_so() {
    let scene = Scene::new().await;
    let other = KeyFile::generate();
    let mut holders = vault::Holders::open(Store::local(scene.folder.path()).expect("store"), &scene.holder)
        .await
        .expect("open");
    holders.add(&NewHolder { key: &other, label: String::new(), added: now() }).await.expect("add");
    std::fs::write(scene.path("keys/00000002"), "rotten").expect("write");
    scene.remove("vault.json");
    let store = || Store::local(scene.folder.path()).expect("store");
    assert!(Rescue::open(store(), &scene.holder, None).await.is_err(), "never unasked");
    let rescue = Rescue::open(store(), &scene.holder, Some(1)).await.expect("open");
    let found = rescue.points().await.expect("points");
    assert_eq!(found.points.len(), 2);
    assert!(read_and_check(&rescue, &found.points[1].point, &scene.points[1].1).await.is_empty());
}

#[tokio::test]
async fn deleted_and_uncommitted_points_are_found() {
    let mut scene = Scene::new().await;
    scene.vault.delete_point(scene.points[0].0.id, now()).await.expect("delete");
    // A point whose commit never came: the record is taken away again.
    let disk = MemoryDisk::from(noise(5, 4 * CHUNK_BYTES));
    let third = back_up(&scene.vault, &disk, None).await.expect("backup");
    let mut records: Vec<PathBuf> = std::fs::read_dir(scene.path("log"))
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .collect();
    records.sort();
    std::fs::remove_file(records.pop().expect("its commit")).expect("remove");
    scene.points.push((third, disk.bytes()));
    let (standings, gaps) = scene.read().await;
    assert_eq!(standings, [Standing::Deleted, Standing::Listed, Standing::NotInLog]);
    assert!(gaps.iter().all(Vec::is_empty));
}

#[tokio::test]
async fn a_lost_map_pack_costs_what_it_alone_led_to() {
    let scene = Scene::new().await;
    let size = scene.points[0].1.len() as u64;
    let path = scene.pack("maps", 0);
    let whole = std::fs::read(&path).expect("read");
    std::fs::remove_file(&path).expect("remove");
    let (_, gaps) = scene.read().await;
    assert_eq!(gaps[0].iter().map(|gap| (gap.offset, gap.length)).collect::<Vec<_>>(), [(0, size)]);
    // The incremental wrote its root and one leaf anew: those are its own.
    let left: Vec<_> = gaps[1].iter().map(|gap| (gap.offset, gap.length)).collect();
    assert_eq!(left, [(0, 64 * BLOCK), (128 * BLOCK, size - 128 * BLOCK)]);
    assert!(gaps[1][0].reason.contains("maps/") && gaps[1][0].reason.contains("missing"), "{gaps:?}");
    std::fs::write(&path, whole).expect("write");
    assert_eq!(scene.read().await.1, [vec![], vec![]]);
}

#[tokio::test]
async fn a_flipped_byte_of_a_data_pack_costs_one_chunk_and_a_lost_pack_what_lay_in_it() {
    let scene = Scene::new().await;
    let path = scene.pack("packs", 1);
    let whole = std::fs::read(&path).expect("read");
    let mut flipped = whole.clone();
    flipped[100] ^= 4;
    std::fs::write(&path, &flipped).expect("write");
    for change in 0..2 {
        let (_, gaps) = scene.read().await;
        assert!(gaps[0].is_empty(), "the full point has its own chunk there");
        assert_eq!((gaps[1].len(), gaps[1][0].offset, gaps[1][0].length), (1, 66 * BLOCK, BLOCK));
        assert!(gaps[1][0].reason.contains("packs/"), "{gaps:?}");
        if change == 0 {
            std::fs::remove_file(&path).expect("remove");
        }
    }
    // What is left of a pack whose end is gone is read by the maps' hints.
    let full = scene.pack("packs", 0);
    let bytes = std::fs::read(&full).expect("read");
    std::fs::write(&full, &bytes[..bytes.len() / 2]).expect("write");
    let (_, gaps) = scene.read().await;
    let lost: u64 = gaps[0].iter().map(|gap| gap.length).sum();
    assert!(lost > 20 * BLOCK && lost < 50 * BLOCK, "about half of 70 chunks: {lost}");
}

/// A chunk that lies where no hint leads is found by the tables of contents of the packs that are there.
#[tokio::test]
async fn where_a_hint_misses_the_packs_themselves_are_asked() {
    let scene = Scene::new().await;
    // Another session stores everything once more: it knows of no other packs, as its index says nothing.
    scene.remove("index");
    let disk = MemoryDisk::from(scene.points[0].1.clone());
    let again = back_up(&scene.vault, &disk, None).await.expect("backup");
    assert_ne!(again.stats.new_bytes, 0);
    scene.remove(&format!("packs/{}", scene.points[0].0.session));
    scene.remove(&format!("maps/{}", scene.points[0].0.session));
    scene.remove("index");
    let (_, gaps) = scene.read().await;
    assert_eq!(gaps, [vec![], vec![]], "every chunk and node lies in the other session's packs too");
}

#[tokio::test]
async fn a_rotten_point_hides_no_other() {
    let mut scene = Scene::new().await;
    let (first, _) = scene.points.remove(0);
    std::fs::write(scene.path(&format!("points/{}/{}", first.machine, first.id)), "rotten").expect("write");
    let rescue = scene.rescue().await.expect("open");
    let found = rescue.points().await.expect("points");
    assert_eq!((found.points.len(), found.damage.len()), (1, 1));
    assert!(found.damage[0].to_string().contains("damaged"), "{:?}", found.damage);
    assert_eq!(scene.read().await.1, [vec![]]);
    // A session that is open, as of a backup under way, is no matter.
    Session::begin(&scene.vault, SessionId(Uuid::now_v7()), now()).await.expect("begin");
    assert_eq!(scene.read().await.1, [vec![]]);
}

/// Flips anywhere in any object but the keyring: what comes out is right, or said to be missing.
#[tokio::test]
async fn never_wrong_bytes() {
    let scene = Scene::new().await;
    let mut state = 7u64;
    let objects: Vec<String> = {
        let listed = Store::local(scene.folder.path()).expect("store").list("").await.expect("list");
        listed.into_iter().map(|(name, _)| name).filter(|name| !name.starts_with("keys/")).collect()
    };
    for name in objects {
        let path: &Path = &scene.path(&name);
        let whole = std::fs::read(path).expect("read");
        for _ in 0..10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = whole.clone();
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (state >> 30 & 7);
            std::fs::write(path, &bytes).expect("write");
            // A vault.json that asks for a newer program, or names another vault, is refused.
            let Ok(rescue) = scene.rescue().await else {
                assert_eq!(name, "vault.json");
                continue;
            };
            for found in rescue.points().await.expect("points").points {
                let (_, bytes) =
                    scene.points.iter().find(|(p, _)| p.id == found.point.id).expect("one of them");
                read_and_check(&rescue, &found.point, bytes).await;
            }
        }
        std::fs::write(path, &whole).expect("write");
    }
}
