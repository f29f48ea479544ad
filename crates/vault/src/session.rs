//! A session: one run of writing into a vault.
//!
//! ```text
//! store(offset, bytes) ─► zero? hash, known? ─► compress ─► seal into the open pack ─► upload
//!                         └──────── a thread per core ────────┘                    2 at once
//! ```
//! Callers run many `store`s at once and record what they give in order of offsets ([`DiskWriter`]).
//! Nothing a session writes can be seen before [`Session::commit`]; dropped without it, its packs are
//! orphans that nothing refers to.

use crate::chunk::{self, CHUNK_BYTES};
use crate::index::{Known, Location};
use crate::log::Told;
use crate::map::{Child, NODE_BYTES_MAX, Node};
use crate::pack::{FullPack, OpenPack};
use crate::protocol::Record;
use crate::sealed::Encoded;
use crate::vault::Vault;
use crate::work;
use crate::{ChunkId, DiskMap, DiskWriter, Error, ErrorKind, PackId, PackKind, PointId, Result, SessionId};
use bytes::Bytes;
use jiff::Timestamp;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Packs being uploaded at once, of data and of maps. Each holds up to 48 MiB.
///
/// INVARIANT: apart, and no lock is held over an await. A caller that has many `store`s in flight does not poll
/// them while it records what one gave; whatever such a sleeper holds or is next in line for, recording must not
/// wait for.
const UPLOADS_MAX: [usize; 2] = [2, 1];

/// Batches that are handed to the cores at once, for each core: one is worked on and the next one waits. If a thread
/// had to be told of it first, it would stand still for as long as a small batch takes.
const BATCHES_A_CORE: usize = 2;

/// After so many blocks of a batch that did not compress, only every [`SAMPLE`]th is tried: what is encrypted or
/// compressed already comes in long runs, and trying costs as much as compressing.
const RAW_BEFORE_SAMPLING: u32 = 2;
const SAMPLE: usize = 8;

thread_local! {
    /// A batch, compressed: memory that is new for each costs as much as sealing.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What became of a batch.
#[derive(Debug)]
pub struct StoredBatch {
    /// Where on the disk it begins, in bytes.
    pub(crate) offset: u64,
    /// Per 64 KiB block the chunk that stands there now; nothing where all is zero.
    pub(crate) chunks: Vec<Option<Child>>,
    /// The buffer that was handed in, for reuse.
    pub buffer: Vec<u8>,
}

/// A disk of an earlier point that a new map is built on.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// The point, which must still be there when the session commits.
    pub point: PointId,
    /// The disk's map in it.
    pub map: &'a DiskMap,
}

/// What a session has done so far, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Bytes of sealed chunks and nodes put into packs.
    pub sealed: u64,
    /// Bytes of chunks that the vault had already.
    pub known: u64,
    /// Bytes of chunks that were new, before compression.
    pub new: u64,
}

/// One run of writing into a vault.
pub struct Session {
    inner: Arc<Inner>,
    /// [`BATCHES_A_CORE`] of them.
    cores: Arc<Semaphore>,
    uploads: Mutex<JoinSet<Result<()>>>,
    /// By kind of pack.
    upload_slots: [Arc<Semaphore>; 2],
}

/// What the compressing threads share.
pub(crate) struct Inner {
    pub(crate) vault: Arc<Vault>,
    pub(crate) id: SessionId,
    pub(crate) begun: Timestamp,
    pub(crate) known: Known,
    /// Points whose maps are built on.
    pub(crate) bases: Mutex<BTreeSet<PointId>>,
    /// What the log said when the session began.
    pub(crate) told: Told,
    packs: [Mutex<PackSlot>; 2],
    spare_buffers: Mutex<Vec<Vec<u8>>>,
    sealed: AtomicU64,
    known_bytes: AtomicU64,
    new_bytes: AtomicU64,
}

/// The open pack of one kind.
#[derive(Default)]
struct PackSlot {
    open: Option<OpenPack>,
    next_sequence: u32,
}

impl Session {
    /// Begins to write. `id` must never have been used in this vault; `now` is for people.
    ///
    /// CRASH: from here on, an open session in the log and packs of it. Collection aborts it one day.
    pub async fn begin(vault: &Arc<Vault>, id: SessionId, now: Timestamp) -> Result<Self> {
        // Whoever rotated the data key wants it to hold from now on, not from the next restart on.
        vault.refresh_keys().await?;
        let told = vault.append_when_possible(Told::default(), &Record::Open { session: id }, now).await?;
        // After the log: whatever a run says of sessions committed by then is complete.
        let (index, intended) = (vault.index().await?, vault.read_intents(None).await?);
        let known = Known::new(id, index, told.state.clone(), intended);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            inner: Arc::new(Inner {
                vault: Arc::clone(vault),
                id,
                begun: now,
                known,
                bases: Mutex::default(),
                told,
                packs: Default::default(),
                spare_buffers: Mutex::default(),
                sealed: AtomicU64::new(0),
                known_bytes: AtomicU64::new(0),
                new_bytes: AtomicU64::new(0),
            }),
            cores: Arc::new(Semaphore::new(cores * BATCHES_A_CORE)),
            uploads: Mutex::default(),
            upload_slots: UPLOADS_MAX.map(|uploads| Arc::new(Semaphore::new(uploads))),
        })
    }

    /// The vault it writes to.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.inner.vault
    }

    /// Its id.
    pub(crate) fn id(&self) -> SessionId {
        self.inner.id
    }

    /// Begins the map of a disk; see [`DiskWriter`]. With a base, what is not recorded stays as there.
    ///
    /// # Errors
    /// `Conflict` if the base was purged: what it reaches may be gone. Reading the disk in full helps.
    pub async fn disk(&self, size: u64, base: Option<Base<'_>>) -> Result<DiskWriter> {
        if let Some(base) = base {
            if !self.inner.told.state.is_root(&base.point) {
                return Err(base_gone(base.point));
            }
            self.inner.bases.lock().expect("no holder panics").insert(base.point);
        }
        DiskWriter::begin(self, size, base.map(|base| base.map)).await
    }

    /// Stores the bytes that stand at `offset` of a disk, block by block.
    ///
    /// # Errors
    /// Whatever an upload under way failed with: the session cannot be committed then.
    pub async fn store(&self, offset: u64, buffer: Vec<u8>) -> Result<StoredBatch> {
        let permit = Arc::clone(&self.cores).acquire_owned().await.expect("never closed");
        let inner = Arc::clone(&self.inner);
        let work = work::run_aside(move || {
            let worked = inner.store_batch(&buffer);
            drop(permit);
            (worked, buffer)
        });
        let ((chunks, full), buffer) = work.await;
        self.upload_all(full).await?;
        Ok(StoredBatch { offset, chunks, buffer })
    }

    /// Where a chunk or node lies that this session may use.
    pub(crate) fn known(&self, id: &ChunkId) -> Option<Location> {
        self.inner.known.get(id)
    }

    /// A node beneath a base. One that is missing because its base was purged meanwhile is no damage.
    pub(crate) async fn read_base_node(&self, child: &Child, level: u8) -> Result<Arc<Node>> {
        let error = match self.vault().read_node(child, level).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => error,
            other => return other,
        };
        let told = self.vault().read_log(self.inner.told.clone()).await?;
        let bases = self.inner.bases.lock().expect("no holder panics").clone();
        let gone = bases.into_iter().find(|base| !told.state.is_root(base));
        Err(gone.map_or(error, base_gone))
    }

    /// Stores the bytes of a map node.
    pub(crate) async fn put_map_chunk(&self, id: ChunkId, plain: &[u8]) -> Result<Location> {
        debug_assert!(plain.len() <= NODE_BYTES_MAX);
        let mut encoded = Vec::new();
        chunk::encode(plain, &mut encoded);
        let (places, full) = self.inner.append(PackKind::Map, &encoded, &[(id, encoded.len())]);
        self.upload_all(full).await?;
        Ok(places[0])
    }

    /// Where this session itself has put a chunk.
    pub(crate) fn own_place(&self, id: &ChunkId) -> Option<Location> {
        self.inner.known.own(id)
    }

    /// Puts chunks that are encoded already; gives the place of each. `new` and `known` are what they and others
    /// that the vault had come to, in bytes of disks.
    pub(crate) async fn put_encoded(
        &self,
        kind: PackKind,
        chunks: Vec<Encoded>,
        (new, known): (u64, u64),
    ) -> Result<Vec<(ChunkId, Location)>> {
        self.inner.new_bytes.fetch_add(new, Ordering::Relaxed);
        self.inner.known_bytes.fetch_add(known, Ordering::Relaxed);
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        let permit = Arc::clone(&self.cores).acquire_owned().await.expect("never closed");
        let inner = Arc::clone(&self.inner);
        let work = work::run_aside(move || {
            let _permit = permit;
            let (mut encoded, mut ids) = (Vec::new(), Vec::with_capacity(chunks.len()));
            for Encoded { id, bytes } in chunks {
                encoded.extend_from_slice(&bytes);
                ids.push((id, bytes.len()));
            }
            let (places, full) = inner.append(kind, &encoded, &ids);
            inner.known.make_room();
            (ids.into_iter().map(|(id, _)| id).zip(places).collect(), full)
        });
        let (places, full) = work.await;
        self.upload_all(full).await?;
        Ok(places)
    }

    /// What it has done so far.
    pub fn written(&self) -> Written {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { sealed, known_bytes, new_bytes, .. } = &*self.inner;
        Written { sealed: get(sealed), known: get(known_bytes), new: get(new_bytes) }
    }

    /// Starts the upload of full packs; waits while too many are under way.
    async fn upload_all(&self, full: Vec<FullPack>) -> Result<()> {
        for pack in full {
            let slots = Arc::clone(&self.upload_slots[pack.id.kind as usize - 1]);
            let permit = slots.acquire_owned().await.expect("never closed");
            let inner = Arc::clone(&self.inner);
            let mut uploads = self.uploads.lock().expect("no holder panics");
            uploads.spawn(async move {
                let _permit = permit;
                inner.upload(pack).await
            });
            while let Some(done) = uploads.try_join_next() {
                done.expect("an upload does not panic")?;
            }
        }
        Ok(())
    }

    /// Uploads what is still open, waits for all uploads, and gives up the parts that commit needs.
    pub(crate) async fn close(self) -> Result<Inner> {
        for kind in [PackKind::Data, PackKind::Map] {
            let open = self.inner.slot(kind).lock().expect("no holder panics").open.take();
            if let Some(open) = open.filter(|pack| !pack.is_empty()) {
                self.upload_all(vec![open.finish()]).await?;
            }
        }
        let mut uploads = self.uploads.into_inner().expect("no holder panics");
        while let Some(done) = uploads.join_next().await {
            done.expect("an upload does not panic")?;
        }
        drop(uploads);
        // Publishing the index needs the room.
        self.inner.spare_buffers.lock().expect("no holder panics").clear();
        Arc::try_unwrap(self.inner).map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                "a session cannot be committed while chunks are still being stored",
            )
        })
    }
}

fn base_gone(base: PointId) -> Error {
    Error::new(ErrorKind::Conflict, format!("point {base}, which this builds on, was purged"))
}

impl Inner {
    fn slot(&self, kind: PackKind) -> &Mutex<PackSlot> {
        &self.packs[kind as usize - 1]
    }

    /// The session's packs of a kind.
    pub(crate) fn own_packs(&self, kind: PackKind) -> impl DoubleEndedIterator<Item = PackId> {
        let end = self.slot(kind).lock().expect("no holder panics").next_sequence;
        let session = self.id;
        (0..end).map(move |sequence| PackId { kind, session, sequence })
    }

    /// Looks every block of a batch up, compresses what is new, and puts it into the open pack in one go,
    /// so that it lies together.
    fn store_batch(&self, buffer: &[u8]) -> (Vec<Option<Child>>, Vec<FullPack>) {
        let keys = self.vault.keys();
        let mut encoded = ENCODED.take();
        encoded.clear();
        let mut fresh: Vec<(ChunkId, usize)> = Vec::new();
        // New blocks in a row that did not compress.
        let mut raw = 0;
        // Per block: zero, known, or the row of `fresh` it became.
        let found: Vec<Option<(ChunkId, Option<Location>)>> = buffer
            .chunks(CHUNK_BYTES)
            .map(|block| {
                if chunk::is_zero(block) {
                    return None;
                }
                let id = chunk::chunk_id(keys, block);
                let known = self.known.get(&id);
                if known.is_none() && !fresh.iter().any(|(other, _)| *other == id) {
                    let start = encoded.len();
                    if raw < RAW_BEFORE_SAMPLING || fresh.len().is_multiple_of(SAMPLE) {
                        raw = if chunk::encode(block, &mut encoded) { 0 } else { raw + 1 };
                    } else {
                        chunk::encode_raw(block, &mut encoded);
                    }
                    fresh.push((id, encoded.len() - start));
                    self.new_bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
                } else {
                    self.known_bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
                }
                Some((id, known))
            })
            .collect();
        let (places, full) = self.append(PackKind::Data, &encoded, &fresh);
        ENCODED.set(encoded);
        self.known.make_room();
        let place_of = |id| places[fresh.iter().position(|(other, _)| *other == id).expect("encoded above")];
        let stored = found
            .into_iter()
            .map(|found| found.map(|(id, known)| Child { id, at: known.unwrap_or_else(|| place_of(id)) }));
        (stored.collect(), full)
    }

    /// Seals encoded chunks, one behind the other in `encoded`, into the open pack of `kind`; gives their
    /// places, and packs that became full.
    ///
    /// Two threads that meet the same new chunk at once may both store it: as many copies as there are
    /// threads at worst, each as good as the other.
    fn append(
        &self,
        kind: PackKind,
        encoded: &[u8],
        chunks: &[(ChunkId, usize)],
    ) -> (Vec<Location>, Vec<FullPack>) {
        let mut slot = self.slot(kind).lock().expect("no holder panics");
        let full = slot.open.take_if(|pack| pack.is_full_for(encoded.len(), self.vault.pack_bytes()));
        let mut rest = encoded;
        let mut places = Vec::with_capacity(chunks.len());
        for (id, length) in chunks {
            let (one, behind) = rest.split_at(*length);
            rest = behind;
            let PackSlot { open, next_sequence } = &mut *slot;
            let pack = open.get_or_insert_with(|| self.open_pack(kind, next_sequence));
            let at = pack.append(*id, one);
            self.sealed.fetch_add(u64::from(at.length), Ordering::Relaxed);
            self.known.insert(*id, at);
            places.push(at);
        }
        drop(slot);
        // Hashing a whole pack takes milliseconds: not while the others wait.
        (places, full.map(OpenPack::finish).into_iter().collect())
    }

    fn open_pack(&self, kind: PackKind, next_sequence: &mut u32) -> OpenPack {
        let id = PackId { kind, session: self.id, sequence: *next_sequence };
        *next_sequence += 1;
        let buffer = self.spare_buffers.lock().expect("no holder panics").pop().unwrap_or_default();
        OpenPack::new(self.vault.keys(), self.vault.id(), id, buffer)
    }

    /// Puts a pack into the store; its memory serves the next one.
    async fn upload(&self, pack: FullPack) -> Result<()> {
        let bytes = Bytes::from(pack.bytes);
        self.vault.store().create(&pack.id.object(), bytes.clone()).await?;
        if let Ok(buffer) = bytes.try_into_mut() {
            self.spare_buffers.lock().expect("no holder panics").push(buffer.into());
        }
        Ok(())
    }
}
