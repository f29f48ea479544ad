//! Changed bytes for every parser, behind the seals.
//!
//! What lies in a store is sealed, so a fuzzer that changes objects only ever meets the seal. Here the plaintext is
//! changed and sealed again with the right key: the parser sees what somebody who holds the key, or a fault of an
//! earlier version, may have written. Whatever it sees it answers, in time and within its memory; it never panics.
//!
//! The tests throw a few thousand; `cargo xtask fuzz` throws for minutes.

use crate::chunk;
use crate::index::{Location, fuzz_body, fuzz_run};
use crate::keys::{Keyring, RecoveryKey};
use crate::log::Told;
use crate::map::{Child, Node, node_id};
use crate::pack::{self, OpenPack, open_chunk, read_toc};
use crate::record::{open_record, seal_record};
use crate::seal::{HEAD_BYTES, ObjectKey, ObjectKind, ObjectName};
use crate::{
    CHUNK_BYTES, ChunkId, KeyFile, MachineKey, PackId, PackKind, PointId, SessionId, Store, Vault, VaultId,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Changed inputs for each parser in the tests.
const ROUNDS: u64 = 20_000;
/// No input of a few kilobytes keeps a parser busy for longer, on the slowest of machines.
const ONE_MAX: Duration = Duration::from_secs(5);
/// What the process may grow to: the largest allowance of a parser (an index run of 68 MiB, inflated once and
/// unpacked once) and the program itself.
const PEAK_KIB_MAX: u64 = 256 << 10;

/// Draws changes.
struct Mutator(u64);

impl Mutator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() as usize) % end.max(1)
    }

    /// One to four changes: bits, numbers at their limits, pieces left out, doubled, cut off.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            match (self.below(7), bytes.len()) {
                (_, 0) => bytes.push(self.next() as u8),
                (0, _) => bytes[at] ^= 1 << self.below(8),
                (1, _) => bytes[at] = self.next() as u8,
                (2, length) => {
                    let end = (at + 4).min(length);
                    bytes[at..end].fill(if self.below(2) == 0 { 0xFF } else { 0 });
                }
                (3, _) => bytes.truncate(at),
                (4, length) => drop(bytes.drain(at..(at + 1 + self.below(40)).min(length))),
                (5, length) => {
                    let piece = bytes[at..(at + 1 + self.below(40)).min(length)].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let digits: &[u8] = match self.below(4) {
                        0 => b"18446744073709551615",
                        1 => b"-1",
                        2 => b"[[[[[[[[[[[[[[[[",
                        _ => b"null",
                    };
                    bytes.splice(at..at, digits.iter().copied());
                }
            }
        }
        bytes
    }
}

/// A vault to seal for, and what one session would have put into it.
struct Scene {
    vault: Vault,
    store: Arc<InMemory>,
    key: KeyFile,
    session: SessionId,
}

impl Scene {
    async fn new() -> Self {
        let (store, key) = (Arc::new(InMemory::new()), KeyFile::generate());
        let at = "2026-11-21T03:00:00Z".parse().expect("a time");
        let place = Store::new(Arc::clone(&store) as _, "memory");
        let vault = Vault::create(place, VaultId(Uuid::from_u128(1)), at, &key).await.expect("create");
        Self { vault, store, key, session: SessionId(Uuid::from_u128(2)) }
    }

    fn keys(&self) -> &Keyring {
        self.vault.keys()
    }

    fn record(&self, kind: ObjectKind, id: Uuid, body: &[u8]) -> Vec<u8> {
        seal_record(self.keys(), self.vault.id(), ObjectName { kind, id, sequence: 0 }, body)
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) {
        self.store.put(&Path::from(name), PutPayload::from(bytes)).await.expect("put");
    }

    fn pack(&self, kind: PackKind) -> PackId {
        PackId { kind, session: self.session, sequence: 0 }
    }

    fn node(&self, level: u8, children: usize) -> Node {
        let mut node = Node::empty(level);
        let kind = if level == 0 { PackKind::Data } else { PackKind::Map };
        for slot in 0..children {
            let pack = PackId { sequence: slot as u32 / 5, ..self.pack(kind) };
            let at = Location { pack, offset: 72 + 100 * slot as u32, length: 100 };
            node.slots[slot * 3] = Some(Child { id: ChunkId([slot as u8; 32]), at });
        }
        node
    }

    /// Every parser, once.
    async fn throw(&self, mutator: &mut Mutator) {
        self.throw_nodes(mutator).await;
        self.throw_packs(mutator);
        self.throw_records(mutator).await;
        self.throw_keys(mutator).await;
    }

    /// Nodes whose id is right, and frames that inflate to anything.
    async fn throw_nodes(&self, mutator: &mut Mutator) {
        let level = mutator.below(3) as u8;
        let (plain, _) = self.node(level, 1 + mutator.below(20)).encode();
        let plain = mutator.change(&plain);
        let taken =
            plain.get(1..9).map_or(0, |bits| bits.iter().map(|byte| byte.count_ones() as usize).sum());
        let covered: usize = 9 + 32 * taken;
        let id = node_id(self.keys(), &plain[..covered.min(plain.len())]);
        let _ = Node::decode(self.keys(), id, &plain);
        let mut encoded = Vec::new();
        chunk::encode(&plain, &mut encoded);
        let encoded = mutator.change(&encoded);
        let _ = chunk::decode_into(&encoded, &mut vec![0; CHUNK_BYTES]);
        assert!(!chunk::decode(&encoded, CHUNK_BYTES).is_ok_and(|plain| plain.len() > CHUNK_BYTES));
        // Through the store, where a parent asks for a level.
        let pack = self.pack(PackKind::Map);
        let mut open = OpenPack::new(self.keys(), self.vault.id(), pack, Vec::new());
        let at = open.append(id, &encoded);
        self.put(&pack.object(), open.finish().bytes).await;
        let child = Child { id, at: Location { length: at.length ^ (mutator.below(2) as u32 * 77), ..at } };
        let wanted = mutator.below(4) as u8;
        if let Ok(node) = self.vault.read_node(&child, wanted).await {
            assert_eq!(node.level, wanted, "a node at another level is refused");
        }
    }

    /// Tables of contents that are sealed rightly and say anything.
    fn throw_packs(&self, mutator: &mut Mutator) {
        let (id, vault) = (self.pack(PackKind::Data), self.vault.id());
        let mut open = OpenPack::new(self.keys(), vault, id, Vec::new());
        for number in 0..1 + mutator.below(5) {
            open.append(ChunkId([number as u8; 32]), &[0, 1, 2, 3]);
        }
        let whole = open.finish().bytes;
        let footer = whole.len() - 48;
        let at = u32::from_le_bytes(whole[footer..footer + 4].try_into().expect("four bytes")) as usize;
        let (key, _) = ObjectKey::create(self.keys(), vault, pack::object_name(id));
        let mut toc = whole[at..footer].to_vec();
        let plain = key.open_at(at as u64, b"toc", &mut toc).expect("our own").to_vec();
        let mut plain = mutator.change(&plain);
        let count = if mutator.below(2) == 0 { plain.len() / 40 } else { mutator.next() as usize };
        let tag = key.seal(at as u64, b"toc", &mut plain);
        let mut bytes = [&whole[..at], &plain, &tag].concat();
        for field in [at, plain.len() + 16, count] {
            bytes.extend_from_slice(&(field as u32).to_le_bytes());
        }
        bytes.extend_from_slice(b"SRPF");
        let mut bytes = if mutator.below(3) == 0 { mutator.change(&bytes) } else { bytes };
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        for (chunk, at) in read_toc(self.keys(), vault, id, &bytes).unwrap_or_default() {
            let end = (at.offset as usize).checked_add(at.length as usize).expect("64 bits");
            if let Some(sealed) = bytes.get(at.offset as usize..end) {
                let _ = open_chunk(&key, chunk, at, &mut sealed.to_vec());
            }
        }
    }

    /// Points, records of the log, intents and index runs: sealed rightly, read as the vault reads them.
    async fn throw_records(&self, mutator: &mut Mutator) {
        let (machine, id) = (MachineKey::new("m").expect("a name"), Uuid::from_u128(9));
        let point = mutator.change(POINT.as_bytes());
        self.put(&format!("points/m/{id}"), self.record(ObjectKind::Point, self.session.0, &point)).await;
        if let Ok(point) = self.vault.point(&machine, PointId(id)).await {
            for disk in &point.disks {
                let _ = disk.map.root.as_ref().map(Child::try_from);
            }
        }
        let entry = ENTRIES[mutator.below(ENTRIES.len())];
        let entry = mutator.change(entry.as_bytes());
        self.put("log/0000000000000000", self.record(ObjectKind::LogRecord, id, &entry)).await;
        let _ = self.vault.read_log(Told::default()).await;
        let intent = mutator.change(br#"["packs/00000000-0000-0000-0000-000000000002/00000000"]"#);
        self.put("gc/0", self.record(ObjectKind::Intent, id, &intent)).await;
        let _ = self.vault.read_intents(None).await;
        let entries: Vec<_> = (0..9u8).map(|n| (ChunkId([n * 20; 32]), self.place(n.into()))).collect();
        let run = mutator.change(&fuzz_body(&entries));
        fuzz_run(self.vault.id(), &run, &entries);
        // And records whose head or encoding is changed, under a hash that is right.
        let name = ObjectName { kind: ObjectKind::IndexRun, id, sequence: 0 };
        let sealed = self.record(ObjectKind::IndexRun, id, &run);
        let mut object = mutator.change(&sealed[..sealed.len() - 32]);
        let hash = blake3::hash(&object);
        object.extend_from_slice(hash.as_bytes());
        let _ = open_record(self.keys(), self.vault.id(), name, &object, 4096);
        let _ = ObjectKey::open(self.keys(), self.vault.id(), name, &object[..HEAD_BYTES.min(object.len())]);
    }

    fn place(&self, number: u32) -> Location {
        Location {
            pack: PackId { sequence: number % 3, ..self.pack(PackKind::Data) },
            offset: 72,
            length: 40,
        }
    }

    /// What is read before any key is known.
    async fn throw_keys(&self, mutator: &mut Mutator) {
        for name in ["vault.json", "keys/00000001"] {
            let path = Path::from(name);
            let whole = self.store.get(&path).await.expect("there").bytes().await.expect("in memory");
            self.put(name, mutator.change(&whole)).await;
            let _ = Vault::open(self.vault.store().clone(), &self.key).await;
            self.put(name, whole.to_vec()).await;
        }
        let text = RecoveryKey::generate().to_text();
        let _ = RecoveryKey::parse(&String::from_utf8_lossy(&mutator.change(text.as_bytes())));
    }
}

const POINT: &str = r#"{"format":1,"id":"00000000-0000-0000-0000-000000000009","machine":"m","machine_name":"one",
"instant":"2026-11-21T03:00:00Z","parent":null,"session":"00000000-0000-0000-0000-000000000002","disks":[{"name":"d",
"map":{"size":65536,"root":{"id":"0101010101010101010101010101010101010101010101010101010101010101","session":
"00000000-0000-0000-0000-000000000002","sequence":0,"offset":72,"length":90}},"tracking":"","read_bytes":0}],
"consistency":null,"description":{"a":[1,2]},"stats":{"read_bytes":0,"new_bytes":0,"stored_bytes":0}}"#;

const ENTRIES: [&str; 5] = [
    r#"{"at":"2026-11-21T03:00:00Z","record":{"open":{"session":"00000000-0000-0000-0000-000000000002"}}}"#,
    r#"{"at":"2026-11-21T03:00:00Z","record":{"commit":{"session":"00000000-0000-0000-0000-000000000002","point":"00000000-0000-0000-0000-000000000009","bases":[],"uses":["packs/00000000-0000-0000-0000-000000000002/00000000"]}}}"#,
    r#"{"at":"2026-11-21T03:00:00Z","record":{"condemn":{"packs":["maps/00000000-0000-0000-0000-000000000002/00000000"]}}}"#,
    r#"{"at":"2026-11-21T03:00:00Z","record":{"retire":{"session":null,"packs":["maps/00000000-0000-0000-0000-000000000002/00000000"],"damaged":[]}}}"#,
    r#"{"at":"2026-11-21T03:00:00Z","record":{"purge":{"point":"00000000-0000-0000-0000-000000000009"}}}"#,
];

/// The most memory this process ever held.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the test below, in a process of its own"]
async fn throw_in_a_process_of_its_own() {
    let minutes: Option<u64> =
        std::env::var("STRONGROOM_FUZZ_MINUTES").ok().and_then(|text| text.parse().ok());
    let (scene, begun, mut round) = (Scene::new().await, Instant::now(), 0);
    let goes_on = |round: u64| match minutes {
        Some(minutes) => begun.elapsed() < Duration::from_secs(60 * minutes),
        None => round < ROUNDS,
    };
    while goes_on(round) {
        let started = Instant::now();
        scene.throw(&mut Mutator(round)).await;
        assert!(started.elapsed() < ONE_MAX, "round {round} took {:?}", started.elapsed());
        round += 1;
    }
    let peak = peak_kib();
    println!("{round} rounds, {} MiB at most", peak >> 10);
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
}

/// In a process of its own, so that its memory can be told.
#[test]
fn parsers_answer_whatever_they_see() {
    let this = std::env::current_exe().expect("a test knows itself");
    let arguments = ["fuzz::throw_in_a_process_of_its_own", "--exact", "--ignored", "--nocapture"];
    let output = std::process::Command::new(this).args(arguments).output().expect("start");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" rounds, "), "it ran: {said}");
    println!("{said}");
}

/// A tree whose node says another level than its place would let a walk go round for ever.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_its_own_parent_is_refused() {
    let scene = Scene::new().await;
    let pack = scene.pack(PackKind::Map);
    // It cannot hold its own id, which is a hash; but its hint may name its own place.
    let mut node = Node::empty(1);
    let own_place = Location { pack, offset: HEAD_BYTES as u32, length: 100 };
    node.slots[0] = Some(Child { id: ChunkId([7; 32]), at: own_place });
    let (plain, covered) = node.encode();
    let id = node_id(scene.keys(), &plain[..covered]);
    let mut open = OpenPack::new(scene.keys(), scene.vault.id(), pack, Vec::new());
    let mut encoded = Vec::new();
    chunk::encode(&plain, &mut encoded);
    let at = open.append(id, &encoded);
    scene.put(&pack.object(), open.finish().bytes).await;
    let found = scene.vault.read_node(&Child { id, at }, 1).await.expect("a node like any other");
    let below = found.slots[0].expect("taken");
    for (child, level) in [(below, 0), (Child { id, at }, 0), (Child { id, at }, 2)] {
        let error = scene.vault.read_node(&child, level).await.expect_err("refused");
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
    }
}
