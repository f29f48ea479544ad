//! Notes: the newest that can be read counts, whatever crashes, rots or is forbidden.

use crate::backup::{create_in, now};
use crate::crash::CutStore;
use jiff::SignedDuration;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use std::sync::Arc;
use vault::{ErrorKind, KeyFile, MachineKey, Note, Store, Vault, scrub};

fn memory(inner: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(inner) as Arc<_>, "memory")
}

fn note(machine: &str, number: u64, says: &str) -> Note {
    let at = now() + SignedDuration::from_mins(i64::try_from(number).expect("few"));
    Note { machine: MachineKey::new(machine).expect("a name"), number, at, note: json!({ "says": says }) }
}

async fn noted(vault: &Vault) -> Vec<(String, u64, Value)> {
    let found = vault.notes().await.expect("read");
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    let said = |note: Note| (note.machine.to_string(), note.number, note.note["says"].clone());
    found.notes.into_iter().map(said).collect()
}

async fn names(inner: &InMemory) -> Vec<String> {
    use futures_util::TryStreamExt;
    let listed: Vec<_> = inner.list(Some(&Path::from("notes"))).try_collect().await.expect("list");
    let mut names: Vec<_> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_newest_counts_and_two_are_kept() {
    let inner = Arc::new(InMemory::new());
    let (vault, _) = create_in(memory(&inner)).await;
    assert!(noted(&vault).await.is_empty());
    for (number, says) in [(1, "a"), (2, "b"), (7, "c")] {
        vault.put_note(&note("shop", number, says)).await.expect("put");
    }
    // Another machine's, whose name begins alike.
    vault.put_note(&note("shop2", 1, "d")).await.expect("put");
    let told = [("shop".to_owned(), 7, json!("c")), ("shop2".to_owned(), 1, json!("d"))];
    assert_eq!(noted(&vault).await, told);
    assert_eq!(
        names(&inner).await,
        ["notes/shop/0000000000000002", "notes/shop/0000000000000007", "notes/shop2/0000000000000001"]
    );
    for number in [7, 6, 1] {
        let late = vault.put_note(&note("shop", number, "late")).await.map_err(|error| error.kind());
        assert_eq!(late, Err(ErrorKind::AlreadyExists));
    }
    // Whatever else lies there is none of a note's.
    for name in ["notes/shop/8", "notes/shop/000000000000000G", "notes/0000000000000009", "notes/a/b/c"] {
        inner.put(&Path::from(name), "?".into()).await.expect("put");
    }
    assert_eq!(noted(&vault).await, told);
    let shop = MachineKey::new("shop").expect("a name");
    assert_eq!(vault.last_note(&shop).await.expect("list"), Some(7));
    vault.forget_notes(&shop).await.expect("forget");
    assert_eq!(noted(&vault).await, told[1..]);
}

#[tokio::test]
async fn one_that_rots_is_named_and_the_one_before_it_stands_in() {
    let inner = Arc::new(InMemory::new());
    let (vault, holder) = create_in(memory(&inner)).await;
    for (number, says) in [(1, "old"), (2, "new")] {
        vault.put_note(&note("shop", number, says)).await.expect("put");
    }
    let newest = Path::from("notes/shop/0000000000000002");
    let bytes = inner.get(&newest).await.expect("get").bytes().await.expect("bytes");
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << (at % 8);
        let fork = inner.fork();
        fork.put(&newest, flipped.into()).await.expect("put");
        let fork = Store::new(Arc::new(fork), "flipped");
        let vault = Vault::open(fork, &holder).await.expect("open");
        let found = vault.notes().await.expect("read");
        assert!(found.damage.len() == 1 && found.notes.len() == 1, "byte {at}: {found:?}");
        assert_eq!(found.notes[0].note["says"], "old");
        let scrubbed = scrub(vault.store(), &|_| ()).await.expect("scrub");
        assert_eq!(scrubbed.damage.len(), 1, "byte {at}");
    }
    // One under another's name is damage too, whatever it says.
    let other = Path::from("notes/mail/0000000000000002");
    inner.put(&other, bytes.clone().into()).await.expect("put");
    let third = Path::from("notes/shop/0000000100000002");
    inner.put(&third, bytes.into()).await.expect("put");
    let found = vault.notes().await.expect("read");
    assert_eq!((found.damage.len(), found.notes.len()), (2, 1), "{found:?}");
    assert_eq!(found.notes[0].number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_leaves_the_note_before_or_the_new_one() {
    let inner = Arc::new(InMemory::new());
    let (vault, holder) = create_in(memory(&inner)).await;
    for number in [1, 2] {
        vault.put_note(&note("shop", number, "old")).await.expect("put");
    }
    for (budget, lands) in (0..4).flat_map(|budget| [(budget, false), (budget, true)]) {
        let fork = Arc::new(inner.fork());
        let cut = Store::new(Arc::new(CutStore::new(Arc::clone(&fork), budget, lands)), "cut");
        let put = Vault::open(cut, &holder).await.expect("open").put_note(&note("shop", 3, "new")).await;
        let after = Vault::open(memory(&fork), &holder).await.expect("open");
        let (_, number, _) = noted(&after).await.remove(0);
        assert!(number == 3 || (number == 2 && put.is_err()), "{budget} {lands}: {put:?}");
        // Whoever comes next goes on from what is there.
        after.put_note(&note("shop", number + 1, "next")).await.expect("put");
        assert_eq!(names(&fork).await.len(), 2, "{budget} {lands}");
    }
    // Where nothing may be deleted all stay, and the newest counts.
    let fork = Arc::new(inner.fork());
    let locked = CutStore::new(Arc::clone(&fork), i64::MAX, false).keeping_everything();
    let locked = Vault::open(Store::new(Arc::new(locked), "locked"), &holder).await.expect("open");
    locked.put_note(&note("shop", 3, "new")).await.expect("put");
    assert_eq!(noted(&locked).await, [("shop".to_owned(), 3, json!("new"))]);
    assert_eq!(names(&fork).await.len(), 3);
}

#[tokio::test]
async fn a_replica_takes_over_what_it_does_not_know_better() {
    let (here, there) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let (vault, holder): (Arc<Vault>, KeyFile) = create_in(memory(&here)).await;
    let replica = Vault::create_replica(memory(&there), &vault, now(), &holder).await.expect("replica");
    vault.put_note(&note("shop", 5, "here")).await.expect("put");
    vault.put_note(&note("mail", 1, "here")).await.expect("put");
    replica.put_note(&note("mail", 2, "there, later")).await.expect("put");
    assert_eq!(vault.copy_notes(&replica).await.expect("copy"), 1);
    let told = [("mail".to_owned(), 2, json!("there, later")), ("shop".to_owned(), 0, json!("here"))];
    assert_eq!(noted(&replica).await, told);
    assert_eq!(vault.copy_notes(&replica).await.expect("copy"), 0, "it knows them all");
}
