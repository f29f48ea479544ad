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
use crate::{Error, ErrorKind, MachineKey, PackId, PackKind, PointId, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

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
        }
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
    /// INVARIANT: what was marked stays valid only while every pack that was believed in can still be. Else all
    /// is marked anew.
    pub(super) fn learn(&mut self, told: &Told, packs: &BTreeMap<PackId, u64>, intended: BTreeSet<PackId>) {
        let view = View { state: &told.state, intended: &intended };
        let there = |pack: &&PackId| packs.contains_key(pack);
        let plain = self.plain.iter().all(|pack| there(&pack) && view.is_plain(pack, Rules::ALL));
        let homes = self.homes.iter().all(|pack| there(&pack) && view.is_home(pack, Rules::ALL));
        if !plain || !homes {
            *self = Self::new(self.vault);
        }
        self.state = told.state.clone();
        self.packs.clone_from(packs);
        self.intended = intended;
        self.index = None;
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

    async fn mark_each(&mut self, told: &Told, objects: Vec<(MachineKey, PointId)>) -> Result<()> {
        for (machine, id) in objects {
            if self.points.contains(&id) {
                continue;
            }
            match self.mark_point(&machine, id).await {
                Ok(()) => drop(self.points.insert(id)),
                // Another collector purged it, or its writer gave it up, while it was walked.
                Err(error) if self.is_gone(told, &machine, id).await? => drop(error),
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
        let mut places = self.places_of(child).await?;
        if places.is_empty() {
            // Listings are not of one instant: others may have moved it between two of their pages.
            self.index = None;
            self.packs.extend(self.vault.list_packs().await?);
            places = self.places_of(child).await?;
        }
        let copies: Vec<PackId> = places.iter().map(|at| at.pack).collect();
        let view = View { state: &self.state, intended: &self.intended };
        let homes = view.homes(hint, &copies, Rules::ALL);
        match homes[..] {
            [] => {
                let found = format!("chunk {} is nowhere: its pack is gone and no other holds it", child.id);
                return Err(Error::new(ErrorKind::Corrupt, format!("object {hint} is damaged: {found}")));
            }
            [home] if home != hint => drop(self.homes.insert(home)),
            _ => {}
        }
        places.retain(|at| homes.contains(&at.pack));
        Ok(places)
    }

    /// Every place there is that holds a chunk.
    async fn places_of(&mut self, child: &Child) -> Result<Vec<Location>> {
        let index = match &self.index {
            Some(index) => Arc::clone(index),
            None => Arc::clone(self.index.insert(self.vault.index().await?)),
        };
        let mut places = index.find(&child.id)?;
        places.retain(|at| at.pack != child.at.pack);
        places.push(child.at);
        places.retain(|at| self.packs.contains_key(&at.pack));
        Ok(places)
    }
}
