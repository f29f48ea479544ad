//! Snapshots: taken, listed, made into files, copied, compared, deleted. A snapshot is a point that no policy owns:
//! it stands in a table of its own, which retention does not read.
//!
//! `take.rs` asks for new ones; this file for all else; `order.rs` says what movers do, `follow.rs` what comes of it.

mod adopt;
mod follow;
mod order;
mod take;

use crate::faults::Faults;
use crate::points::PATH_MAX;
use crate::request::{Request, settings};
use crate::{Actor, Asker, Control, Error, Paging, Result};
use api::snapshots::{
    CompareSnapshots, CopySnapshot, ExportSnapshot, Snapshot, SnapshotDisk, SnapshotFormat, SnapshotUse,
};
use api::{Code, Page};
use catalog::{SnapshotFilter, SnapshotRow};
use jiff::{SignedDuration, Timestamp};
use model::access::Action;
use model::job::JobKind;
use model::policy::ConsistencyWish;
use model::{JobId, MachineId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// Where a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// In this vault.
    pub vault: VaultId,
    /// The snapshot.
    pub snapshot: PointId,
}

/// Which snapshots of a vault.
#[derive(Clone, Debug, Default)]
pub struct WhichSnapshots {
    /// Of this machine.
    pub machine: Option<MachineId>,
    /// Their names fit this: `*` is anything, `?` one character.
    pub name: Option<String>,
}

/// What a job is asked to do with snapshots; see `Request::Snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asked", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SnapshotRequest {
    /// Make some, at one instant.
    Take {
        /// Machines, and names of disks; none for all.
        machines: Vec<(MachineId, Vec<String>)>,
        /// May be empty.
        name: String,
        /// What to ask of the guests.
        consistency: ConsistencyWish,
    },
    /// Make a file of a disk.
    Export {
        /// The snapshot.
        point: PointId,
        /// Which disk; none: the only one.
        disk: Option<String>,
        /// An absolute path on the mover's host.
        path: String,
        /// What it is to be.
        format: SnapshotFormat,
        /// The mover that writes it.
        mover: Option<String>,
    },
    /// Copy it to another vault.
    Copy {
        /// The snapshot.
        point: PointId,
        /// The other vault.
        to: VaultId,
    },
    /// Tell what changed.
    Compare {
        /// The state before.
        old: PointId,
        /// The state after.
        new: PointId,
        /// Which disk; none: the only one.
        disk: Option<String>,
        /// From this offset on.
        from: u64,
    },
    /// Tell what those of a vault take up that were measured longest ago.
    Measure {},
    /// Delete it.
    Delete {
        /// The snapshot.
        point: PointId,
        /// Until when it can be brought back.
        purge_at: Timestamp,
    },
    /// Bring it back.
    Undelete {
        /// The snapshot.
        point: PointId,
        /// Until when it could be.
        was: Timestamp,
    },
}

impl SnapshotRequest {
    /// The kind of job that does it.
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Take { .. } => JobKind::Snapshot,
            Self::Export { .. } => JobKind::ExportSnapshot,
            Self::Copy { .. } => JobKind::CopySnapshot,
            Self::Compare { .. } => JobKind::CompareSnapshots,
            Self::Measure {} => JobKind::MeasureSnapshots,
            Self::Delete { .. } => JobKind::DeleteData,
            Self::Undelete { .. } => JobKind::Undelete,
        }
    }
}

/// The rest of a snapshot, as the catalog keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SnapshotDetail {
    pub(crate) machine_name: String,
    pub(crate) set: Option<Uuid>,
    pub(crate) consistency: String,
    pub(crate) evidence: Value,
    pub(crate) disks: Vec<SnapshotDisk>,
    pub(crate) stored_bytes: u64,
    pub(crate) used: Option<SnapshotUse>,
    pub(crate) copy_of: Option<PointId>,
}

impl SnapshotDetail {
    /// What a row says; what cannot be read is left out, for the vault has it.
    pub(crate) fn of(row: &SnapshotRow) -> Self {
        serde_json::from_value(row.document.clone()).unwrap_or_default()
    }

    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("plain data")
    }
}

impl Control {
    /// The snapshots of a vault, newest first; with those that were deleted and can be brought back.
    pub async fn snapshots(
        &self,
        vault: VaultId,
        which: &WhichSnapshots,
        paging: &Paging,
    ) -> Result<Page<Snapshot>> {
        let (after, limit) = paging.place_in_time()?;
        self.vault_row(vault).await?;
        let filter = SnapshotFilter { machine: which.machine, name: which.name.clone() };
        let page = self.catalog.snapshots(vault, &filter, after.as_ref(), limit).await?;
        let next = page.next.map(|next| next.to_string());
        Ok(Page { items: page.rows.iter().map(shown).collect(), next })
    }

    /// One snapshot.
    pub async fn snapshot(&self, place: SnapshotPlace) -> Result<Snapshot> {
        Ok(shown(&self.snapshot_row(place).await?))
    }

    /// Makes a file of a disk of a snapshot.
    pub async fn export_snapshot(
        &self,
        actor: &Actor,
        place: SnapshotPlace,
        wish: ExportSnapshot,
    ) -> Result<JobId> {
        let mut faults = Faults::default();
        faults.text("/path", &wish.path, PATH_MAX);
        if !wish.path.starts_with('/') {
            faults.add("/path", "must be an absolute path on the mover's host");
        }
        let row = self.snapshot_there(place).await?;
        check_disk(&row, wish.disk.as_deref(), &mut faults);
        faults.none()?;
        self.must_be_mover(wish.mover.as_deref()).await?;
        let detail =
            json!({ "vault": place.vault, "path": wish.path, "disk": wish.disk, "mover": wish.mover });
        self.audit(actor, "snapshot.export", &place.snapshot.to_string(), &detail).await?;
        let ExportSnapshot { path, format, disk, mover } = wish;
        let asked = SnapshotRequest::Export { point: place.snapshot, disk, path, format, mover };
        self.queue_for(actor, place.vault, place.snapshot.0, &Request::Snapshot(asked)).await
    }

    /// Copies a snapshot to another vault, in which the asker must be allowed to back up.
    pub async fn copy_snapshot(&self, by: &Asker, place: SnapshotPlace, wish: CopySnapshot) -> Result<JobId> {
        by.needs(Action::BackUp, Some(wish.to))?;
        self.snapshot_there(place).await?;
        let to = self.vault_row(wish.to).await?;
        if wish.to == place.vault {
            return Err(Error::invalid("/to", "must be another vault than the one that has it"));
        }
        let detail = json!({ "vault": place.vault, "to": wish.to, "name": to.name });
        self.audit(&by.actor, "snapshot.copy", &place.snapshot.to_string(), &detail).await?;
        let asked = SnapshotRequest::Copy { point: place.snapshot, to: wish.to };
        self.queue_for(&by.actor, place.vault, place.snapshot.0, &Request::Snapshot(asked)).await
    }

    /// Tells, in a job's result, what changed from another snapshot of the vault to this one.
    pub async fn compare_snapshots(
        &self,
        actor: &Actor,
        place: SnapshotPlace,
        wish: CompareSnapshots,
    ) -> Result<JobId> {
        let mut faults = Faults::default();
        let row = self.snapshot_there(place).await?;
        check_disk(&row, wish.disk.as_deref(), &mut faults);
        let since = self.snapshot_there(SnapshotPlace { snapshot: wish.since, ..place }).await?;
        if let Some(disk) = &wish.disk {
            check_disk(&since, Some(disk), &mut faults);
        }
        faults.none()?;
        let CompareSnapshots { since: old, disk, from } = wish;
        let asked = SnapshotRequest::Compare { old, new: place.snapshot, disk, from };
        self.queue_for(actor, place.vault, place.snapshot.0, &Request::Snapshot(asked)).await
    }

    /// Measures what a vault's snapshots take up: those that were measured longest ago.
    pub async fn measure_snapshots(&self, actor: &Actor, vault: VaultId) -> Result<JobId> {
        self.vault_row(vault).await?;
        self.queue_for(actor, vault, vault.0, &Request::Snapshot(SnapshotRequest::Measure {})).await
    }

    /// Deletes a snapshot such that it can be brought back.
    pub async fn delete_snapshot(&self, actor: &Actor, place: SnapshotPlace) -> Result<JobId> {
        let row = self.snapshot_there(place).await?;
        let settings = settings(&self.vault_row(place.vault).await?)?;
        if settings.immutable {
            let detail = "the vault is immutable: nothing may be lost sooner than promised";
            return Err(Error::new(Code::Locked, detail));
        }
        let lasts = SignedDuration::from_hours(24 * i64::from(settings.soft_delete_days));
        let purge_at = self.now().saturating_add(lasts).expect("a duration, not a span");
        let asked = SnapshotRequest::Delete { point: place.snapshot, purge_at };
        self.mark_and_queue(actor, &row, ("snapshot.delete", Some(purge_at)), asked).await
    }

    /// Brings a deleted snapshot back.
    pub async fn undelete_snapshot(&self, actor: &Actor, place: SnapshotPlace) -> Result<JobId> {
        let row = self.snapshot_row(place).await?;
        let was = match row.purge_at {
            None => return Err(Error::new(Code::Conflict, "the snapshot is not deleted")),
            Some(until) if until <= self.now() => {
                let detail = format!("the snapshot could be brought back until {until}");
                return Err(Error::new(Code::Conflict, detail));
            }
            Some(until) => until,
        };
        let asked = SnapshotRequest::Undelete { point: place.snapshot, was };
        self.mark_and_queue(actor, &row, ("snapshot.undelete", None), asked).await
    }

    /// Says what is wanted, and queues what makes it so. CRASH: in between it is marked and nothing makes it so: a
    /// snapshot that is marked and that the vault still lists is not purged, and deleting or bringing it back again
    /// does the rest.
    async fn mark_and_queue(
        &self,
        actor: &Actor,
        row: &SnapshotRow,
        (verb, purge_at): (&str, Option<Timestamp>),
        asked: SnapshotRequest,
    ) -> Result<JobId> {
        let detail = json!({ "vault": row.vault, "name": row.name, "machine": row.machine });
        self.audit(actor, verb, &row.id.to_string(), &detail).await?;
        let revision = self.catalog.mark_snapshot(row, purge_at).await?;
        let queued = self.queue_for(actor, row.vault, row.id.0, &Request::Snapshot(asked)).await;
        if queued.is_err() {
            let marked = SnapshotRow { revision, ..row.clone() };
            self.catalog.mark_snapshot(&marked, row.purge_at).await?;
        }
        queued
    }

    /// A snapshot of a vault that must be known.
    async fn snapshot_row(&self, place: SnapshotPlace) -> Result<SnapshotRow> {
        let missing = || format!("snapshot {} in the vault", place.snapshot);
        let row = self.catalog.snapshot(place.snapshot).await;
        let row = row.map_err(|error| Error::missing(error, missing()))?;
        if row.vault == place.vault { Ok(row) } else { Err(Error::not_found(missing())) }
    }

    /// One that was not deleted.
    async fn snapshot_there(&self, place: SnapshotPlace) -> Result<SnapshotRow> {
        let row = self.snapshot_row(place).await?;
        match row.purge_at {
            None => Ok(row),
            Some(until) => {
                let detail = format!("the snapshot is deleted, and can be brought back until {until}");
                Err(Error::new(Code::Conflict, detail)
                    .hint("bring it back first: `strongroom snapshot undelete`"))
            }
        }
    }
}

fn check_disk(row: &SnapshotRow, disk: Option<&str>, faults: &mut Faults) {
    let disks = SnapshotDetail::of(row).disks;
    let Some(wanted) = disk else { return };
    if !disks.iter().any(|disk| disk.name == wanted) {
        let names: Vec<_> = disks.iter().map(|disk| disk.name.as_str()).collect();
        faults.add("/disk", format!("must be a disk of the snapshot {}: {}", row.id, names.join(", ")));
    }
}

fn shown(row: &SnapshotRow) -> Snapshot {
    let detail = SnapshotDetail::of(row);
    Snapshot {
        id: row.id,
        vault: row.vault,
        name: row.name.clone(),
        set: detail.set,
        machine: row.machine,
        machine_name: detail.machine_name,
        taken: row.taken,
        consistency: detail.consistency,
        evidence: detail.evidence,
        provisioned_bytes: detail.disks.iter().map(|disk| disk.bytes).sum(),
        disks: detail.disks,
        stored_bytes: detail.stored_bytes,
        used: detail.used,
        copy_of: detail.copy_of,
        purge_at: row.purge_at,
    }
}
