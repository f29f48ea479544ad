//! Marking: which places of which packs the points need. Each shared node is walked once.
//!
//! Memory is bits: one for 4 KiB of data packs (two small chunks may share one, and live or die together) and one
//! for 64 bytes of map packs, which no sealed node is shorter than: 32 MiB for each TiB of stored data, 2 MiB for
//! each GiB of maps.

use crate::index::{Index, Location};
use crate::log::Told;
use crate::map::{Child, DiskMap, NODE_SEALED_BYTES_MIN, Node, root_level};
use crate::protocol::{Rules, State, View};
use crate::vault::Vault;
use crate::{Error, MachineKey, PackId, PackKind, PointId, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// How often the index is read before it is said that a chunk has no home elsewhere.
const LOOKS_MAX: u32 = 2;
/// Bytes of a data pack that share a bit.
const DATA_GRAIN: u32 = 4096;

/// The places in one pack that are needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    bits: Vec<u64>,
    count: u64,
}

impl Live {
    /// Notes a place; `false` if it was noted already.
    fn add(&mut self, at: &Location) -> bool {
        let bit = at.offset / grain(at.pack.kind);
        let (word, mask) = ((bit / 64) as usize, 1 << (bit % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & mask == 0;
        self.bits[word] |= mask;
        self.count += u64::from(is_new);
        is_new
    }

    /// Whether a place is needed, or one that it shares its bit with.
    pub(super) fn has(&self, at: &Location) -> bool {
        let bit = at.offset / grain(at.pack.kind);
        self.bits.get((bit / 64) as usize).is_some_and(|word| word & 1 << (bit % 64) != 0)
    }
}

fn grain(kind: PackKind) -> u32 {
    match kind {
        PackKind::Data => DATA_GRAIN,
        PackKind::Map => NODE_SEALED_BYTES_MIN,
    }
}

/// Finds the places that points need.
pub(super) struct Marker<'a> {
    vault: &'a Vault,
    state: State,
    packs: BTreeMap<PackId, u64>,
    intended: BTreeSet<PackId>,
    index: Option<Arc<Index>>,
    points: HashSet<PointId>,
    live: BTreeMap<PackId, Live>,
    /// Stored bytes of what is live in each pack.
    live_bytes: BTreeMap<PackId, u64>,
    /// Packs that hints were followed into.
    plain: BTreeSet<PackId>,
    /// Packs whose copies were taken for chunks elsewhere.
    homes: BTreeSet<PackId>,
    /// Whether something was marked only for want of better: that holds for as long as nothing changes.
    doubtful: bool,
    /// How often the index was read since the last change.
    looks: u32,
}

impl<'a> Marker<'a> {
    pub(super) fn new(vault: &'a Vault) -> Self {
        Self {
            vault,
            state: State::default(),
            packs: BTreeMap::new(),
            intended: BTreeSet::new(),
            index: None,
            points: HashSet::new(),
            live: BTreeMap::new(),
            live_bytes: BTreeMap::new(),
            plain: BTreeSet::new(),
            homes: BTreeSet::new(),
            doubtful: false,
            looks: 0,
        }
    }

    pub(super) fn vault(&self) -> &'a Vault {
        self.vault
    }

    /// Whether any point that was marked needs something in this pack.
    pub(super) fn refers_to(&self, pack: &PackId) -> bool {
        self.live.contains_key(pack)
    }

    /// All packs that points need.
    pub(super) fn referred(&self) -> BTreeSet<PackId> {
        self.live.keys().copied().collect()
    }

    /// What is needed in a pack, and its bytes.
    pub(super) fn live_in(&self, pack: &PackId) -> (Live, u64) {
        let live = self.live.get(pack).cloned().unwrap_or_default();
        (live, self.live_bytes.get(pack).copied().unwrap_or(0))
    }

    /// Takes what is known by now: the log, the packs there are, what others mean to delete.
    ///
    /// INVARIANT: what was marked stays valid only while every pack that was believed in can still be, and what was
    /// kept for want of better while nothing changes. Else all is marked anew.
    pub(super) fn learn(&mut self, told: &Told, packs: &BTreeMap<PackId, u64>, intended: BTreeSet<PackId>) {
        let view = View { state: &told.state, intended: &intended };
        let there = |pack: &&PackId| packs.contains_key(pack);
        let plain = self.plain.iter().all(|pack| there(&pack) && view.is_plain(pack, Rules::ALL));
        let homes = self.homes.iter().all(|pack| there(&pack) && view.is_home(pack, Rules::ALL));
        let same =
            self.state.position == told.state.position && self.packs == *packs && self.intended == intended;
        if !plain || !homes || (self.doubtful && !same) {
            self.forget();
        }
        self.looks = 0;
        self.state = told.state.clone();
        self.packs.clone_from(packs);
        self.intended = intended;
        self.index = None;
    }

    /// Begins anew.
    fn forget(&mut self) {
        self.points.clear();
        self.live.clear();
        self.live_bytes.clear();
        self.plain.clear();
        self.homes.clear();
        self.doubtful = false;
    }

    /// Marks what the log's roots refer to, but for some that are to be purged. Every one of them must be there.
    pub(super) async fn mark_roots(&mut self, told: &Told, besides: &[PointId]) -> Result<()> {
        let mut objects = self.vault.point_objects(None).await?;
        self.vault.check_roots(told, &objects).await?;
        objects.retain(|(_, id)| told.state.is_root(id) && !besides.contains(id));
        self.mark_each(told, objects).await
    }

    /// Marks what any point's object refers to, whatever the log says of it.
    pub(super) async fn mark_objects(&mut self, told: &Told) -> Result<()> {
        let objects = self.vault.point_objects(None).await?;
        self.mark_each(told, objects).await
    }

    async fn mark_each(&mut self, told: &Told, mut objects: Vec<(MachineKey, PointId)>) -> Result<()> {
        let mut waiting = objects.clone();
        while let Some((machine, id)) = waiting.pop() {
            if self.points.contains(&id) {
                continue;
            }
            match self.mark_point(&machine, id).await {
                Ok(()) => drop(self.points.insert(id)),
                // Another collector purged it, or its writer gave it up, while it was walked. Nodes of it are marked
                // whose children are not: nothing that shares them could be marked now.
                Err(error) if self.is_gone(told, &machine, id).await? => {
                    drop(error);
                    self.forget();
                    objects.retain(|(_, other)| *other != id);
                    waiting.clone_from(&objects);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn mark_point(&mut self, machine: &MachineKey, id: PointId) -> Result<()> {
        for disk in &self.vault.point(machine, id).await?.disks {
            self.mark_map(&disk.map).await?;
        }
        Ok(())
    }

    /// Whether a point is neither kept by the log nor has an object.
    async fn is_gone(&self, told: &Told, machine: &MachineKey, id: PointId) -> Result<bool> {
        let kept = self.vault.is_root_still(told, id).await?;
        Ok(!kept && !self.vault.point_objects(Some(machine)).await?.iter().any(|(_, there)| *there == id))
    }

    async fn mark_map(&mut self, map: &DiskMap) -> Result<()> {
        let Some(root) = map.root.as_ref().map(Child::try_from).transpose()? else { return Ok(()) };
        let mut waiting = vec![(root, root_level(map.size))];
        while let Some((child, level)) = waiting.pop() {
            for at in self.homes_of(&child).await? {
                // Walked by place: copies of one node may hold different hints.
                if self.add(&at)? {
                    let node = self.read(&Child { at, ..child }, level).await?;
                    self.mark_node(&node, level, &mut waiting).await?;
                }
            }
        }
        Ok(())
    }

    async fn mark_node(&mut self, node: &Node, level: u8, waiting: &mut Vec<(Child, u8)>) -> Result<()> {
        for child in node.slots.iter().flatten() {
            if level > 0 {
                waiting.push((*child, level - 1));
                continue;
            }
            for at in self.homes_of(child).await? {
                self.add(&at)?;
            }
        }
        Ok(())
    }

    async fn read(&self, child: &Child, level: u8) -> Result<Arc<Node>> {
        self.vault.read_node(child, level).await
    }

    /// Notes a place; `false` if it was noted before.
    fn add(&mut self, at: &Location) -> Result<bool> {
        let end = u64::from(at.offset) + u64::from(at.length);
        let too_short = at.pack.kind == PackKind::Map && at.length < NODE_SEALED_BYTES_MIN;
        if too_short || self.packs.get(&at.pack).is_none_or(|size| end > *size) {
            return Err(Error::corrupt(at.pack, end, "a map names a place that the pack does not have"));
        }
        let is_new = self.live.entry(at.pack).or_default().add(at);
        if is_new {
            *self.live_bytes.entry(at.pack).or_default() += u64::from(at.length);
        }
        Ok(is_new)
    }

    /// The places that must be kept for a chunk or node.
    async fn homes_of(&mut self, child: &Child) -> Result<Vec<Location>> {
        let hint = child.at.pack;
        if self.plain.contains(&hint) {
            return Ok(vec![child.at]);
        }
        let view = View { state: &self.state, intended: &self.intended };
        if self.packs.contains_key(&hint) && view.is_plain(&hint, Rules::ALL) {
            self.plain.insert(hint);
            return Ok(vec![child.at]);
        }
        let (mut places, mut homes) = self.looked_up(child).await?;
        // Listings are not of one instant: others may have moved it, or merged the index, between two of their pages.
        while !self.is_settled(hint, &homes) && self.looks < LOOKS_MAX {
            self.index = None;
            self.packs.extend(self.vault.list_packs().await?);
            (places, homes) = self.looked_up(child).await?;
        }
        if !self.is_settled(hint, &homes) {
            self.doubt(child, &homes)?;
        } else if let [home] = homes[..] {
            self.homes.insert(home);
        }
        places.retain(|at| homes.contains(&at.pack));
        Ok(places)
    }

    /// Whether a chunk whose hint is not followed has one home elsewhere.
    fn is_settled(&self, hint: PackId, homes: &[PackId]) -> bool {
        let view = View { state: &self.state, intended: &self.intended };
        matches!(homes, [home] if *home != hint && view.is_home(home, Rules::ALL))
    }

    /// A chunk that has no home elsewhere, as far as the index tells: all of its copies are kept, unless the index
    /// cannot be trusted to tell.
    fn doubt(&mut self, child: &Child, homes: &[PackId]) -> Result<()> {
        let damaged = |found: String| Err(Error::corrupt(child.at.pack, child.at.offset.into(), found));
        if let Some(run) = self.index.as_ref().and_then(|index| index.damaged_run()) {
            return damaged(format!(
                "where its chunks lie now stands in {run}, which is damaged: reindex the vault"
            ));
        }
        if homes.is_empty() {
            return damaged(format!("chunk {} is nowhere: its pack is gone and no other holds it", child.id));
        }
        self.doubtful = true;
        Ok(())
    }

    /// Every place there is that holds a chunk, and the packs among them that must be kept.
    async fn looked_up(&mut self, child: &Child) -> Result<(Vec<Location>, Vec<PackId>)> {
        let index = match &self.index {
            Some(index) => Arc::clone(index),
            None => {
                self.looks += 1;
                Arc::clone(self.index.insert(self.vault.index().await?))
            }
        };
        let mut places = match index.find(&child.id) {
            Ok(places) => places,
            // The local copy of a run is bad: it is fetched again with the next look.
            Err(error) if self.looks >= LOOKS_MAX => return Err(error),
            Err(_) => Vec::new(),
        };
        places.retain(|at| at.pack != child.at.pack);
        places.push(child.at);
        places.retain(|at| self.packs.contains_key(&at.pack));
        let copies: Vec<PackId> = places.iter().map(|at| at.pack).collect();
        let view = View { state: &self.state, intended: &self.intended };
        Ok((places, view.homes(child.at.pack, &copies, Rules::ALL)))
    }
}
