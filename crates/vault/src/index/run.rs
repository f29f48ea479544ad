//! A run at hand: a file of the cache, or the same bytes in memory.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `SRINDEX1` |
//! | 8..44 | vault's id, the run's group and sequence |
//! | 44..68 | numbers: packs p, entries n, replaced runs r, others of the group s, filter blocks f; then the first four bytes of the last id, big-endian as in ids |
//! | then r × 20 | runs that are replaced |
//! | then n/64 × 8 | per 64 entries: first four bytes of the first id; four of their BLAKE3 |
//! | then 32 | BLAKE3 of all before |
//! | then p × 28 | a pack as in the store; four bytes of the row's BLAKE3 |
//! | then f × 64 | filter |
//! | then n × 44 | entries as in the store |
//!
//! What comes before the packs is held in memory, an eighth of a byte an entry, and the filters of small runs. A chunk
//! that is not here costs one read of 64 bytes, one that is another of 2.8 KiB and one of 28 bytes.
//!
//! INVARIANT: what rotted in the cache is never believed: head, entries and packs are checked whenever they are
//! read. A filter is not: at worst it hides a chunk, which is stored again then.

use super::Location;
use super::body::{Body, ENTRY_BYTES, REPLACED_MAX, RUN_ENTRIES_MAX, decode_pack, encode_pack, id_of};
use super::body::{location_of, row_of};
use super::filter::{self, BLOCK_BYTES, Budget, Held};
use super::name::RunName;
use crate::bytes_io::Fields;
use crate::{ChunkId, Error, ErrorKind, PackId, Result, VaultId};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

const MAGIC: &[u8; 8] = b"SRINDEX1";
const HEAD_BYTES: usize = 68;
const HASH_BYTES: usize = 32;
const FENCE_BYTES: usize = 8;
const PACK_BYTES: usize = 28;
/// Entries that are read and checked together.
pub(super) const BUCKET: usize = 64;

/// Where a run's bytes are. Read by position, not mapped: a file that is cut short by somebody else is an error
/// then, and not the end of the process.
pub(super) enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl Bytes {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, at),
            Self::Memory(bytes) => {
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..buffer.len()));
                buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }
}

/// What the head of a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    packs: usize,
    entries: usize,
    replaced: usize,
    others: u32,
    blocks: usize,
}

impl Counts {
    fn buckets(self) -> usize {
        self.entries.div_ceil(BUCKET)
    }

    fn packs_at(self) -> usize {
        HEAD_BYTES + self.replaced * RunName::BYTES + self.buckets() * FENCE_BYTES + HASH_BYTES
    }

    fn filter_at(self) -> usize {
        self.packs_at() + self.packs * PACK_BYTES
    }

    fn entries_at(self) -> usize {
        self.filter_at() + self.blocks * BLOCK_BYTES
    }

    fn length(self) -> usize {
        self.entries_at() + self.entries * ENTRY_BYTES
    }

    fn are_sane(self) -> bool {
        let blocks = filter::blocks_for(self.entries);
        self.entries <= RUN_ENTRIES_MAX
            && self.packs <= self.entries
            && self.replaced <= REPLACED_MAX
            && self.blocks == blocks
    }
}

/// The beginning and the check of some neighbouring entries.
#[derive(Clone, Copy)]
struct Fence {
    first: u32,
    check: u32,
}

/// A run at hand.
pub(crate) struct Run {
    pub(super) name: RunName,
    pub(super) replaces: Vec<RunName>,
    counts: Counts,
    fences: Vec<Fence>,
    last: u32,
    bytes: Bytes,
    filter: Option<Held>,
    broken: AtomicBool,
}

impl Run {
    /// Opens what may be this run; `None` if it is anything else.
    pub(super) fn open(vault: VaultId, name: RunName, bytes: Bytes) -> Option<Self> {
        let mut fixed = [0; HEAD_BYTES];
        bytes.read_at(0, &mut fixed).ok()?;
        let mut fields = Fields(&fixed);
        let ours = fields.take(8)? == MAGIC && fields.take(16)? == vault.0.as_bytes();
        if !ours || RunName::take(&mut fields)? != name {
            return None;
        }
        let mut count = || fields.u32().map(|count| count as usize);
        let (packs, entries, replaced) = (count()?, count()?, count()?);
        let (others, blocks) = (fields.u32()?, fields.u32()? as usize);
        let counts = Counts { packs, entries, replaced, others, blocks };
        if !counts.are_sane() || bytes.length().ok()? != counts.length() as u64 {
            return None;
        }
        let mut head = vec![0; counts.packs_at()];
        bytes.read_at(0, &mut head).ok()?;
        let (head, hash) = head.split_last_chunk::<HASH_BYTES>()?;
        if blake3::hash(head) != *hash {
            return None;
        }
        let last = u32::from_be_bytes(fields.array()?);
        let mut fields = Fields(&head[HEAD_BYTES..]);
        let replaces = (0..replaced).map(|_| RunName::take(&mut fields)).collect::<Option<_>>()?;
        let fence = |_| Some(Fence { first: u32::from_be_bytes(fields.array()?), check: fields.u32()? });
        let fences = (0..counts.buckets()).map(fence).collect::<Option<_>>()?;
        let broken = AtomicBool::new(false);
        Some(Self { name, replaces, counts, fences, last, bytes, filter: None, broken })
    }

    /// The bytes of a run at hand, in pieces: what comes before the entries, and the entries.
    pub(super) fn layout(vault: VaultId, name: RunName, body: &Body) -> (Vec<u8>, &[u8]) {
        let blocks = filter::blocks_for(body.count());
        let numbers = [body.packs.len(), body.count(), body.replaces.len(), body.others as usize, blocks];
        let mut head = Vec::new();
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(vault.0.as_bytes());
        name.put(&mut head);
        for number in numbers {
            head.extend_from_slice(&u32::try_from(number).expect("limited").to_le_bytes());
        }
        let last = body.entries.rchunks_exact(ENTRY_BYTES).next().map_or([0; 4], first_bytes);
        head.extend_from_slice(&last);
        body.replaces.iter().for_each(|name| name.put(&mut head));
        for bucket in body.entries.chunks(BUCKET * ENTRY_BYTES) {
            head.extend_from_slice(&first_bytes(bucket));
            head.extend_from_slice(&check(bucket).to_le_bytes());
        }
        let hash = blake3::hash(&head);
        head.extend_from_slice(hash.as_bytes());
        for (row, pack) in body.packs.iter().enumerate() {
            let pack = encode_pack(pack);
            head.extend_from_slice(&pack);
            head.extend_from_slice(&row_check(row, &pack).to_le_bytes());
        }
        let filter = head.len();
        head.resize(filter + blocks * BLOCK_BYTES, 0);
        for entry in body.entries.chunks_exact(ENTRY_BYTES) {
            filter::insert(&mut head[filter..], id_of(entry));
        }
        (head, &body.entries)
    }

    /// A run that lies in memory.
    pub(super) fn in_memory(vault: VaultId, name: RunName, body: &Body) -> Self {
        let (head, entries) = Self::layout(vault, name, body);
        let bytes = Bytes::Memory([&head, entries].concat());
        Self::open(vault, name, bytes).expect("just laid out")
    }

    /// The number of entries.
    pub(super) fn count(&self) -> usize {
        self.counts.entries
    }

    /// How many other runs its group has, if this is its first.
    pub(super) fn others(&self) -> u32 {
        self.counts.others
    }

    /// The first four bytes of its lowest and its highest id; nothing if it has no entries.
    pub(super) fn range(&self) -> Option<(u32, u32)> {
        self.fences.first().map(|first| (first.first, self.last))
    }

    /// The first four bytes of an id, as ranges have them.
    pub(super) fn prefix(id: &ChunkId) -> u32 {
        u32::from_be_bytes(first_bytes(&id.0))
    }

    /// Whether reading it has failed: it is to be fetched again.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Adds every place at which it says that the chunk lies.
    ///
    /// # Errors
    /// `Store` if the local copy cannot be read, or has rotted. The next look at the index fetches it anew.
    pub(super) fn find(&self, id: &ChunkId, found: &mut Vec<Location>) -> Result<()> {
        let prefix = Self::prefix(id);
        if !self.range().is_some_and(|(first, last)| (first..=last).contains(&prefix)) {
            return Ok(());
        }
        let at = filter::block_of(&id.0, self.counts.blocks) * BLOCK_BYTES;
        let mut block = [0; BLOCK_BYTES];
        match &self.filter {
            Some(held) => block.copy_from_slice(&held.bytes[at..at + BLOCK_BYTES]),
            None => self.read_at(self.counts.filter_at() + at, &mut block)?,
        }
        if filter::may_hold(&block, id) { self.find_entry(id, prefix, found) } else { Ok(()) }
    }

    /// Takes the filter into memory, if there is room: a small run is asked as often as a large one.
    pub(super) fn hold_filter(&mut self, budget: &Budget) {
        if let Some(mut held) = budget.hold(self.counts.blocks * BLOCK_BYTES)
            && self.read_at(self.counts.filter_at(), &mut held.bytes).is_ok()
        {
            self.filter = Some(held);
        }
    }

    fn find_entry(&self, id: &ChunkId, prefix: u32, found: &mut Vec<Location>) -> Result<()> {
        // Nearly always one bucket. Many, if ids begin alike: then their first ids are looked at in the file.
        let mut low = self.fences.partition_point(|fence| fence.first < prefix).saturating_sub(1);
        let mut high = self.fences.partition_point(|fence| fence.first <= prefix);
        let end = high;
        while low + 1 < high {
            let middle = low.midpoint(high);
            let begins_before = id_of(&self.bucket(middle)?) < &id.0[..];
            if begins_before { low = middle } else { high = middle }
        }
        for bucket in low..end {
            for entry in self.bucket(bucket)?.chunks_exact(ENTRY_BYTES) {
                match id_of(entry).cmp(&id.0[..]) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => found.push(location_of(entry, self.pack(row_of(entry))?)),
                    std::cmp::Ordering::Greater => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// The number of its buckets.
    pub(super) fn bucket_count(&self) -> usize {
        self.fences.len()
    }

    fn bucket(&self, bucket: usize) -> Result<Vec<u8>> {
        self.buckets(bucket, 1)
    }

    /// The entries of some neighbouring buckets, checked.
    pub(super) fn buckets(&self, first: usize, count: usize) -> Result<Vec<u8>> {
        let end = (first + count).min(self.fences.len());
        let entries = (end * BUCKET).min(self.counts.entries) - first * BUCKET;
        let mut bytes = vec![0; entries * ENTRY_BYTES];
        self.read_at(self.counts.entries_at() + first * BUCKET * ENTRY_BYTES, &mut bytes)?;
        let buckets = bytes.chunks(BUCKET * ENTRY_BYTES);
        let rotten = buckets.zip(&self.fences[first..]).any(|(bucket, fence)| check(bucket) != fence.check);
        if rotten { Err(self.fault(io::ErrorKind::InvalidData.into())) } else { Ok(bytes) }
    }

    fn pack(&self, row: usize) -> Result<PackId> {
        let mut bytes = [0; PACK_BYTES];
        if row < self.counts.packs {
            self.read_at(self.counts.packs_at() + row * PACK_BYTES, &mut bytes)?;
        }
        self.checked_pack(row, &bytes)
    }

    /// The whole table of packs.
    pub(super) fn packs(&self) -> Result<Vec<PackId>> {
        let mut bytes = vec![0; self.counts.packs * PACK_BYTES];
        self.read_at(self.counts.packs_at(), &mut bytes)?;
        let rows = bytes.chunks_exact(PACK_BYTES).enumerate();
        rows.map(|(row, bytes)| self.checked_pack(row, bytes)).collect()
    }

    fn checked_pack(&self, row: usize, bytes: &[u8]) -> Result<PackId> {
        let (pack, sum) = bytes.split_at(PACK_BYTES - 4);
        let is_right = row_check(row, pack).to_le_bytes() == sum;
        let pack = if is_right { decode_pack(&mut Fields(pack)) } else { None };
        pack.ok_or_else(|| self.fault(io::ErrorKind::InvalidData.into()))
    }

    fn read_at(&self, at: usize, buffer: &mut [u8]) -> Result<()> {
        self.bytes.read_at(at as u64, buffer).map_err(|error| self.fault(error))
    }

    fn fault(&self, error: io::Error) -> Error {
        self.broken.store(true, Ordering::Relaxed);
        let context =
            format!("read the cached copy of {}: it is fetched again next time", self.name.object());
        Error::caused(ErrorKind::Store, context, error)
    }
}

fn first_bytes(id: &[u8]) -> [u8; 4] {
    id[..4].try_into().expect("ids have 32 bytes")
}

/// Finds rot, which is not out to deceive: four bytes are enough.
fn check(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(blake3::hash(bytes).as_bytes()[..4].try_into().expect("four bytes"))
}

fn row_check(row: usize, pack: &[u8]) -> u32 {
    check(&[&(row as u64).to_le_bytes()[..], pack].concat())
}
