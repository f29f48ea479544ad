//! Snapshots: points that no policy owns. They are made as any point is (`backup.rs`), kept under a name of their own,
//! and have a record of changes of their own, so that a snapshot neither shortens nor lengthens what a backup has to
//! read, and each snapshot reads only what changed since the one before.

use crate::error::{Doing, Result};
use crate::progress::Progress;
use crate::store_disk::store_disk;
use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, check_range, coalesce};
use futures_util::future::BoxFuture;
use hypervisor::DiskSelection;
use jiff::Timestamp;
use model::Owner;
use serde_json::Value;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use vault::{
    Base, DiskRecord, MachineKey, Point, PointDisk, PointDraft, PointId, Session, SessionId, Vault, VaultId,
};

/// Under what name the snapshots of a machine are kept; `machine` is its uuid, or its name where it has none.
///
/// # Errors
/// `Invalid` for a name that cannot stand there.
pub fn snapshot_key(machine: impl fmt::Display) -> vault::Result<MachineKey> {
    MachineKey::new(Owner::Snapshot.key(machine))
}

/// Whether a point is a snapshot.
pub fn is_snapshot(point: &Point) -> bool {
    Owner::of_key(point.machine.as_str()) == Owner::Snapshot
}

/// By what name records of changes are kept for points under that key. One chain of points has one record: a point of
/// another chain that took it over would leave the first with a gap.
pub(crate) fn records_of(vault: VaultId, key: &MachineKey) -> String {
    match Owner::of_key(key.as_str()) {
        Owner::Policy => vault.to_string(),
        Owner::Snapshot | Owner::Image => format!("{vault}-snapshots"),
    }
}

/// Whether a point is the better one to go on from, whatever is newer: a snapshot of some disks leaves the records of
/// the others as they were, and the newest that has all that are wished is the newest with records of all.
pub(crate) fn suits(point: &Point, wished: &DiskSelection) -> bool {
    match wished {
        DiskSelection::Include(names) if is_snapshot(point) => {
            names.iter().all(|name| point.disks.iter().any(|disk| disk.name == *name))
        }
        _ => false,
    }
}

/// A snapshot that is to be copied to another vault.
#[derive(Debug)]
pub struct SnapshotCopy<'a> {
    /// What is copied.
    pub point: &'a Point,
    /// An earlier point of its machine in the same vault, and the copy of that which the other vault has: what is the
    /// same in the first two is not read.
    pub base: Option<(Point, Point)>,
    /// The id of the copy: a fresh one.
    pub id: PointId,
    /// The other vault's session; never used before.
    pub session: SessionId,
    /// What a service wants to find again with the copy.
    pub service: Value,
    /// For people.
    pub now: Timestamp,
}

/// Copies a snapshot to another vault, of other keys: its blocks are opened here and sealed there. Only those are read
/// that differ from the base; only those are stored that the other vault has not, from whatever machine.
///
/// `gate` is asked once everything is read and before anything is committed.
///
/// CRASH: garbage in the other vault, which goes with its session.
///
/// # Errors
/// As [`Session::commit`].
pub async fn copy_snapshot(
    (from, to): (&Arc<Vault>, &Arc<Vault>),
    copy: SnapshotCopy<'_>,
    gate: BoxFuture<'_, ()>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Point> {
    let session = Session::begin(to, copy.session, copy.now).await.doing(|| "begin to write".into())?;
    let mut records = Vec::with_capacity(copy.point.disks.len());
    for record in &copy.point.disks {
        let doing = || format!("copy disk {}", record.name);
        let old = copy.base.as_ref().and_then(|(here, there)| {
            let of = |point: &'_ Point| point.disks.iter().find(|disk| disk.name == record.name).cloned();
            let (old, base) = (of(here)?, of(there)?);
            let fits = old.map.size == record.map.size && base.map.size == record.map.size;
            fits.then_some((old, base, there.id))
        });
        let ranges = match &old {
            Some((old, ..)) => Some(from.changed_ranges(&old.map, &record.map).await.doing(doing)?),
            None => None,
        };
        let tracking = if ranges.is_some() { "only changes" } else { "everything: no earlier copy" };
        let (name, size) = (record.name.clone(), record.map.size);
        progress(Progress::Disk { name: name.clone(), size, tracking: tracking.into() });
        let source = Changed { disk: PointDisk::new(Arc::clone(from), record.map.clone()), ranges };
        let base = old.as_ref().map(|(_, base, point)| Base { point: *point, map: &base.map });
        let advance = |bytes| progress(Progress::Advance(bytes));
        let (map, read_bytes) = store_disk(&session, &source, base, &advance).await.doing(doing)?;
        progress(Progress::DiskDone);
        records.push(DiskRecord { name, map, tracking: tracking.into(), read_bytes });
    }
    gate.await;
    let point = copy.point;
    let draft = PointDraft {
        id: copy.id,
        machine: point.machine.clone(),
        machine_name: point.machine_name.clone(),
        instant: point.instant,
        parent: copy.base.map(|(_, there)| there.id),
        consistency: point.consistency.clone(),
        description: point.description.clone(),
        service: copy.service,
    };
    session.commit(draft, records).await.doing(|| "commit the copy".into())
}

/// A disk of a point, of which only some ranges differ from an earlier one.
struct Changed {
    disk: PointDisk,
    /// What differs, in order; none: everything counts.
    ranges: Option<Vec<Range<u64>>>,
}

#[async_trait]
impl BlockSource for Changed {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        let Some(ranges) = &self.ranges else { return self.disk.extents(offset, length).await };
        check_range(self.size(), offset, length)?;
        let (mut at, end) = (offset, offset + length);
        let mut extents = Vec::new();
        let first = ranges.partition_point(|range| range.end <= offset);
        for range in ranges[first..].iter().take_while(|range| range.start < end) {
            let (from, to) = (range.start.max(at), range.end.min(end));
            if at < from {
                extents.push(Extent::new(at, from - at, ExtentKind::Unchanged));
            }
            extents.extend(self.disk.extents(from, to - from).await?);
            at = to;
        }
        if at < end {
            extents.push(Extent::new(at, end - at, ExtentKind::Unchanged));
        }
        Ok(coalesce(extents))
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        self.disk.read(offset, buffer).await
    }
}
