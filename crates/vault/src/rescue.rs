//! Rescue: everything that can be read with the objects and a key alone.
//!
//! For a vault in which other things than data are damaged or lost: the log, the index, `vault.json`, the
//! newest keyring; or some packs. Whatever point's object opens is listed, with what is known of it. Of a disk
//! everything is read that its map leads to; what is not where the map says is looked for in the tables of
//! contents of all packs that are there. What is found nowhere is left out and named.
//!
//! INVARIANT: bytes are given out only if they hash to the id that the map says, as everywhere.

mod tables;

pub(crate) use tables::Tables;

use crate::log::Told;
use crate::map::{Child, DiskMap, Node, SLOTS, block_bytes, block_count, root_level, span};
use crate::protocol::PointState;
use crate::sealed::{Elsewhere, SealedReader};
use crate::vault::Vault;
use crate::{CHUNK_BYTES, Error, ErrorKind, KeyProvider, Point, Result, Store, VaultId, chunk};
use block::BlockSink;
use futures_util::stream::{self, TryStreamExt};
use std::collections::HashMap;
use std::sync::Arc;

/// Leaves read at once: each up to 64 chunks, 4 MiB and as much again inflated.
const LEAVES_AT_ONCE: usize = 4;

/// What the log says of a point whose object was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is listed.
    Listed,
    /// It was deleted; what it needs is kept.
    Deleted,
    /// It was purged: what it needs may be gone.
    Purged,
    /// The log has no such point: its session did not commit, or the log lost it.
    NotInLog,
    /// The log cannot be read.
    LogUnreadable,
}

/// A point whose object opens.
#[derive(Clone, Debug)]
pub struct FoundPoint {
    /// The point.
    pub point: Point,
    /// What the log says of it.
    pub standing: Standing,
}

/// What was found in a vault.
#[derive(Debug, Default)]
pub struct Found {
    /// The points, by machine and instant.
    pub points: Vec<FoundPoint>,
    /// What could not be read: points' objects, the log.
    pub damage: Vec<Error>,
}

/// Bytes of a disk that can be read nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// Why.
    pub reason: String,
}

/// A vault opened for rescue.
pub struct Rescue {
    vault: Arc<Vault>,
}

impl Rescue {
    /// The id of the vault in `store`: as `vault.json` says, or if that is lost or damaged, as a keyring does.
    ///
    /// # Errors
    /// `NotFound` if there is neither; `Unsupported` if the vault was made by a newer version.
    pub async fn vault_id(store: &Store, keyring: Option<u32>) -> Result<VaultId> {
        match Vault::info_of(store).await {
            Ok(info) => Ok(info.id),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                crate::keys::vault_id(store, keyring).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a vault with its newest keyring, or the one with this number.
    pub async fn open(store: Store, holder: &dyn KeyProvider, keyring: Option<u32>) -> Result<Self> {
        let id = Self::vault_id(&store, keyring).await?;
        Ok(Self { vault: Arc::new(Vault::open_as(store, id, holder, keyring).await?) })
    }

    /// Every point whose object opens, whatever the log says.
    pub async fn points(&self) -> Result<Found> {
        let mut found = Found::default();
        let told = match self.vault.read_log(Told::default()).await {
            Ok(told) => Some(told),
            Err(error) if is_damage(&error) => {
                found.damage.push(error);
                None
            }
            Err(error) => return Err(error),
        };
        for (name, _) in self.vault.store().list("points").await? {
            match self.vault.point_named(&name).await {
                Ok(point) => {
                    let standing = standing(told.as_ref(), &point);
                    found.points.push(FoundPoint { point, standing });
                }
                Err(error) if is_damage(&error) => found.damage.push(error),
                Err(error) => return Err(error),
            }
        }
        let order = |found: &FoundPoint| (found.point.machine.clone(), found.point.instant, found.point.id);
        found.points.sort_by_key(order);
        Ok(found)
    }

    /// Writes a disk into a sink that is all zero. Gives what could not be read and is zero there, in order.
    ///
    /// # Errors
    /// Only where the store or the sink fails: damage is not an error but the result.
    pub async fn read_disk(
        &self,
        map: &DiskMap,
        sink: &dyn BlockSink,
        progress: &(dyn Fn(u64) + Sync),
    ) -> block::Result<Vec<Gap>> {
        let elsewhere = Elsewhere::tables(&self.vault);
        let walk = Walk::begin(&self.vault, map, &elsewhere)?;
        let reader = SealedReader::new(&self.vault, &elsewhere);
        let found = stream::try_unfold(walk, |mut walk| async move {
            Ok::<_, Error>(walk.next().await?.map(|found| (found, walk)))
        });
        let read =
            found.map_ok(|found| self.read_leaf(map.size, &reader, found)).try_buffered(LEAVES_AT_ONCE);
        let mut read = Box::pin(read);
        let mut gaps: Vec<Gap> = Vec::new();
        while let Some(Read { blocks, missing }) = read.try_next().await? {
            for (offset, bytes) in blocks {
                let length = bytes.len() as u64;
                sink.write(offset, bytes).await?;
                progress(length);
            }
            missing.into_iter().for_each(|gap| add(&mut gaps, gap));
        }
        Ok(gaps)
    }

    /// Reads the chunks of one leaf.
    async fn read_leaf(&self, size: u64, reader: &SealedReader<'_>, found: Part) -> Result<Read> {
        let (first, node) = match found {
            Part::Leaf(first, node) => (first, node),
            Part::Missing(gap) => return Ok(Read { blocks: Vec::new(), missing: vec![gap] }),
        };
        let slots = (first..).zip(&node.slots).filter(|(block, _)| *block < block_count(size));
        let wanted: Vec<(u64, Child)> = slots.filter_map(|(block, child)| Some((block, (*child)?))).collect();
        let children = wanted.iter().map(|(_, child)| *child).collect();
        let mut chunks: HashMap<_, _> = HashMap::new();
        for (id, tried) in reader.read_each(children).await? {
            // A chunk that stands at several blocks may lie at several places: one that can be read is enough.
            if tried.is_ok() || !chunks.contains_key(&id) {
                chunks.insert(id, tried);
            }
        }
        let mut read = Read { blocks: Vec::new(), missing: Vec::new() };
        for (block, child) in wanted {
            let (offset, length) = (block * CHUNK_BYTES as u64, block_bytes(size, block));
            let plain = match &chunks[&child.id] {
                Ok(encoded) => self.inflate(child, encoded, length),
                Err(error) => Err(error.to_string()),
            };
            match plain {
                Ok(plain) => read.blocks.push((offset, plain)),
                Err(reason) => read.missing.push(Gap { offset, length: length as u64, reason }),
            }
        }
        Ok(read)
    }

    fn inflate(&self, child: Child, encoded: &[u8], length: usize) -> std::result::Result<Vec<u8>, String> {
        let mut plain = vec![0; length];
        let shown = |found: &str| format!("chunk {}: {found}", child.id);
        chunk::decode_into(encoded, &mut plain).map_err(shown)?;
        if chunk::chunk_id(self.vault.keys(), &plain) != child.id {
            return Err(shown("its bytes are other than its id says"));
        }
        Ok(plain)
    }
}

/// What a rescue takes for damage and goes on from: what was lost, what rotted, what no key at hand opens. Not
/// a store that fails: what it has may be read later.
fn is_damage(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Store | ErrorKind::Denied | ErrorKind::NoSpace)
}

fn standing(told: Option<&Told>, point: &Point) -> Standing {
    let Some(told) = told else { return Standing::LogUnreadable };
    match told.state.points.get(&point.id) {
        Some(PointState::Live) => Standing::Listed,
        Some(PointState::SoftDeleted) => Standing::Deleted,
        Some(PointState::Purged) => Standing::Purged,
        None => Standing::NotInLog,
    }
}

/// Adds a gap behind the others; neighbours of one reason become one.
fn add(gaps: &mut Vec<Gap>, gap: Gap) {
    match gaps.last_mut() {
        Some(last) if last.offset + last.length == gap.offset && last.reason == gap.reason => {
            last.length += gap.length;
        }
        _ => gaps.push(gap),
    }
}

/// What came of one part of a disk.
struct Read {
    blocks: Vec<(u64, Vec<u8>)>,
    missing: Vec<Gap>,
}

/// A part of a disk, in order.
enum Part {
    /// The first block of a leaf, and the leaf.
    Leaf(u64, Arc<Node>),
    /// A subtree that can be read nowhere.
    Missing(Gap),
}

/// A walk over a map that goes on where it meets damage.
struct Walk<'a> {
    vault: &'a Vault,
    elsewhere: &'a Elsewhere<'a>,
    size: u64,
    /// Later subtrees below earlier ones.
    waiting: Vec<(Child, u8, u64)>,
}

impl<'a> Walk<'a> {
    fn begin(vault: &'a Vault, map: &DiskMap, elsewhere: &'a Elsewhere<'a>) -> Result<Self> {
        let root = map.root.as_ref().map(Child::try_from).transpose()?;
        let waiting = root.into_iter().map(|root| (root, root_level(map.size), 0)).collect();
        Ok(Self { vault, elsewhere, size: map.size, waiting })
    }

    async fn next(&mut self) -> Result<Option<Part>> {
        while let Some((child, level, first)) = self.waiting.pop() {
            if first >= block_count(self.size) {
                continue;
            }
            let node = match self.read(child, level).await {
                Ok(node) => node,
                Err(error) if is_damage(&error) => {
                    let end = first.saturating_add(span(level).saturating_mul(SLOTS as u64));
                    let offset = first * CHUNK_BYTES as u64;
                    let length = end.saturating_mul(CHUNK_BYTES as u64).min(self.size) - offset;
                    return Ok(Some(Part::Missing(Gap { offset, length, reason: error.to_string() })));
                }
                Err(error) => return Err(error),
            };
            if level == 0 {
                return Ok(Some(Part::Leaf(first, node)));
            }
            for (slot, below) in node.slots.iter().enumerate().rev() {
                let start = first.saturating_add(slot as u64 * span(level));
                self.waiting.extend(below.map(|below| (below, level - 1, start)));
            }
        }
        Ok(None)
    }

    /// Reads a node from where it should lie, else from wherever a table of contents has it.
    async fn read(&self, child: Child, level: u8) -> Result<Arc<Node>> {
        let missed = match self.vault.read_node(&child, level).await {
            Err(error) if is_damage(&error) => error,
            other => return other,
        };
        for at in self.elsewhere.find(&child).await? {
            if let Ok(node) = self.vault.read_node(&Child { id: child.id, at }, level).await {
                return Ok(node);
            }
        }
        Err(missed)
    }
}
