//! What points take up: what each alone holds, and would give back, and what it shares with others.
//!
//! Every shared node is walked twice at most: when it is first met, and when a second point turns out to need it.
//!
//! ```text
//! first meeting      the node, and the places it names, are its point's
//! another point      the node and all beneath are shared: their places are marked as needed twice
//! at the end         of the nodes that stayed one point's: the places that nobody else needs are its own
//! ```
//! Memory is two bits a place (`collect/live.rs`), 50 bytes a node, and 50 a chunk of under 4 KiB: 64 MiB and 13 MiB for
//! each TiB of stored data.
//! Chunks that were moved are known by the places that maps name, so after a compaction a point that names the new
//! place and one that names the old count as if each had its own.

use crate::collect::Live;
use crate::index::Location;
use crate::map::{Child, root_level};
use crate::protocol::PointState;
use crate::vault::Vault;
use crate::{ChunkId, PackId, Point, PointId, Result};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What a point takes up in its store, in sealed bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// What no other point needs: purging this one gives so much back.
    pub unique_bytes: u64,
    /// What others need too. A chunk that its disks hold several times counts as often.
    pub shared_bytes: u64,
}

/// The point whose a node is; or nobody's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Of(usize),
    Shared,
}

/// What is known of a node.
#[derive(Clone, Copy)]
struct Known {
    whose: Whose,
    /// Sealed bytes of it and all beneath.
    bytes: u64,
}

/// Places in packs, each by itself: chunks so short that two share a bit are few, and stand in a set.
#[derive(Default)]
struct Places {
    bits: BTreeMap<PackId, Live>,
    short: HashSet<(PackId, u32)>,
}

impl Places {
    /// Notes a place; `false` if it was noted already.
    fn add(&mut self, at: &Location) -> bool {
        match Live::is_exact(at) {
            true => self.bits.entry(at.pack).or_default().add(at),
            false => self.short.insert((at.pack, at.offset)),
        }
    }

    fn has(&self, at: &Location) -> bool {
        match Live::is_exact(at) {
            true => self.bits.get(&at.pack).is_some_and(|live| live.has(at)),
            false => self.short.contains(&(at.pack, at.offset)),
        }
    }
}

/// A walk over the maps of all points, one after the other.
struct Walk<'a> {
    vault: &'a Vault,
    nodes: HashMap<ChunkId, Known>,
    /// Places that a point needs, and those that several do.
    once: Places,
    twice: Places,
    /// The point whose turn it is, and what was noted for it.
    turn: usize,
    own: Places,
}

impl Vault {
    /// What each of these points takes up among all points of the vault, deleted ones that can be had back included:
    /// they hold what they hold until they are purged. Points that are not there are left out.
    ///
    /// Reads the maps of all points, no data.
    pub async fn used(&self, of: &BTreeSet<PointId>) -> Result<Vec<(PointId, Used)>> {
        let mut points = self.survey_in(None, PointState::Live).await?.points;
        points.extend(self.survey_in(None, PointState::SoftDeleted).await?.points);
        let mut walk = Walk::new(self);
        let mut totals = Vec::with_capacity(points.len());
        for (turn, point) in points.iter().enumerate() {
            (walk.turn, walk.own) = (turn, Places::default());
            let mut bytes = 0;
            for (root, level) in roots(point)? {
                bytes += walk.meet(root, level).await?;
            }
            totals.push(bytes);
        }
        let mut used = Vec::with_capacity(of.len());
        for (turn, point) in points.iter().enumerate().filter(|(_, point)| of.contains(&point.id)) {
            (walk.turn, walk.own) = (turn, Places::default());
            let mut unique_bytes = 0;
            for (root, level) in roots(point)? {
                unique_bytes += walk.alone(root, level).await?;
            }
            let shared_bytes = totals[turn].saturating_sub(unique_bytes);
            used.push((point.id, Used { unique_bytes, shared_bytes }));
        }
        Ok(used)
    }
}

/// The roots of a point's maps, with their levels.
fn roots(point: &Point) -> Result<Vec<(Child, u8)>> {
    let maps = point.disks.iter().map(|disk| &disk.map);
    let rooted = maps.filter_map(|map| Some((map.root.as_ref()?, root_level(map.size))));
    rooted.map(|(root, level)| Ok((Child::try_from(root)?, level))).collect()
}

impl<'a> Walk<'a> {
    fn new(vault: &'a Vault) -> Self {
        let (once, twice, own) = Default::default();
        Self { vault, nodes: HashMap::new(), once, twice, turn: 0, own }
    }

    fn note(&mut self, at: &Location) {
        if self.own.add(at) && !self.once.add(at) {
            self.twice.add(at);
        }
    }

    /// Takes a subtree of the point whose turn it is into account. Gives its bytes.
    fn meet(&mut self, node: Child, level: u8) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            if let Some(known) = self.nodes.get(&node.id).copied() {
                if known.whose != Whose::Shared && known.whose != Whose::Of(self.turn) {
                    self.share(node, level).await?;
                }
                return Ok(known.bytes);
            }
            self.note(&node.at);
            let mut bytes = u64::from(node.at.length);
            let read = self.vault.read_node(&node, level).await?;
            for child in read.slots.iter().flatten() {
                if level == 0 {
                    self.note(&child.at);
                    bytes += u64::from(child.at.length);
                } else {
                    bytes += self.meet(*child, level - 1).await?;
                }
            }
            self.nodes.insert(node.id, Known { whose: Whose::Of(self.turn), bytes });
            Ok(bytes)
        })
    }

    /// Says of a subtree that was met before that several points need it.
    fn share(&mut self, node: Child, level: u8) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(known) = self.nodes.get_mut(&node.id) {
                known.whose = Whose::Shared;
            }
            self.twice.add(&node.at);
            let read = self.vault.read_node(&node, level).await?;
            for child in read.slots.iter().flatten() {
                let is_known = |known: &Known| known.whose == Whose::Shared;
                if level == 0 {
                    self.twice.add(&child.at);
                } else if !self.nodes.get(&child.id).is_some_and(is_known) {
                    self.share(*child, level - 1).await?;
                }
            }
            Ok(())
        })
    }

    /// The bytes beneath that nobody but the point whose turn it is needs.
    fn alone(&mut self, node: Child, level: u8) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            if self.nodes.get(&node.id).map(|known| known.whose) != Some(Whose::Of(self.turn)) {
                return Ok(0);
            }
            let mut bytes = self.count(&node.at);
            let read = self.vault.read_node(&node, level).await?;
            for child in read.slots.iter().flatten() {
                bytes += match level {
                    0 => self.count(&child.at),
                    _ => self.alone(*child, level - 1).await?,
                };
            }
            Ok(bytes)
        })
    }

    /// A place's bytes, if nobody else needs it and it was not counted yet.
    fn count(&mut self, at: &Location) -> u64 {
        if !self.twice.has(at) && self.own.add(at) { at.length.into() } else { 0 }
    }
}
