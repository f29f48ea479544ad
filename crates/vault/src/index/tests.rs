//! Runs against a map, hostile ids, rotten files; spilling; a vault with small limits.

use super::body::{Body, BodyBuilder};
use super::folder::Folder;
use super::known::Known;
use super::merge::Merge;
use super::name::RunName;
use super::run::{Bytes, Run};
use super::{Index, Limits, Location};
use crate::protocol::State;
use crate::vault::Vault;
use crate::*;
use object_store::memory::InMemory;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

const VAULT: VaultId = VaultId(Uuid::from_u128(77));
const NAME: RunName = RunName { group: Uuid::from_u128(5), sequence: 1 };
const SMALL: Limits = Limits { fresh: 16, run_entries: 24, fan_in: 3 };

type Oracle = BTreeMap<ChunkId, BTreeSet<u8>>;

fn location(seed: u8) -> Location {
    let session = SessionId(Uuid::from_u128(u128::from(seed % 3)));
    let kind = if seed.is_multiple_of(2) { PackKind::Data } else { PackKind::Map };
    let pack = PackId { kind, session, sequence: u32::from(seed / 4) };
    Location { pack, offset: 9, length: seed.into() }
}

fn body(oracle: &Oracle) -> Body {
    let mut body = BodyBuilder::default();
    oracle.iter().for_each(|(id, seeds)| seeds.iter().for_each(|seed| body.push(id, location(*seed))));
    body.finish()
}

/// What the fuzzer changes: the body of a run.
pub(crate) fn fuzz_body(entries: &[(ChunkId, Location)]) -> Vec<u8> {
    let mut body = BodyBuilder::default();
    entries.iter().for_each(|(id, at)| body.push(id, *at));
    body.finish().into_bytes()
}

/// What is done with a body, whatever it says: it is refused, or looked up in.
pub(crate) fn fuzz_run(vault: VaultId, body: &[u8], entries: &[(ChunkId, Location)]) {
    let Ok(body) = Body::decode(body.to_vec()) else { return };
    let run = Run::in_memory(vault, NAME, &body);
    for (id, _) in entries {
        let _ = run.find(id, &mut Vec::new());
    }
}

/// Whether a run says of an id what the oracle does.
fn agrees(run: &Run, id: &ChunkId, oracle: &Oracle) -> bool {
    let mut found = Vec::new();
    run.find(id, &mut found).expect("whole");
    let seeds = oracle.get(id).into_iter().flatten();
    found == seeds.map(|seed| location(*seed)).collect::<Vec<_>>()
}

/// Ids that begin alike, or are all but alike: nobody draws such, somebody may forge them.
fn hostile_id() -> impl Strategy<Value = ChunkId> {
    prop_oneof![
        prop::array::uniform32(0u8..2).prop_map(ChunkId),
        any::<u16>().prop_map(|tail| {
            let mut id = [7; 32];
            id[30..].copy_from_slice(&tail.to_be_bytes());
            ChunkId(id)
        }),
        prop::array::uniform32(any::<u8>()).prop_map(ChunkId),
    ]
}

fn oracle() -> impl Strategy<Value = Oracle> {
    prop::collection::btree_map(hostile_id(), prop::collection::btree_set(any::<u8>(), 1..4), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_run_answers_as_a_map_does(oracle in oracle(), strangers in prop::collection::vec(hostile_id(), 50)) {
        let mut written = body(&oracle);
        (written.replaces, written.others) = (vec![NAME, RunName { sequence: 9, ..NAME }], 3);
        let folder = tempfile::tempdir().expect("tempdir");
        let folder = Folder::below(folder.path(), VAULT);
        folder.keep(NAME, &written).expect("kept");
        let runs = [Run::in_memory(VAULT, NAME, &written), folder.open(NAME).expect("there")];
        for run in &runs {
            prop_assert_eq!((&run.replaces, run.others()), (&written.replaces, 3));
            for id in oracle.keys().chain(&strangers) {
                prop_assert!(agrees(run, id, &oracle), "{id}");
            }
        }
        let read = Body::decode(written.into_bytes()).expect("decodes");
        let run = Run::in_memory(VAULT, NAME, &read);
        prop_assert!(oracle.keys().all(|id| agrees(&run, id, &oracle)));
    }

    #[test]
    fn one_of_equal_ids_is_found_wherever_it_stands(copies in 1u8..255, others in 0u16..300) {
        let id = |n: u16| { let mut id = [3; 32]; id[30..].copy_from_slice(&n.to_be_bytes()); ChunkId(id) };
        let mut oracle: Oracle = (0..others).map(|n| (id(n), BTreeSet::from([1]))).collect();
        oracle.insert(id(150), (0..copies).collect());
        let run = Run::in_memory(VAULT, NAME, &body(&oracle));
        prop_assert!(oracle.keys().all(|id| agrees(&run, id, &oracle)));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Body::decode(bytes.clone());
        prop_assert!(Run::open(VAULT, NAME, Bytes::Memory(bytes)).is_none());
    }

    #[test]
    fn merging_keeps_everything_that_is_wanted(parts in prop::collection::vec(oracle(), 0..5), run_entries in 1usize..100) {
        let runs = parts.iter().map(|part| Arc::new(Run::in_memory(VAULT, NAME, &body(part)))).collect();
        let wanted = |pack: &PackId| pack.sequence != 3;
        let mut merge = Merge::new(runs, Box::new(wanted)).expect("whole");
        let mut merged = Vec::new();
        while !merge.is_done() {
            let body = merge.body(run_entries).expect("whole");
            prop_assert!(body.count() > 0 && body.count() <= run_entries);
            merged.extend(entries_of(&[Arc::new(Run::in_memory(VAULT, NAME, &body))]));
        }
        let all = parts.iter().flatten().flat_map(|(id, seeds)| seeds.iter().map(|seed| (*id, location(*seed))));
        let expected: BTreeSet<_> = all.filter(|(_, at)| wanted(&at.pack)).map(shown).collect();
        prop_assert_eq!(merged.len(), expected.len(), "none twice");
        prop_assert_eq!(merged.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn a_session_knows_what_it_added_however_little_memory_it_has(
        chunks in prop::collection::vec((hostile_id(), 0u32..50), 0..600),
        cached: bool,
    ) {
        let folder = tempfile::tempdir().expect("tempdir");
        let session = SessionId(Uuid::from_u128(1));
        let known = known(session, if cached { Folder::below(folder.path(), VAULT) } else { Folder::none(VAULT) });
        let mut oracle: BTreeMap<ChunkId, BTreeSet<(PackId, u32, u32)>> = BTreeMap::new();
        for (offset, (id, sequence)) in (100..).zip(chunks) {
            let kind = if sequence % 5 == 0 { PackKind::Map } else { PackKind::Data };
            let at = Location { pack: PackId { kind, session, sequence }, offset, length: 1 };
            if known.get(&id).is_none() {
                known.insert(id, at);
                oracle.entry(id).or_default().insert((at.pack, offset, 1));
            }
            known.make_room();
            for (id, places) in oracle.iter().take(20) {
                let found = known.get(id).expect("known");
                prop_assert!(places.contains(&(found.pack, found.offset, found.length)));
            }
        }
        prop_assert!(oracle.keys().all(|id| known.get(id).is_some()));
        let mut added = known.take_added().expect("whole");
        let run = Run::in_memory(VAULT, NAME, &added.body(10_000).expect("whole"));
        prop_assert!(added.is_done());
        let all: Vec<_> = entries_of(&[Arc::new(run)]);
        let expected = oracle.iter().flat_map(|(id, places)| places.iter().map(|(p, o, l)| (*id, *p, *o, *l)));
        prop_assert_eq!(all, expected.collect::<Vec<_>>());
        drop((known, added));
        let left = std::fs::read_dir(folder.path().join(VAULT.to_string())).map_or(0, Iterator::count);
        prop_assert_eq!(left, 0, "what is spilled leaves nothing behind");
    }
}

fn shown((id, at): (ChunkId, Location)) -> (ChunkId, PackId, u32, u32) {
    (id, at.pack, at.offset, at.length)
}

/// All that runs say, in order.
fn entries_of(runs: &[Arc<Run>]) -> Vec<(ChunkId, PackId, u32, u32)> {
    let mut merge = Merge::new(runs.to_vec(), Box::new(|_| true)).expect("whole");
    let mut all = Vec::new();
    while !merge.is_done() {
        let body = merge.body(1000).expect("whole");
        for entry in body.entries.chunks_exact(super::body::ENTRY_BYTES) {
            let id = ChunkId(super::body::id_of(entry).try_into().expect("32 bytes"));
            let pack = body.packs[super::body::row_of(entry)];
            all.push(shown((id, super::body::location_of(entry, pack))));
        }
    }
    all.sort_unstable();
    all
}

fn known(session: SessionId, folder: Folder) -> Known {
    let index = Index {
        folder,
        limits: SMALL,
        runs: BTreeMap::new(),
        table: Default::default(),
        replaced: BTreeMap::new(),
        damaged: BTreeSet::new(),
    };
    Known::new(session, Arc::new(index), State::default(), BTreeSet::new())
}

#[test]
fn threads_that_share_a_session_find_what_any_of_them_added() {
    use std::sync::atomic::{AtomicU32, Ordering};
    const EACH: u32 = 1000;
    let folder = tempfile::tempdir().expect("tempdir");
    let session = SessionId(Uuid::from_u128(1));
    let known = known(session, Folder::below(folder.path(), VAULT));
    let added: [AtomicU32; 2] = Default::default();
    let id = |thread: u32, n: u32| {
        ChunkId(*blake3::hash(&[thread.to_le_bytes(), n.to_le_bytes()].concat()).as_bytes())
    };
    std::thread::scope(|scope| {
        for (thread, added) in (0..).zip(&added) {
            let known = &known;
            scope.spawn(move || {
                for n in 0..EACH {
                    let pack = PackId { kind: PackKind::Data, session, sequence: thread };
                    known.insert(id(thread, n), Location { pack, offset: n, length: 1 });
                    added.store(n + 1, Ordering::Release);
                    known.make_room();
                }
            });
            // Looks at what was added last while it moves from memory to files and from level to level.
            scope.spawn(move || {
                loop {
                    let end = added.load(Ordering::Acquire);
                    for n in (end.saturating_sub(20)..end).chain([end / 3].into_iter().filter(|n| *n < end)) {
                        let found = known.get(&id(thread, n)).expect("added before");
                        assert_eq!((found.pack.sequence, found.offset), (thread, n));
                    }
                    if end == EACH {
                        break;
                    }
                }
            });
        }
    });
    let mut all = known.take_added().expect("whole");
    assert_eq!(all.body(10_000).expect("whole").count(), 2 * EACH as usize);
}

#[test]
fn rot_in_the_cache_is_never_believed() {
    let ids = (0..200u32).map(|n| ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes()));
    let oracle: Oracle = ids.map(|id| (id, BTreeSet::from([id.0[0], id.0[1]]))).collect();
    let folder = tempfile::tempdir().expect("tempdir");
    let cache = Folder::below(folder.path(), VAULT);
    cache.keep(NAME, &body(&oracle)).expect("kept");
    let path = std::fs::read_dir(folder.path().join(VAULT.to_string())).expect("made");
    let path = path.map(|entry| entry.expect("entry").path()).next().expect("one file");
    let whole = std::fs::read(&path).expect("read");
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        let Some(run) = Run::open(VAULT, NAME, Bytes::Memory(bytes)) else {
            refused += 1;
            continue;
        };
        for (id, seeds) in oracle.iter().step_by(13) {
            let mut found = Vec::new();
            let told = run.find(id, &mut found);
            let right = found.iter().all(|at| seeds.iter().any(|seed| location(*seed) == *at));
            assert!(right, "byte {at}");
            assert_eq!(told.is_err(), run.is_broken());
            if told.is_err() {
                break;
            }
        }
        assert!(
            Merge::new(vec![Arc::new(run)], Box::new(|_| true))
                .and_then(|mut m| m.body(1000))
                .map_or(true, |b| b.count() == 400)
        );
    }
    assert!(refused > 68, "the head is one whole");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).expect("write");
        assert!(cache.open(NAME).is_none(), "cut to {length} bytes");
        assert!(!path.exists(), "thrown away");
    }
    std::fs::write(&path, &whole).expect("write");
    assert!(cache.open(NAME).is_some());
    assert!(Folder::below(folder.path(), VaultId(Uuid::nil())).open(NAME).is_none());
    assert!(Run::open(VaultId(Uuid::nil()), NAME, Bytes::Memory(whole.clone())).is_none(), "another vault's");
    assert!(Run::open(VAULT, RunName { sequence: 2, ..NAME }, Bytes::Memory(whole)).is_none(), "another run");
}

/// Every place that the vault's index names.
async fn all_of(vault: &Vault) -> Vec<(ChunkId, PackId, u32, u32)> {
    entries_of(&vault.index().await.expect("index").runs.values().cloned().collect::<Vec<_>>())
}

async fn vault_with(limits: Limits) -> (Arc<Vault>, tempfile::TempDir) {
    let (vault, cache, _) = vault_and_key(limits).await;
    (vault, cache)
}

async fn vault_and_key(limits: Limits) -> (Arc<Vault>, tempfile::TempDir, KeyFile) {
    let cache = tempfile::tempdir().expect("tempdir");
    let (store, holder) = (Store::new(Arc::new(InMemory::new()), "memory"), KeyFile::generate());
    let now = "2026-11-21T03:00:00Z".parse().expect("a time");
    let vault = Vault::create(store, VaultId(Uuid::new_v4()), now, &holder).await.expect("create");
    (Arc::new(vault.with_cache(cache.path()).with_limits(limits)), cache, holder)
}

/// Stores blocks of which each is another, and makes a point of them; gives the bytes that were new.
async fn back_up(vault: &Arc<Vault>, blocks: std::ops::Range<u64>) -> u64 {
    let now = "2026-11-21T03:00:00Z".parse().expect("a time");
    let session = Session::begin(vault, SessionId(Uuid::now_v7()), now).await.expect("begin");
    let mut disk = session.disk(blocks.end * CHUNK_BYTES as u64, None).await.expect("disk");
    for block in blocks {
        let mut bytes = vec![1; CHUNK_BYTES];
        bytes[..8].copy_from_slice(&block.to_le_bytes());
        let batch = session.store(block * CHUNK_BYTES as u64, bytes).await.expect("store");
        disk.record(&session, &batch).await.expect("record");
    }
    let map = disk.finish(&session).await.expect("finish");
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new("m").expect("a name"),
        machine_name: "m".into(),
        instant: now,
        parent: None,
        consistency: serde_json::Value::Null,
        description: serde_json::Value::Null,
        service: serde_json::Value::Null,
    };
    let record = DiskRecord { name: "d".into(), map, tracking: String::new(), read_bytes: 0 };
    session.commit(draft, vec![record]).await.expect("commit").stats.new_bytes
}

#[tokio::test]
async fn a_session_larger_than_memory_publishes_everything_in_a_group() {
    let (vault, cache) = vault_with(SMALL).await;
    assert_eq!(back_up(&vault, 0..300).await, 300 * CHUNK_BYTES as u64);
    let index = vault.index().await.expect("index");
    let entries: usize = index.runs.values().map(|run| run.count()).sum();
    assert!(index.runs.len() > 10 && entries > 300, "{entries} in {} runs", index.runs.len());
    assert_eq!(back_up(&vault, 0..300).await, 0);
    std::fs::remove_dir_all(cache.path()).expect("remove");
    assert_eq!(back_up(&vault, 0..310).await, 10 * CHUNK_BYTES as u64, "open files serve on");
}

#[tokio::test]
async fn merging_drops_nothing_and_leaves_few_runs() {
    let (vault, cache) = vault_with(Limits { fan_in: 3, ..Limits::default() }).await;
    let mut told = BTreeSet::new();
    for n in 0..10 {
        back_up(&vault, n * 3..n * 3 + 4).await;
        let now: BTreeSet<_> = all_of(&vault).await.into_iter().collect();
        assert!(now.is_superset(&told) && now.len() > told.len());
        told = now;
        let index = vault.index().await.expect("index");
        assert!(index.runs.len() <= 3, "{}", index.runs.len());
        assert!(index.replaced.values().all(BTreeSet::is_empty), "what is replaced is gone");
    }
    assert!(vault.index_trouble().is_none());
    let files = std::fs::read_dir(cache.path().join(vault.id().to_string())).expect("cache").count();
    assert_eq!(files, vault.index().await.expect("index").runs.len());
}

#[tokio::test]
async fn a_rebuild_says_what_the_index_said() {
    let (vault, _cache) = vault_with(SMALL).await;
    for n in 0..4 {
        back_up(&vault, n * 30..n * 30 + 40).await;
    }
    let before = all_of(&vault).await;
    let rebuilt = vault.rebuild_index(&|_| ()).await.expect("rebuild");
    assert_eq!(rebuilt.chunks as usize, before.len());
    assert!(rebuilt.damage.is_empty() && rebuilt.replaced > 0);
    assert_eq!(all_of(&vault).await, before);
    let groups: BTreeSet<_> =
        vault.list_runs().await.expect("list").into_keys().map(|name| name.group).collect();
    assert_eq!(groups.len(), 1, "the old runs are gone");
    for (object, _) in vault.store().list("index").await.expect("list") {
        vault.store().delete(&object).await.expect("delete");
    }
    assert!(all_of(&vault).await.is_empty());
    vault.rebuild_index(&|_| ()).await.expect("rebuild");
    assert_eq!(all_of(&vault).await, before);
    assert_eq!(back_up(&vault, 0..130).await, 0);
}

/// A merge that was cut off before its sequence 0, one whose other runs are lost, and one that is whole.
#[tokio::test]
async fn only_a_whole_group_stands_for_others() {
    let (vault, _cache) = vault_with(Limits { run_entries: 4, ..Limits::default() }).await;
    back_up(&vault, 0..9).await;
    let before = all_of(&vault).await;
    let old = vault.list_runs().await.expect("list");
    let runs: Vec<_> = vault.index().await.expect("index").runs.values().cloned().collect();
    let merge = || Merge::new(runs.clone(), Box::new(|_| true)).expect("whole");
    let names: Vec<RunName> = old.keys().copied().collect();
    vault.put_group(Uuid::from_u128(1), merge(), names).await.expect("put");
    let whole = vault.index().await.expect("index");
    assert!(whole.runs.keys().all(|name| name.group == Uuid::from_u128(1)));
    assert_eq!(all_of(&vault).await, before);
    vault.store().delete(&RunName { group: Uuid::from_u128(1), sequence: 2 }.object()).await.expect("delete");
    let part = vault.index().await.expect("index");
    assert!(old.keys().all(|name| part.runs.contains_key(name)), "the old ones count again");
    assert_eq!(all_of(&vault).await, before);
    vault.delete_replaced(&part).await.expect("nothing to delete");
    // What was listed as whole is read back first, and deletes nothing if it is not.
    vault.delete_replaced(&whole).await.expect("not whole any more");
    assert_eq!(all_of(&vault).await, before);
}

#[tokio::test]
async fn entries_of_packs_that_are_gone_leave_the_index() {
    use crate::protocol::{Doom, SessionState};
    let (vault, _cache) = vault_with(Limits::default()).await;
    for n in 0..3 {
        back_up(&vault, n * 10..n * 10 + 10).await;
    }
    let before = all_of(&vault).await;
    let sessions: BTreeSet<SessionId> = before.iter().map(|(_, pack, ..)| pack.session).collect();
    let [deleting, aborted, stays] = sessions.into_iter().collect::<Vec<_>>()[..] else { panic!("three") };
    let mut state = State::default();
    let packs = before.iter().map(|(_, pack, ..)| *pack).filter(|pack| pack.session == deleting);
    state.doomed.extend(packs.map(|pack| (pack, Doom::Deleting)));
    state.doomed.extend(before.iter().filter(|e| e.1.session == stays).map(|e| (e.1, Doom::Condemned)));
    state.sessions.insert(aborted, SessionState::Aborted);
    vault.merge_index(&state, super::Extent::All).await.expect("merge");
    let expected: Vec<_> = before.into_iter().filter(|(_, pack, ..)| pack.session == stays).collect();
    assert_eq!(all_of(&vault).await, expected, "condemned packs may be saved yet");
}

#[tokio::test]
async fn a_cache_that_is_foreign_torn_or_killed_is_fetched_again() {
    let (vault, cache, holder) = vault_and_key(Limits::default()).await;
    back_up(&vault, 0..20).await;
    let before = all_of(&vault).await;
    let folder = cache.path().join(vault.id().to_string());
    let again = || async {
        let opened = Vault::open(vault.store().clone(), &holder).await.expect("open");
        opened.with_cache(cache.path())
    };
    let path = std::fs::read_dir(&folder).expect("cache").next().expect("a run").expect("entry").path();
    let whole = std::fs::read(&path).expect("read");
    for bytes in [&b"foreign"[..], &[], &whole[..whole.len() - 1]] {
        std::fs::write(&path, bytes).expect("write");
        assert_eq!(all_of(&again().await).await, before);
        assert_eq!(std::fs::read(&path).expect("fetched"), whole);
    }
    // Rot behind the head is met when it is read, and healed by the next look.
    let mut rotten = whole.clone();
    let end = rotten.len() - 44 * 10;
    rotten[end..].fill(0);
    std::fs::write(&path, rotten).expect("write");
    let other = again().await;
    let index = other.index().await.expect("index");
    assert!(before.iter().any(|(id, ..)| index.find(id).is_err()));
    assert_eq!(all_of(&other).await, before);
    std::fs::write(folder.join("stranger"), "x").expect("write");
    std::fs::remove_file(&path).expect("remove");
    assert_eq!(all_of(&again().await).await, before);
    assert_eq!(std::fs::read_dir(&folder).expect("cache").count(), 1);
    std::fs::remove_dir_all(cache.path()).expect("remove");
    std::fs::write(cache.path(), "a file").expect("write");
    let without = again().await;
    assert_eq!(all_of(&without).await, before, "held in memory");
    assert_eq!(without.index_trouble().expect("told").kind(), ErrorKind::Invalid);
}
