//! The index as others see it: whatever becomes of it, points restore; whoever merges it, whenever it is cut
//! off, what was known stays known.

use crate::backup::{at_once, back_up, create, create_in, noise, now, restore};
use crate::counting::CountingStore;
use crate::crash::CutStore;
use block::MemoryDisk;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use std::sync::Arc;
use vault::{CHUNK_BYTES, CollectOptions, KeyFile, Point, Store, Vault};

/// A disk whose content differs from that of every other number.
fn disk(number: u64) -> MemoryDisk {
    MemoryDisk::from(noise(number + 1, 2 * CHUNK_BYTES))
}

async fn runs(vault: &Vault) -> usize {
    vault.store().list("index").await.expect("list").len()
}

/// Backs disks up again: nothing of them may be new.
async fn assert_known(vault: &Arc<Vault>, disks: std::ops::Range<u64>) {
    for number in disks {
        let point = back_up(vault, &disk(number), None).await.expect("backup");
        assert_eq!(point.stats.new_bytes, 0, "disk {number} was forgotten");
    }
}

async fn reopened(inner: &Arc<InMemory>, holder: &KeyFile) -> Arc<Vault> {
    let store = Store::new(Arc::clone(inner) as _, "after");
    Arc::new(Vault::open(store, holder).await.expect("open"))
}

#[tokio::test]
async fn runs_stay_few_however_many_backups_there_were() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    for number in 0..30 {
        back_up(&vault, &disk(number), None).await.expect("backup");
        assert!(runs(&vault).await <= 8, "{} after {number}", runs(&vault).await);
    }
    assert!(vault.index_trouble().is_none());
    assert_known(&vault, 0..30).await;
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_is_cut_off_anywhere_forgets_nothing() {
    let base = Arc::new(InMemory::new());
    let (vault, holder) = create_in(Store::new(Arc::clone(&base) as _, "base")).await;
    for number in 0..7 {
        back_up(&vault, &disk(number), None).await.expect("backup");
    }
    assert_eq!(runs(&vault).await, 7);
    let (mut acknowledged, mut cut_in_merge, mut whole) = (0, 0, false);
    for (budget, lands) in (0..).flat_map(|budget| [(budget, false), (budget, true)]) {
        let inner = Arc::new(base.fork());
        let cut = CutStore::new(Arc::clone(&inner), budget, lands);
        let vault = Arc::new(Vault::open(Store::new(Arc::new(cut), "cut"), &holder).await.expect("open"));
        let eighth = back_up(&vault, &disk(7), None).await;
        let trouble = vault.index_trouble();
        let after = reopened(&inner, &holder).await;
        assert_known(&after, 0..if eighth.is_ok() { 8 } else { 7 }).await;
        acknowledged += u32::from(eighth.is_ok());
        cut_in_merge += u32::from(trouble.is_some());
        for number in 20..30 {
            back_up(&after, &disk(number), None).await.expect("the next backups go through");
        }
        after.collect(&at_once()).await.expect("collect");
        assert!(after.index_trouble().is_none() && runs(&after).await <= 8, "what was left is gone");
        assert_known(&after, 20..30).await;
        if eighth.is_ok() && trouble.is_none() {
            whole = true;
            break;
        }
    }
    assert!(whole && acknowledged > 8 && cut_in_merge > 8, "{acknowledged} {cut_in_merge}");
}

/// As where objects are locked for years: what was merged once is not merged again with every backup.
#[tokio::test]
async fn where_nothing_may_be_deleted_merging_goes_on_and_ends() {
    let inner = Arc::new(InMemory::new());
    let store = CutStore::new(Arc::clone(&inner), i64::MAX, false).keeping_everything();
    let (vault, holder) = create_in(Store::new(Arc::new(store), "locked")).await;
    for number in 0..40 {
        back_up(&vault, &disk(number), None).await.expect("backup");
        let trouble = vault.index_trouble();
        assert!(trouble.is_none_or(|error| error.kind() == vault::ErrorKind::Denied));
    }
    let listed = runs(&vault).await;
    assert!((40..50).contains(&listed), "forty of sessions, and one for about seven: {listed}");
    assert_known(&reopened(&inner, &holder).await, 0..40).await;
}

#[tokio::test]
async fn a_cache_serves_and_may_be_deleted_at_any_time() {
    let inner = Arc::new(InMemory::new());
    let (first, holder) = create_in(Store::new(Arc::clone(&inner) as _, "store")).await;
    let cache = tempfile::tempdir().expect("tempdir");
    let open = async || {
        let vault = Vault::open(Store::new(Arc::clone(&inner) as _, "store"), &holder).await.expect("open");
        Arc::new(vault.with_cache(cache.path()))
    };
    for number in 0..20 {
        let vault = open().await;
        back_up(&vault, &disk(number), None).await.expect("backup");
        if number % 6 == 5 {
            std::fs::remove_dir_all(cache.path()).expect("remove");
            assert_known(&vault, number - 1..number + 1).await;
        }
        assert!(vault.index_trouble().is_none());
    }
    assert_known(&open().await, 0..20).await;
    assert_known(&first, 0..20).await;
    let folder = std::fs::read_dir(cache.path()).expect("cache").next().expect("one vault").expect("entry");
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder.path()), 0o700);
    for file in std::fs::read_dir(folder.path()).expect("files") {
        assert_eq!(mode(&file.expect("entry").path()), 0o600);
    }
}

#[tokio::test]
async fn without_its_index_a_vault_restores_and_a_rebuild_brings_deduplication_back() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let mut points: Vec<Point> = Vec::new();
    for number in 0..5 {
        points.push(back_up(&vault, &disk(number), None).await.expect("backup"));
    }
    std::fs::remove_dir_all(folder.path().join("index")).expect("remove");
    let store = Store::local(folder.path()).expect("store");
    let vault = Arc::new(Vault::open(store, &holder).await.expect("open"));
    for (number, point) in (0..).zip(&points) {
        assert!(restore(&vault, point).await.expect("restore") == disk(number).bytes());
    }
    let again = back_up(&vault, &disk(0), None).await.expect("backup");
    assert_eq!(again.stats.new_bytes, 2 * CHUNK_BYTES as u64, "nothing is known");
    let rebuilt = vault.rebuild_index(&|_| ()).await.expect("rebuild");
    assert_eq!((rebuilt.packs, rebuilt.replaced, rebuilt.damage.len()), (12, 1, 0));
    assert_known(&vault, 0..5).await;
}

#[tokio::test]
async fn a_rebuild_names_packs_it_cannot_read_and_goes_on() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    for number in 0..2 {
        back_up(&vault, &disk(number), None).await.expect("backup");
    }
    let (object, size) = vault.store().list("packs").await.expect("list").remove(0);
    let path = folder.path().join(&object);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[size as usize - 60] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let rebuilt = vault.rebuild_index(&|_| ()).await.expect("rebuild");
    assert_eq!(rebuilt.damage.iter().map(|one| &one.object).collect::<Vec<_>>(), [&object]);
    assert_eq!(rebuilt.packs, 3);
    assert_known(&vault, 1..2).await;
}

/// Writers that merge, a collector that does, and one who rebuilds, each with a view of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_merges_at_once_forgets_nothing() {
    let inner = Arc::new(InMemory::new());
    let (first, holder) = create_in(Store::new(Arc::clone(&inner) as _, "store")).await;
    let mut work = tokio::task::JoinSet::new();
    for writer in 0..4u64 {
        let vault = reopened(&inner, &holder).await;
        work.spawn(async move {
            for round in 0..12 {
                back_up(&vault, &disk(writer * 100 + round), None).await.expect("backup");
            }
        });
    }
    let vault = reopened(&inner, &holder).await;
    work.spawn(async move {
        for round in 0..6 {
            if round % 2 == 0 {
                vault.collect(&CollectOptions::new(now())).await.expect("collect");
            } else {
                vault.rebuild_index(&|_| ()).await.expect("rebuild");
            }
        }
    });
    work.join_all().await;
    for writer in 0..4 {
        assert_known(&first, writer * 100..writer * 100 + 12).await;
    }
    first.collect(&CollectOptions::new(now())).await.expect("collect");
    assert!(runs(&first).await <= 16, "{} runs", runs(&first).await);
}

/// A run that rots hides what only it names, until the index is rebuilt; nothing else.
#[tokio::test]
async fn a_damaged_run_is_passed_over_and_replaced_by_a_rebuild() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, holder) = create(folder.path()).await;
    let point = back_up(&vault, &disk(0), None).await.expect("backup");
    let (object, _) = vault.store().list("index").await.expect("list").remove(0);
    std::fs::write(folder.path().join(object), "rotten").expect("write");
    let store = Store::local(folder.path()).expect("store");
    let vault = Arc::new(Vault::open(store.clone(), &holder).await.expect("open"));
    for number in 1..12 {
        back_up(&vault, &disk(number), None).await.expect("backup");
    }
    assert_eq!(vault::scrub(&store, &|_| ()).await.expect("scrub").damage.len(), 1, "still named");
    vault.rebuild_index(&|_| ()).await.expect("rebuild");
    assert!(vault::scrub(&store, &|_| ()).await.expect("scrub").damage.is_empty());
    assert_known(&vault, 0..12).await;
    assert!(restore(&vault, &point).await.expect("restore") == disk(0).bytes());
}

/// A store may give wrong bytes once; what is damaged twice is so for ever, and costs nothing more.
#[tokio::test]
async fn a_damaged_run_is_not_fetched_again_and_again() {
    let inner = Arc::new(InMemory::new());
    let (first, holder) = create_in(Store::new(Arc::clone(&inner) as _, "store")).await;
    back_up(&first, &disk(0), None).await.expect("backup");
    let run = first.store().list("index").await.expect("list").remove(0).0;
    let mut bytes = first.store().get(&run).await.expect("get").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    inner.put(&run.as_str().into(), bytes.into()).await.expect("put");
    let (store, counts) = CountingStore::over(Arc::clone(&inner));
    let vault = Arc::new(Vault::open(store, &holder).await.expect("open"));
    for number in 1..6 {
        back_up(&vault, &disk(number), None).await.expect("backup");
    }
    let gets = counts.take().requests.iter().filter(|request| **request == format!("get {run}")).count();
    assert_eq!(gets, 2);
    let point = back_up(&vault, &disk(0), None).await.expect("backup");
    assert!(point.stats.new_bytes > 0, "what only it knew is stored again");
}
