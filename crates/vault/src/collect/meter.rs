//! Metering: whose the stored bytes are. What several machines need is divided among them, each chunk by itself, so that
//! all parts together, with what is nobody's, are exactly what the store holds.
//!
//! It follows the same places as a collection does, machine by machine, and changes nothing. Points that were deleted
//! and can be had back count for their machines: what they need is stored.

use super::ledger::{ENTRIES_MAX, Ledger};
use super::mark::Marker;
use crate::log::Told;
use crate::map::{block_count, leaves};
use crate::protocol::PointState;
use crate::vault::{Vault, parse_point};
use crate::{CHUNK_BYTES, Error, ErrorKind, MachineKey, PackId, PointId, Result};
use std::collections::{BTreeMap, HashSet};

/// How often a store is metered while others change what is looked at.
const LOOKS_MAX: u32 = 3;
/// Blocks whose leaves are held at once: 4,096 leaves, 20 MiB.
const BLOCKS_AT_ONCE: u64 = 1 << 18;

/// Whose the bytes of a store are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// Bytes of all objects. Equal to all that follows together.
    pub stored_bytes: u64,
    /// The part of each machine that has points, by machine.
    pub machines: Vec<MachineUse>,
    /// In packs, and needed by no machine: what the next collections free, heads of packs, and what was written while
    /// this was measured.
    pub unreferenced_bytes: u64,
    /// The index: a cache of where chunks lie.
    pub index_bytes: u64,
    /// The log, its checkpoints, keyrings, and whatever else is no machine's.
    pub other_bytes: u64,
}

/// A machine's part of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineUse {
    /// The machine.
    pub machine: MachineKey,
    /// Its points, without those that are deleted.
    pub points: u64,
    /// Its part of what is stored: all that it alone needs, and a share of what others need too.
    pub share_bytes: u64,
    /// What it alone needs: so much a collection frees once its points are gone.
    pub alone_bytes: u64,
    /// What its disks hold in its newest point, in whole blocks of 64 KiB that are not zero.
    pub used_bytes: u64,
}

/// The points' objects of a machine, and their bytes.
#[derive(Default)]
struct Owned {
    roots: Vec<(MachineKey, PointId)>,
    live: Vec<PointId>,
    object_bytes: u64,
}

impl Vault {
    /// Measures whose the stored bytes are.
    ///
    /// # Errors
    /// Damage in the maps of points; else the store's.
    pub async fn meter(&self) -> Result<Metered> {
        self.meter_within(ENTRIES_MAX).await
    }

    pub(super) async fn meter_within(&self, entries_max: usize) -> Result<Metered> {
        for _ in 1..LOOKS_MAX {
            let told = self.read_log(Told::default()).await?;
            match self.meter_once(&told, entries_max).await {
                Err(error) if self.is_moving(&error, told).await? => {}
                other => return other,
            }
        }
        let told = self.read_log(Told::default()).await?;
        self.meter_once(&told, entries_max).await
    }

    async fn meter_once(&self, told: &Told, entries_max: usize) -> Result<Metered> {
        let objects = self.store().list("").await?;
        let packs = objects.iter().filter_map(|(name, size)| Some((PackId::from_object(name)?, *size)));
        let packs: BTreeMap<PackId, u64> = packs.collect();
        let owned = owned(told, &objects)?;
        let mut marker = Marker::new(self);
        marker.learn(told, &packs, self.read_intents(None).await?);
        let mut ledger = Ledger::new(owned.len(), entries_max);
        loop {
            ledger = self.walk_all(&mut marker, told, &owned, ledger).await?;
            ledger.share();
            ledger = self.walk_all(&mut marker, told, &owned, ledger).await?;
            if !ledger.next_round() {
                break;
            }
        }
        let given: u64 = ledger.parts().iter().map(|part| part.share).sum();
        let packed: u64 = packs.values().sum();
        let unreferenced_bytes = packed.checked_sub(given).ok_or_else(|| {
            Error::corrupt("maps", 0, format!("they name {given} bytes in packs of {packed}"))
        })?;
        let mut machines = Vec::with_capacity(owned.len());
        for ((machine, owned), part) in owned.iter().zip(ledger.parts()) {
            machines.push(MachineUse {
                machine: machine.clone(),
                points: owned.live.len() as u64,
                share_bytes: part.share + owned.object_bytes,
                alone_bytes: part.alone + owned.object_bytes,
                used_bytes: self.used_bytes(machine, &owned.live).await?,
            });
        }
        let stored_bytes: u64 = objects.iter().map(|(_, size)| size).sum();
        let index = objects.iter().filter(|(name, _)| name.starts_with("index/"));
        let index_bytes: u64 = index.map(|(_, size)| size).sum();
        let of_machines: u64 = machines.iter().map(|one| one.share_bytes).sum();
        let other_bytes = stored_bytes - of_machines - unreferenced_bytes - index_bytes;
        Ok(Metered { stored_bytes, machines, unreferenced_bytes, index_bytes, other_bytes })
    }

    /// Walks all that each machine's points need.
    async fn walk_all(
        &self,
        marker: &mut Marker<'_>,
        told: &Told,
        owned: &BTreeMap<MachineKey, Owned>,
        mut ledger: Ledger,
    ) -> Result<Ledger> {
        for (row, owned) in owned.values().enumerate() {
            ledger.of_machine(row);
            // What was marked for another machine must not keep this one from being seen.
            marker.forget();
            marker.keep_ledger(ledger);
            marker.mark_each(told, owned.roots.clone()).await?;
            ledger = marker.take_ledger();
        }
        marker.forget();
        Ok(ledger)
    }

    /// What a machine's disks hold in its newest point; nothing if it has none.
    async fn used_bytes(&self, machine: &MachineKey, points: &[PointId]) -> Result<u64> {
        // Ids sort by the time at which they were drawn.
        let Some(newest) = points.iter().max() else { return Ok(0) };
        let newest = match self.point(machine, *newest).await {
            // Deleted and collected since the listing.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            found => found?,
        };
        let mut blocks = 0;
        for disk in &newest.disks {
            let all = block_count(disk.map.size);
            let mut from = 0;
            while from < all {
                let until = all.min(from + BLOCKS_AT_ONCE);
                for (_, leaf) in leaves(self, &disk.map, from..until).await? {
                    blocks += leaf.slots.iter().flatten().count() as u64;
                }
                from = until;
            }
        }
        Ok(blocks * CHUNK_BYTES as u64)
    }
}

/// The points that are kept, by machine. Machines without any have no part.
fn owned(told: &Told, objects: &[(String, u64)]) -> Result<BTreeMap<MachineKey, Owned>> {
    let mut owned: BTreeMap<MachineKey, Owned> = BTreeMap::new();
    let mut seen = HashSet::new();
    for (name, size) in objects.iter().filter(|(name, _)| name.starts_with("points/")) {
        let (machine, id) = parse_point(name)?;
        if !told.state.is_root(&id) || !seen.insert(id) {
            continue;
        }
        let one = owned.entry(machine.clone()).or_default();
        if told.state.points.get(&id) == Some(&PointState::Live) {
            one.live.push(id);
        }
        one.roots.push((machine, id));
        one.object_bytes += size;
    }
    for (name, size) in objects {
        let machine = name.strip_prefix("notes/").and_then(|rest| rest.split('/').next());
        if let Some(one) = machine.and_then(|key| owned.get_mut(&MachineKey::new(key).ok()?)) {
            one.object_bytes += size;
        }
    }
    Ok(owned)
}
