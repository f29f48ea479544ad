//! The holders of a vault: whatever is done to them, whoever races and wherever a write is cut off, the vault
//! opens with the holders it says it has and every point restores.

use crate::backup::{back_up, create, noise, now, restore};
use crate::crash::CutStore;
use block::MemoryDisk;
use object_store::memory::InMemory;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, DiskRecord, ErrorKind, HashCost, HolderId, Holders, KeyFile, KeyProvider, NewHolder,
    Passphrase, Point, PointDraft, PointId, RecoveryKey, Rotation, Session, SessionId, Store, Vault, VaultId,
};
use zeroize::Zeroizing;

/// As costly as a test can pay for.
fn passphrase(text: &str) -> Passphrase {
    let cost = HashCost { memory_kib: 64, passes: 1, lanes: 1 };
    Passphrase::new(Zeroizing::new(text.into())).and_then(|one| one.at_cost(cost)).expect("a passphrase")
}

fn named<'a>(key: &'a dyn KeyProvider, label: &str) -> NewHolder<'a> {
    NewHolder { key, label: label.into(), added: now() }
}

fn local(folder: &Path) -> Store {
    Store::local(folder).expect("store")
}

async fn kind_of_opening(store: Store, key: &dyn KeyProvider) -> Option<ErrorKind> {
    Vault::open(store, key).await.err().map(|error| error.kind())
}

/// The id of the holder whose key this is.
async fn id_of(store: &Store, key: &dyn KeyProvider) -> HolderId {
    Holders::open(store.clone(), key).await.expect("opens").opened_by()
}

#[tokio::test]
async fn holders_come_and_go_and_the_points_stay() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, file) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 3 * CHUNK_BYTES));
    let before = back_up(&vault, &disk, None).await.expect("backup");
    let store = || local(folder.path());
    let (words, paper) = (passphrase("correct horse battery"), RecoveryKey::generate());

    let mut holders = Holders::open(store(), &file).await.expect("open");
    holders.add(&named(&words, "the old team")).await.expect("add");
    let added = holders.add(&named(&paper, "in the safe")).await.expect("add");
    assert_eq!((added.provider.as_str(), added.label.as_str()), ("recovery-key", "in the safe"));
    let again = holders.add(&named(&words, "")).await.expect_err("known");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let (number, listed) = Holders::list(&store()).await.expect("list");
    assert_eq!((number, listed.len()), (3, 3));
    assert_eq!(listed, holders.holders().cloned().collect::<Vec<_>>());

    assert_eq!(holders.rotate().await.expect("rotate"), Rotation::Done { epoch: 4 });
    let by_words = Arc::new(Vault::open(store(), &words).await.expect("open"));
    let after = back_up(&by_words, &disk, None).await.expect("backup");
    assert_eq!(after.stats.new_bytes, 0, "ids outlive a rotation");
    for key in [&file as &dyn KeyProvider, &words, &paper] {
        let vault = Arc::new(Vault::open(store(), key).await.expect("open"));
        for point in [&before, &after] {
            assert!(restore(&vault, point).await.expect("restore") == disk.bytes());
        }
    }
    // Whoever opened the vault before learns of the newer epoch when it is needed.
    assert_eq!(vault.points().await.expect("list").len(), 2);
    assert!(restore(&vault, &after).await.expect("restore") == disk.bytes());

    let plan = holders.plan_removal(id_of(&store(), &words).await, None).await.expect("plan");
    assert_eq!(plan.left().len(), 2);
    assert!(
        plan.to_string().starts_with("remove  passphrase ") && plan.to_string().contains("(proved to open)")
    );
    holders.remove(&plan).await.expect("remove");
    holders.remove(&plan).await.expect("gone is as good as removed");
    assert_eq!(kind_of_opening(store(), &words).await, Some(ErrorKind::Key));
    assert_eq!(kind_of_opening(store(), &paper).await, None);
}

#[tokio::test]
async fn a_vault_that_stays_open_follows_rotations_until_its_holder_is_removed() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (daemon, file) = create(folder.path()).await;
    let (store, other) = (|| local(folder.path()), KeyFile::generate());
    let mut holders = Holders::open(store(), &file).await.expect("open");
    holders.add(&named(&other, "")).await.expect("add");
    holders.rotate().await.expect("rotate");
    let disk = MemoryDisk::from(noise(1, 900));
    let point = back_up(&daemon, &disk, None).await.expect("backup");
    let old = Vault::open_with_keyring(store(), &file, 2).await.expect("before the rotation");
    let error = old.point(&point.machine, point.id).await.expect_err("sealed under the new epoch");
    assert!(error.kind() == ErrorKind::Key && error.to_string().contains("key epoch 3"), "{error}");
    // A session that began before a rotation commits after it, past what others wrote under the new epoch.
    let begun = Session::begin(&daemon, SessionId(Uuid::new_v4()), now()).await.expect("begin");
    holders.rotate().await.expect("rotate");
    let fresh = Arc::new(Vault::open(store(), &other).await.expect("open"));
    let by_other = back_up(&fresh, &disk, None).await.expect("backup");
    let mut writer = begun.disk(900, None).await.expect("disk");
    let batch = begun.store(0, noise(7, 900)).await.expect("store");
    writer.record(&begun, &batch).await.expect("record");
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: by_other.machine.clone(),
        machine_name: "one".into(),
        instant: now(),
        parent: None,
        consistency: by_other.consistency.clone(),
        description: by_other.description.clone(),
        service: by_other.service.clone(),
    };
    let record = DiskRecord {
        name: "disk0".into(),
        map: writer.finish(&begun).await.expect("map"),
        tracking: "test".into(),
        read_bytes: 900,
    };
    let late = begun.commit(draft, vec![record]).await.expect("commit");
    assert!(restore(&fresh, &late).await.expect("restore") == noise(7, 900));
    assert!(restore(&daemon, &by_other).await.expect("restore") == disk.bytes());
    // Removed: what it has opened it reads on, and it writes no more.
    let mut theirs = Holders::open(store(), &other).await.expect("open");
    let plan = theirs.plan_removal(id_of(&store(), &file).await, None).await.expect("plan");
    theirs.remove(&plan).await.expect("remove");
    let error = back_up(&daemon, &disk, None).await.expect_err("removed");
    assert!(error.kind() == ErrorKind::Key && error.to_string().contains("was removed"), "{error}");
    assert!(restore(&daemon, &point).await.expect("restore") == disk.bytes());
}

#[tokio::test]
async fn who_was_removed_before_a_rotation_has_nothing_that_opens_what_came_after() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (_, file) = create(folder.path()).await;
    let (store, paper, leaver) = (|| local(folder.path()), RecoveryKey::generate(), KeyFile::generate());
    let mut holders = Holders::open(store(), &file).await.expect("open");
    holders.add(&named(&paper, "")).await.expect("add");
    let left = holders.add(&named(&leaver, "")).await.expect("add").id;
    let plan = holders.plan_removal(left, None).await.expect("plan");
    holders.remove(&plan).await.expect("remove");
    holders.rotate().await.expect("rotate");
    let vault = Arc::new(Vault::open(store(), &paper).await.expect("the absent holder was carried along"));
    let point = back_up(&vault, &MemoryDisk::from(noise(1, 900)), None).await.expect("backup");
    // Its key opens the keyring of its time, and that one does not read the new point.
    let old = Vault::open_with_keyring(store(), &leaver, 3).await.expect("an older keyring");
    assert_eq!(old.point(&point.machine, point.id).await.expect_err("sealed").kind(), ErrorKind::Key);
    for number in [4, 5] {
        let error = Vault::open_with_keyring(store(), &leaver, number).await.err().expect("removed");
        assert_eq!(error.kind(), ErrorKind::Key);
    }
}

#[tokio::test]
async fn the_last_holder_and_the_one_in_use_stay() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (_, file) = create(folder.path()).await;
    let (store, words) = (|| local(folder.path()), passphrase("correct horse battery"));
    let mut holders = Holders::open(store(), &file).await.expect("open");
    let in_use = holders.opened_by();
    let error = holders.plan_removal(in_use, None).await.err().expect("the last");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("the last holder"), "{error}");
    holders.add(&named(&words, "")).await.expect("add");
    let error = holders.plan_removal(in_use, None).await.err().expect("in use");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("proof"), "{error}");
    let wrong = passphrase("incorrect horse battery");
    let error = holders.plan_removal(in_use, Some(&wrong)).await.err().expect("no proof");
    assert_eq!(error.kind(), ErrorKind::Key);
    let error = holders.plan_removal(in_use, Some(&file)).await.err().expect("no proof of another");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = holders.plan_removal(HolderId([9; 8]), None).await.err().expect("nobody");
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let plan = holders.plan_removal(in_use, Some(&words)).await.expect("plan");
    holders.remove(&plan).await.expect("remove");
    assert_eq!(holders.rotate().await.expect("opened by the other now"), Rotation::Done { epoch: 4 });
    assert_eq!(kind_of_opening(store(), &file).await, Some(ErrorKind::Key));
    assert_eq!(kind_of_opening(store(), &words).await, None);

    let short = passphrase("short");
    assert_eq!(holders.add(&named(&short, "")).await.expect_err("weak").kind(), ErrorKind::Invalid);
    let error = holders.add(&named(&KeyFile::generate(), "two\nlines")).await.expect_err("no label");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn of_changes_that_race_none_is_lost() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (_, file) = create(folder.path()).await;
    let store = || local(folder.path());
    let (one, two) = (KeyFile::generate(), RecoveryKey::generate());
    let mut first = Holders::open(store(), &file).await.expect("open");
    let mut second = Holders::open(store(), &file).await.expect("open");
    let mut third = Holders::open(store(), &file).await.expect("open");
    let mut late = Holders::open(store(), &file).await.expect("open");
    first.add(&named(&one, "")).await.expect("add");
    second.add(&named(&two, "")).await.expect("made again on top of the first");
    assert_eq!(second.keyring(), 3);
    assert_eq!(third.rotate().await.expect("rotate"), Rotation::Done { epoch: 4 });
    assert_eq!(late.rotate().await.expect("outrun"), Rotation::Outrun { epoch: 4 });
    assert_eq!(Holders::list(&store()).await.expect("list").0, 4);
    for key in [&file as &dyn KeyProvider, &one, &two] {
        assert_eq!(kind_of_opening(store(), key).await, None);
    }
    // The witness of a planned removal is removed by somebody else: the plan no longer holds.
    let mut mine = Holders::open(store(), &file).await.expect("open");
    let plan = mine.plan_removal(mine.opened_by(), Some(&one)).await.expect("plan");
    let mut theirs = Holders::open(store(), &two).await.expect("open");
    let removal = theirs.plan_removal(id_of(&store(), &one).await, None).await.expect("plan");
    theirs.remove(&removal).await.expect("remove");
    assert_eq!(mine.remove(&plan).await.expect_err("no longer holds").kind(), ErrorKind::Invalid);
    assert_eq!(kind_of_opening(store(), &file).await, None);
    // At once, from many sides.
    let keys: Vec<KeyFile> = (0..6).map(|_| KeyFile::generate()).collect();
    let adds = keys.iter().map(|key| async {
        let mut holders = Holders::open(store(), &file).await.expect("open");
        holders.add(&named(key, "")).await.expect("add");
    });
    futures_util::future::join_all(adds).await;
    for key in &keys {
        assert_eq!(kind_of_opening(store(), key).await, None);
    }
}

#[tokio::test]
async fn a_damaged_newest_keyring_is_named_and_an_older_one_used_only_when_asked_for() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, file) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, 900));
    let point = back_up(&vault, &disk, None).await.expect("backup");
    let (store, paper) = (|| local(folder.path()), RecoveryKey::generate());
    let mut holders = Holders::open(store(), &file).await.expect("open");
    holders.add(&named(&paper, "")).await.expect("add");
    holders.rotate().await.expect("rotate");
    // What a power cut can leave beside an object, and what people leave, is no keyring.
    for name in ["00000004#1", "README", "4", "000000005", "99999999.bak"] {
        std::fs::write(folder.path().join("keys").join(name), "of nobody").expect("write");
    }
    assert_eq!(kind_of_opening(store(), &paper).await, None);

    let newest = folder.path().join("keys/00000003");
    let whole = std::fs::read(&newest).expect("read");
    let huge = vec![b' '; 1 << 20];
    for broken in [&b""[..], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &huge] {
        std::fs::write(&newest, broken).expect("write");
        for error in [
            Vault::open(store(), &file).await.err().expect("damaged"),
            Holders::list(&store()).await.expect_err("damaged"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let text = error.to_string();
            assert!(text.contains("keys/00000003") && text.contains("keyring 2 may open"), "{text}");
        }
    }
    let old = Arc::new(Vault::open_with_keyring(store(), &paper, 2).await.expect("rescue"));
    assert!(restore(&old, &point).await.expect("restore") == disk.bytes());
    let error = Vault::open_with_keyring(store(), &paper, 7).await.err().expect("none");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Mended: what keyring 2 held is put above the damaged one, and an epoch never gets an old number.
    let mut rescue = Holders::open_keyring(store(), &paper, 2).await.expect("rescue");
    assert_eq!(rescue.rotate().await.expect("rotate"), Rotation::Done { epoch: 4 });
    let mended = Arc::new(Vault::open(store(), &file).await.expect("opens again"));
    assert!(restore(&mended, &point).await.expect("restore") == disk.bytes());
}

/// One thing that is done to the holders of a vault.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Add,
    Remove,
    RemoveInUse,
    Rotate,
}

/// A vault in memory with a key file and a recovery key, and a point in it.
struct Room {
    inner: Arc<InMemory>,
    file: KeyFile,
    paper: RecoveryKey,
    words: Passphrase,
    taken: Option<(Point, Vec<u8>)>,
}

impl Room {
    async fn new(change: Change) -> Self {
        let (file, paper) = (KeyFile::generate(), RecoveryKey::generate());
        let inner = Arc::new(InMemory::new());
        let mut room = Self { inner, file, paper, words: passphrase("correct horse battery"), taken: None };
        if !matches!(change, Change::Create) {
            let vault = Arc::new(room.create(room.store()).await.expect("create"));
            let disk = MemoryDisk::from(noise(5, CHUNK_BYTES + 5));
            let point = back_up(&vault, &disk, None).await.expect("backup");
            room.taken = Some((point, disk.bytes()));
        }
        room
    }

    fn store(&self) -> Store {
        Store::new(Arc::clone(&self.inner) as _, "whole")
    }

    fn keys(&self) -> [&dyn KeyProvider; 3] {
        [&self.file, &self.paper, &self.words]
    }

    async fn create(&self, store: Store) -> vault::Result<Vault> {
        let holders = [named(&self.file, "file"), named(&self.paper, "paper")];
        Vault::create_with(store, VaultId(Uuid::new_v4()), now(), &holders).await
    }

    async fn apply(&self, change: Change, store: Store) -> vault::Result<()> {
        if matches!(change, Change::Create) {
            return self.create(store).await.map(drop);
        }
        let mut holders = Holders::open(store, &self.file).await?;
        match change {
            Change::Create => {}
            Change::Add => drop(holders.add(&named(&self.words, "")).await?),
            Change::Rotate => drop(holders.rotate().await?),
            Change::Remove => {
                let id = self.paper.id().expect("it has an id");
                let plan = holders.plan_removal(id, None).await?;
                holders.remove(&plan).await?;
            }
            Change::RemoveInUse => {
                let plan = holders.plan_removal(holders.opened_by(), Some(&self.paper)).await?;
                holders.remove(&plan).await?;
            }
        }
        Ok(())
    }

    /// Which of the keys open the vault; whichever does reads the point and can back up.
    async fn check(&self) -> [bool; 3] {
        let mut opens = [false; 3];
        for (key, opens) in self.keys().into_iter().zip(&mut opens) {
            let Ok(vault) = Vault::open(self.store(), key).await.map(Arc::new) else { continue };
            *opens = true;
            if let Some((point, bytes)) = &self.taken {
                assert!(restore(&vault, point).await.expect("restore") == *bytes);
            }
            let disk = MemoryDisk::from(noise(6, 77));
            let next = back_up(&vault, &disk, None).await.expect("the next backup");
            assert!(restore(&vault, &next).await.expect("restore") == disk.bytes());
        }
        opens
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_cut_off_leaves_the_holders_from_before_or_after() {
    const BEFORE: [bool; 3] = [true, true, false];
    let cases = [
        (Change::Create, [false; 3], BEFORE),
        (Change::Add, BEFORE, [true; 3]),
        (Change::Remove, BEFORE, [true, false, false]),
        (Change::RemoveInUse, BEFORE, [false, true, false]),
        (Change::Rotate, BEFORE, BEFORE),
    ];
    for (change, before, after) in cases {
        let mut is_done = false;
        for (budget, landed) in (0..10).flat_map(|budget| [(budget, false), (budget, true)]) {
            let room = Room::new(change).await;
            let cut = CutStore::new(Arc::clone(&room.inner), budget, landed);
            let done = room.apply(change, Store::new(Arc::new(cut), "cut")).await.is_ok();
            let opens = room.check().await;
            assert!(opens == before || opens == after, "{change:?}, budget {budget}: {opens:?}");
            assert!(!done || opens == after, "{change:?}, budget {budget}: done means done");
            let is_answer_lost = landed && budget == 0 && !matches!(change, Change::Create);
            assert!(done || !is_answer_lost, "{change:?}: the one put landed, and looking shows it");
            // Whatever was left, the same change goes through the next time, or says it was made.
            let again = room.apply(change, room.store()).await;
            match (change, opens == after, again) {
                (_, false, again) => assert!(again.is_ok() || matches!(change, Change::Create), "{again:?}"),
                (Change::Rotate, true, again) => again.expect("another epoch"),
                (_, true, again) => assert!(again.is_err(), "{change:?} was made already"),
            }
            is_done |= done;
        }
        assert!(is_done, "{change:?} goes through in the end");
    }
}

/// A store that gives back something else than was put in it must not be told about as a success.
#[tokio::test(start_paused = true)]
async fn a_keyring_that_does_not_come_back_is_no_success() {
    let room = Room::new(Change::Rotate).await;
    let cut = CutStore::new(Arc::clone(&room.inner), 10, false).spoiling_every_put();
    let error = room.apply(Change::Rotate, Store::new(Arc::new(cut), "bad")).await.expect_err("spoilt");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("keys/00000002 was put, but"), "{error}");
    // Named, not passed over; the one before still opens for whoever asks for it.
    assert_eq!(kind_of_opening(room.store(), &room.file).await, Some(ErrorKind::Corrupt));
    assert!(Vault::open_with_keyring(room.store(), &room.file, 1).await.is_ok());
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Add(usize),
    Remove(usize),
    Rotate,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![(0..6usize).prop_map(Deed::Add), (0..6usize).prop_map(Deed::Remove), Just(Deed::Rotate)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Against an oracle that only knows who was added and removed, each deed done by any holder there is.
    #[test]
    fn after_any_history_exactly_the_holders_open(deeds in prop::collection::vec((deed(), any::<prop::sample::Index>()), 1..12)) {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(async {
            let inner: Arc<InMemory> = Arc::new(InMemory::new());
            let store = || Store::new(Arc::clone(&inner) as _, "memory");
            let keys: Vec<Box<dyn KeyProvider>> = vec![
                Box::new(KeyFile::generate()), Box::new(KeyFile::generate()),
                Box::new(RecoveryKey::generate()), Box::new(RecoveryKey::generate()),
                Box::new(passphrase("correct horse battery")), Box::new(passphrase("staple of the stable")),
            ];
            let vault = Arc::new(Vault::create(store(), VaultId(Uuid::new_v4()), now(), &*keys[0]).await.expect("create"));
            let mut oracle: BTreeMap<usize, HolderId> = BTreeMap::new();
            oracle.insert(0, id_of(&store(), &*keys[0]).await);
            let disk = MemoryDisk::from(noise(5, 99));
            let mut points = vec![back_up(&vault, &disk, None).await.expect("backup")];
            for (deed, by) in deeds {
                let by = *oracle.keys().nth(by.index(oracle.len())).expect("somebody");
                let mut holders = Holders::open(store(), &*keys[by]).await.expect("open");
                match deed {
                    Deed::Add(who) => {
                        let added = holders.add(&named(&*keys[who], "")).await;
                        assert_eq!(added.is_err(), oracle.contains_key(&who));
                        oracle.extend(added.ok().map(|holder| (who, holder.id)));
                    }
                    Deed::Remove(who) => {
                        let Some(id) = oracle.get(&who).copied() else { continue };
                        let plan = holders.plan_removal(id, None).await;
                        assert_eq!(plan.is_err(), who == by);
                        if let Ok(plan) = plan {
                            holders.remove(&plan).await.expect("remove");
                            oracle.remove(&who);
                        }
                    }
                    Deed::Rotate => {
                        holders.rotate().await.expect("rotate");
                        let vault = Arc::new(Vault::open(store(), &*keys[by]).await.expect("open"));
                        points.push(back_up(&vault, &disk, None).await.expect("backup"));
                    }
                }
            }
            for (who, key) in keys.iter().enumerate() {
                let opened = Vault::open(store(), &**key).await;
                assert_eq!(opened.is_ok(), oracle.contains_key(&who), "key {who}");
                let Ok(vault) = opened.map(Arc::new) else { continue };
                for point in &points {
                    assert!(restore(&vault, point).await.expect("restore") == disk.bytes());
                }
            }
        });
    }
}
