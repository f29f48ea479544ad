//! Marking: which places of which packs the points need. Each shared node is walked once.
//!
//! Memory is bits (`live.rs`), and of nodes those under way: depth first, so that what waits is a path of them.

use super::ledger::Ledger;
use super::live::Live;
use super::open::{Closed, Opened, open};
use crate::index::{Index, Location};
use crate::log::Told;
use crate::map::{Child, NODE_SEALED_BYTES_MIN, SLOTS, root_level};
use crate::protocol::{Rules, State, View};
use crate::vault::Vault;
use crate::{Error, MachineKey, PackId, PackKind, PointId, Result};
use futures_util::stream::{self, FuturesOrdered, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// How often the index is read before it is said that a chunk has no home elsewhere.
const LOOKS_MAX: u32 = 2;
/// Points read at once.
const READS_MAX: usize = 16;
/// Nodes opened together: those of one node above.
const NODES_AT_ONCE: usize = SLOTS;
/// So many times that many are read and opened while others are marked: enough for all cores of a large machine, and
/// for the latency of a distant store. 5 MiB.
const OPENING_MAX: usize = 8;
/// Children that wait for the index, before no more nodes are opened: 2 MiB, and as much again of nodes under way.
const UNSETTLED_MAX: usize = 1 << 15;

/// What a node or a point names: a chunk, or a node at a level.
type Named = (Child, Option<u8>);

/// Finds the places that points need.
pub(super) struct Marker<'a> {
    vault: &'a Vault,
    state: State,
    packs: BTreeMap<PackId, u64>,
    intended: BTreeSet<PackId>,
    index: Option<Arc<Index>>,
    points: HashSet<PointId>,
    live: BTreeMap<PackId, Live>,
    /// Packs that hints were followed into.
    plain: BTreeSet<PackId>,
    /// Packs whose copies were taken for chunks elsewhere.
    homes: BTreeSet<PackId>,
    /// Whether something was marked only for want of better: that holds for as long as nothing changes.
    doubtful: bool,
    /// How often the index was read since the last change.
    looks: u32,
    /// Is told of all that is marked, if somebody keeps one.
    ledger: Option<Ledger>,
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
            plain: BTreeSet::new(),
            homes: BTreeSet::new(),
            doubtful: false,
            looks: 0,
            ledger: None,
        }
    }

    /// Has a ledger be told of all that is marked from now on.
    pub(super) fn keep_ledger(&mut self, ledger: Ledger) {
        self.ledger = Some(ledger);
    }

    /// Gives the ledger back.
    pub(super) fn take_ledger(&mut self) -> Ledger {
        self.ledger.take().expect("it was given before")
    }

    pub(super) fn vault(&self) -> &'a Vault {
        self.vault
    }

    /// Whether any point that was marked needs something in this pack.
    pub(super) fn refers_to(&self, pack: &PackId) -> bool {
        self.live.contains_key(pack)
    }

    /// The number of points that are marked.
    #[cfg(test)]
    pub(super) fn points(&self) -> usize {
        self.points.len()
    }

    /// All packs that points need.
    pub(super) fn referred(&self) -> BTreeSet<PackId> {
        self.live.keys().copied().collect()
    }

    /// What is needed in a pack.
    pub(super) fn live_in(&self, pack: &PackId) -> Option<&Live> {
        self.live.get(pack)
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

    /// Takes into account that this collector has moved all that is needed in some packs: they are retired now, and
    /// what was copied has its homes where the copies lie.
    ///
    /// INVARIANT: this is what marking anew would come to, or more.
    /// - Whatever was marked in an emptied pack has a copy in `homes`: the caller has compared. It was marked because a
    ///   hint led there, or for being a home; the pack is retired, so neither holds any longer, and any copy in a pack
    ///   that is a home will do (`protocol/home.rs`). That the new packs are homes is asked at every look, as of any.
    /// - What was marked for want of better is kept only while nothing changes, and the log has changed: if there was
    ///   any, the next look begins anew.
    /// - A node was copied as it is. What it names was marked when it was walked where it lay: it is not walked again.
    pub(super) fn follow(&mut self, emptied: &BTreeSet<PackId>, homes: BTreeMap<PackId, Live>) {
        self.live.retain(|pack, _| !emptied.contains(pack));
        self.plain.retain(|pack| !emptied.contains(pack));
        self.homes.retain(|pack| !emptied.contains(pack));
        self.homes.extend(homes.keys());
        self.live.extend(homes);
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        self.points.clear();
        self.live.clear();
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

    /// Marks what these points refer to, but for those that nobody keeps any more.
    pub(super) async fn mark_each(
        &mut self,
        told: &Told,
        mut objects: Vec<(MachineKey, PointId)>,
    ) -> Result<()> {
        loop {
            let is_new = |(_, id): &&(MachineKey, PointId)| !self.points.contains(id);
            let new: Vec<_> = objects.iter().filter(is_new).cloned().collect();
            let Err(error) = self.mark_points(&new).await else {
                self.points.extend(new.into_iter().map(|(_, id)| id));
                return Ok(());
            };
            // Another collector purged one, or its writer gave it up, while it was walked. Nodes are marked whose
            // children are not: nothing that shares them could be marked now.
            self.forget();
            let all = objects.len();
            self.drop_gone(told, &mut objects).await?;
            if objects.len() == all {
                return Err(error);
            }
        }
    }

    /// Drops points that neither the log keeps nor the store has.
    async fn drop_gone(&self, told: &Told, objects: &mut Vec<(MachineKey, PointId)>) -> Result<()> {
        let state = self.vault.read_log(told.clone()).await?.state;
        let there = self.vault.point_objects(None).await?;
        let there: BTreeSet<PointId> = there.into_iter().map(|(_, id)| id).collect();
        objects.retain(|(_, id)| state.is_root(id) || there.contains(id));
        Ok(())
    }

    async fn mark_points(&mut self, objects: &[(MachineKey, PointId)]) -> Result<()> {
        let vault = self.vault;
        let roots_of = |(machine, id): (MachineKey, PointId)| async move {
            let point = vault.point(&machine, id).await?;
            let maps = point.disks.into_iter().map(|disk| disk.map);
            let root = |map: crate::DiskMap| Some((map.root?, Some(root_level(map.size))));
            let named = maps.filter_map(root).map(|(root, level)| Ok((Child::try_from(&root)?, level)));
            named.collect::<Result<Vec<_>>>()
        };
        let roots = stream::iter(objects.to_vec()).map(roots_of).buffered(READS_MAX);
        let roots: Vec<Vec<Named>> = roots.try_collect().await?;
        self.walk(roots.into_iter().flatten().collect()).await
    }

    /// Marks nodes and all that they lead to.
    ///
    /// INVARIANT: nothing else is awaited while nodes are being opened: what is not polled may hold what that needs.
    /// Where a child lies is therefore asked of the index only between.
    async fn walk(&mut self, mut unsettled: Vec<Named>) -> Result<()> {
        let vault = self.vault;
        let mut waiting: Vec<Closed> = Vec::new();
        let mut opening = FuturesOrdered::new();
        loop {
            while opening.len() < OPENING_MAX && unsettled.len() < UNSETTLED_MAX && !waiting.is_empty() {
                let nodes = waiting.split_off(waiting.len().saturating_sub(NODES_AT_ONCE));
                opening.push_back(open(vault, nodes));
            }
            match opening.next().await.transpose()? {
                Some(nodes) => {
                    for node in nodes {
                        self.mark_children(&node, &mut waiting, &mut unsettled)?;
                    }
                }
                None if unsettled.is_empty() => return Ok(()),
                None => {
                    for (child, level) in std::mem::take(&mut unsettled) {
                        for at in self.homes_of(&child).await? {
                            // Walked by place: copies of one node may hold different hints.
                            self.mark(at.pack, &[Child { at, ..child }], level, &mut waiting)?;
                        }
                    }
                }
            }
        }
    }

    /// Marks what a node names, if its hints can be followed.
    fn mark_children(
        &mut self,
        node: &Opened,
        waiting: &mut Vec<Closed>,
        unsettled: &mut Vec<Named>,
    ) -> Result<()> {
        let level = node.level.checked_sub(1);
        for near in node.children.chunk_by(|a, b| a.at.pack == b.at.pack) {
            let pack = near[0].at.pack;
            if self.follows(&pack) {
                self.mark(pack, near, level, waiting)?;
            } else {
                unsettled.extend(near.iter().map(|child| (*child, level)));
            }
        }
        Ok(())
    }

    /// Notes places in a pack; nodes that were not noted before are to be opened.
    fn mark(
        &mut self,
        pack: PackId,
        children: &[Child],
        level: Option<u8>,
        waiting: &mut Vec<Closed>,
    ) -> Result<()> {
        let size = self.packs.get(&pack).copied().unwrap_or(0);
        if let Some(ledger) = &mut self.ledger {
            ledger.note(pack, children);
        }
        let live = self.live.entry(pack).or_default();
        for child in children {
            let at = &child.at;
            let end = u64::from(at.offset) + u64::from(at.length);
            if end > size || (pack.kind == PackKind::Map && at.length < NODE_SEALED_BYTES_MIN) {
                return Err(Error::corrupt(pack, end, "a map names a place that the pack does not have"));
            }
            if live.add(at) {
                waiting.extend(level.map(|level| Closed { child: *child, level }));
            }
        }
        Ok(())
    }

    /// Whether hints into a pack are followed without looking further.
    fn follows(&mut self, pack: &PackId) -> bool {
        if self.plain.contains(pack) {
            return true;
        }
        let view = View { state: &self.state, intended: &self.intended };
        let follows = self.packs.contains_key(pack) && view.is_plain(pack, Rules::ALL);
        if follows {
            self.plain.insert(*pack);
        }
        follows
    }

    /// The places that must be kept for a chunk or node.
    async fn homes_of(&mut self, child: &Child) -> Result<Vec<Location>> {
        let hint = child.at.pack;
        if self.follows(&hint) {
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
