//! Verification: every stored byte is read again, and damage is named.
//!
//! Two depths. [`scrub`] compares each object with the hash it carries: it needs no key, so whoever holds
//! only the store can run it. [`Vault::verify`] opens every chunk, inflates it and compares it with its id,
//! and tells which points, disks and ranges what is damaged belongs to. It changes nothing.

use crate::index::{Index, Location};
use crate::log::Told;
use crate::map::{Child, Node};
use crate::pack::{check_hash, open_chunk, read_toc};
use crate::point::Point;
use crate::seal::{HEAD_BYTES, ObjectKey};
use crate::vault::Vault;
use crate::{CHUNK_BYTES, Error, ErrorKind, PackId, PackKind, PointId, Result, Store, chunk, pack, work};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Packs read and checked at once, of up to 48 MiB each: enough that reading goes on while the cores are busy.
const PACKS_AT_ONCE: usize = 4;

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Objects read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks and map nodes opened; 0 for a scrub.
    pub chunks: u64,
    /// What is damaged or missing.
    pub damage: Vec<Damage>,
    /// The points that cannot be restored whole.
    pub points: Vec<DamagedPoint>,
    /// Packs that are damaged, or missing though points need them.
    pub(crate) packs: BTreeSet<PackId>,
}

/// One object that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its name.
    pub object: String,
    /// What is wrong with it.
    pub found: String,
}

/// A point that damage reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPoint {
    /// The point.
    pub point: PointId,
    /// What people call its machine.
    pub machine_name: String,
    /// The disk.
    pub disk: String,
    /// Bytes of the disk that cannot be read.
    pub ranges: Vec<Range<u64>>,
}

/// Compares every pack, index run, point, log record and note with the hash it carries. Needs no key.
///
/// It finds what rots, not what somebody forges: that takes [`Vault::verify`].
pub async fn scrub(store: &Store, progress: &(dyn Fn(u64) + Sync)) -> Result<Verified> {
    let mut done = Verified::default();
    for folder in ["packs", "maps", "index", "points", "log", "checkpoints", "notes"] {
        let objects = stream::iter(store.list(folder).await?).map(|(name, _)| async move {
            let read = store.get(&name).await;
            let checked = match read {
                Ok(bytes) => (bytes.len() as u64, hash_fault(&name, bytes).await),
                Err(error) if error.kind() == ErrorKind::NotFound => (0, None), // deleted since the listing
                Err(error) => return Err(error),
            };
            Ok((name, checked))
        });
        let mut objects = objects.buffer_unordered(PACKS_AT_ONCE);
        while let Some((object, (bytes, fault))) = objects.try_next().await? {
            done.objects += 1;
            done.bytes += bytes;
            progress(bytes);
            done.damage.extend(fault.map(|found| Damage { object, found }));
        }
    }
    Ok(done)
}

async fn hash_fault(name: &str, bytes: Bytes) -> Option<String> {
    let name = name.to_owned();
    work::run(move || check_hash(&name, &bytes).err().map(|error| error.to_string())).await
}

impl Vault {
    /// Opens every chunk of every pack, and reads every point's maps.
    ///
    /// # Errors
    /// Only where the store cannot be read at all. Damage is not an error but the result.
    pub async fn verify(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Verified> {
        let mut done = Verified::default();
        let mut bad = Bad::default();
        let listed = self.list_packs().await?;
        let mut packs = stream::iter(listed.keys().copied())
            .map(|pack| async move { Ok::<_, Error>((pack, self.verify_pack(pack).await?)) })
            .buffer_unordered(PACKS_AT_ONCE);
        while let Some((pack, checked)) = packs.try_next().await? {
            let Some(checked) = checked else { continue };
            done.objects += 1;
            done.bytes += checked.bytes;
            done.chunks += checked.chunks;
            progress(checked.bytes);
            if checked.whole.is_some() || !checked.faults.is_empty() {
                done.packs.insert(pack);
            }
            bad.packs.extend(checked.whole.is_some().then_some(pack));
            bad.places.extend(checked.faults.iter().map(|(offset, _)| (pack, *offset)));
            let whole = checked.whole.map(|error| error.to_string());
            let texts = whole.into_iter().chain(checked.faults.into_iter().map(|(_, found)| found));
            done.damage.extend(texts.map(|found| Damage { object: pack.object(), found }));
        }
        drop(packs);
        self.verify_points(&bad, &mut done).await?;
        Ok(done)
    }

    /// Checks one pack. `None` if it was collected since it was listed.
    async fn verify_pack(&self, pack: PackId) -> Result<Option<CheckedPack>> {
        let bytes = match self.store().get(&pack.object()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let check = || {
            let (keys, vault, bytes) = (Arc::clone(self.keys_shared()), self.id(), bytes.clone());
            work::run(move || check_pack(&keys, vault, pack, &bytes))
        };
        let checked = check().await;
        if checked.whole.as_ref().is_none_or(|error| error.kind() != ErrorKind::Key) {
            return Ok(Some(checked));
        }
        // Written since the keys were read, under an epoch that is newer.
        self.refresh_keys().await?;
        Ok(Some(check().await))
    }

    /// Finds the points that damage reaches, and packs that points need and the store lacks.
    ///
    /// Others go on meanwhile. What a point needs was there before the point, so packs are listed after points;
    /// and a point that was purged since is nobody's loss.
    async fn verify_points(&self, bad: &Bad, done: &mut Verified) -> Result<()> {
        let mut clean: HashSet<Child> = HashSet::new();
        let mut all_missing: BTreeSet<PackId> = BTreeSet::new();
        let told = self.read_log(Told::default()).await?;
        let survey = self.survey(None).await?;
        let unreadable = |error: Error| Damage { object: "points/".into(), found: error.to_string() };
        done.damage.extend(survey.damage.into_iter().map(unreadable));
        let there = &self.list_packs().await?.into_keys().collect();
        let mut index = (self.index().await?, false);
        for point in survey.points {
            let (mut missing, mut hurt) = (BTreeSet::new(), Vec::new());
            for disk in &point.disks {
                let mut walk = Walk {
                    vault: self,
                    there,
                    bad,
                    clean: &mut clean,
                    missing: &mut missing,
                    index: &mut index,
                    blocks: vec![],
                };
                walk.disk(disk).await?;
                let blocks = std::mem::take(&mut walk.blocks);
                if !blocks.is_empty() {
                    hurt.push(damaged(&point, disk, &blocks));
                }
            }
            if !hurt.is_empty() && self.is_root_still(&told, point.id).await? {
                all_missing.append(&mut missing);
                done.points.append(&mut hurt);
            }
        }
        let lost = |pack: PackId| Damage { object: pack.object(), found: "it is missing".into() };
        done.damage.extend(all_missing.iter().copied().map(lost));
        done.packs.extend(all_missing);
        Ok(())
    }
}

/// What is damaged: whole packs, or places in them.
#[derive(Default)]
struct Bad {
    packs: HashSet<PackId>,
    places: HashSet<(PackId, u32)>,
}

/// What one pack came to.
struct CheckedPack {
    bytes: u64,
    chunks: u64,
    /// Why none of it can be trusted.
    whole: Option<Error>,
    /// Chunks that are damaged: where, and how.
    faults: Vec<(u32, String)>,
}

fn check_pack(keys: &crate::keys::Keyring, vault: crate::VaultId, id: PackId, bytes: &Bytes) -> CheckedPack {
    let mut checked = CheckedPack { bytes: bytes.len() as u64, chunks: 0, whole: None, faults: Vec::new() };
    let opened = read_toc(keys, vault, id, bytes).and_then(|entries| {
        let key = ObjectKey::open(keys, vault, pack::object_name(id), &bytes[..HEAD_BYTES])?;
        Ok((key, entries))
    });
    let (key, entries) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            checked.whole = Some(error);
            return checked;
        }
    };
    for (chunk_id, at) in entries {
        checked.chunks += 1;
        let range = at.offset as usize..at.offset as usize + at.length as usize;
        let Some(sealed) = bytes.get(range) else {
            checked.faults.push((at.offset, "its table of contents names a place beyond its end".into()));
            continue;
        };
        let mut sealed = sealed.to_vec();
        let plain = open_chunk(&key, chunk_id, at, &mut sealed).and_then(|encoded| {
            chunk::decode(encoded, CHUNK_BYTES).map_err(|found| Error::corrupt(id, at.offset.into(), found))
        });
        let right = plain.and_then(|plain| {
            let is_right = match id.kind {
                PackKind::Data => chunk::chunk_id(keys, &plain) == chunk_id,
                PackKind::Map => Node::decode(keys, chunk_id, &plain).is_ok(),
            };
            is_right
                .then_some(())
                .ok_or_else(|| Error::corrupt(id, at.offset.into(), "its bytes are other than its id says"))
        });
        checked.faults.extend(right.err().map(|error| (at.offset, error.to_string())));
    }
    checked
}

/// A walk over one disk's map, collecting the blocks that damage reaches. Subtrees found clean are not walked
/// again for other points.
struct Walk<'a> {
    vault: &'a Vault,
    there: &'a BTreeSet<PackId>,
    bad: &'a Bad,
    clean: &'a mut HashSet<Child>,
    missing: &'a mut BTreeSet<PackId>,
    /// The index, and whether it was read a second time.
    index: &'a mut (Arc<Index>, bool),
    /// Ranges of blocks.
    blocks: Vec<Range<u64>>,
}

impl Walk<'_> {
    async fn disk(&mut self, disk: &crate::DiskRecord) -> Result<()> {
        let Some(root) = disk.map.root.as_ref().map(Child::try_from).transpose()? else { return Ok(()) };
        let mut waiting = vec![(root, crate::map::root_level(disk.map.size), 0u64)];
        while let Some((child, level, first)) = waiting.pop() {
            if self.clean.contains(&child) {
                continue;
            }
            let node = match self.sound_place(&child).await? {
                Some(at) => self.read(&Child { at, ..child }, level).await?,
                None => None,
            };
            let Some(node) = node else {
                let span = crate::map::span(level + 1);
                self.blocks
                    .push(first..first.saturating_add(span).min(crate::map::block_count(disk.map.size)));
                continue;
            };
            let before = self.blocks.len();
            let step = crate::map::span(level);
            for (slot, below) in (0u64..).zip(&node.slots) {
                let Some(below) = below else { continue };
                let start = first + slot * step;
                if level > 0 {
                    waiting.push((*below, level - 1, start));
                } else if self.sound_place(below).await?.is_none() {
                    self.blocks.push(start..start + 1);
                }
            }
            // Only leaves are known to be clean here; what lies above them is cheap to walk again.
            if level == 0 && self.blocks.len() == before {
                self.clean.insert(child);
            }
        }
        Ok(())
    }

    /// A node that turns out not to be readable is damage like any other.
    async fn read(&self, child: &Child, level: u8) -> Result<Option<Arc<Node>>> {
        match self.vault.read_node(child, level).await {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a chunk lies undamaged: where its map says, or where it has a copy.
    async fn sound_place(&mut self, child: &Child) -> Result<Option<Location>> {
        if self.is_sound(&child.at) {
            return Ok(Some(child.at));
        }
        let mut copy = self.sound_copy(child);
        if copy.is_none() && !self.index.1 {
            // A merge between the pages of a listing can hide what it merged: one more look, for all.
            *self.index = (self.vault.index().await?, true);
            copy = self.sound_copy(child);
        }
        if copy.is_none() && !self.there.contains(&child.at.pack) {
            self.missing.insert(child.at.pack);
        }
        Ok(copy)
    }

    fn sound_copy(&self, child: &Child) -> Option<Location> {
        self.index.0.find(&child.id).unwrap_or_default().into_iter().find(|at| self.is_sound(at))
    }

    fn is_sound(&self, at: &Location) -> bool {
        let is_bad = self.bad.packs.contains(&at.pack) || self.bad.places.contains(&(at.pack, at.offset));
        self.there.contains(&at.pack) && !is_bad
    }
}

/// Blocks become ranges of bytes, neighbours joined.
fn damaged(point: &Point, disk: &crate::DiskRecord, blocks: &[Range<u64>]) -> DamagedPoint {
    let mut blocks = blocks.to_vec();
    blocks.sort_by_key(|range| range.start);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for range in blocks {
        let bytes = range.start * CHUNK_BYTES as u64..(range.end * CHUNK_BYTES as u64).min(disk.map.size);
        match ranges.last_mut() {
            Some(last) if last.end >= bytes.start => last.end = last.end.max(bytes.end),
            _ => ranges.push(bytes),
        }
    }
    DamagedPoint {
        point: point.id,
        machine_name: point.machine_name.clone(),
        disk: disk.name.clone(),
        ranges,
    }
}
