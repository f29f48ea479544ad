//! What follows from jobs on snapshots: they are taken in, measured, deleted, brought back.
//!
//! | ended | deletion | what is to come back |
//! | --- | --- | --- |
//! | well | stays marked | live |
//! | failed | asked for again, every hour | deleted as before, and the vault is asked to say so |
//! | cancelled | comes back | deleted as before, and the vault is asked to say so |

use super::{SnapshotDetail, SnapshotRequest};
use crate::alerts::Trouble;
use crate::follow::FollowLater;
use crate::request::{Request, When};
use crate::{Control, Error, Result};
use api::Code;
use api::snapshots::{KeptSnapshot, MadeSnapshot, MeasuredSnapshot, SnapshotDisk, SnapshotUse};
use catalog::{JobRow, SnapshotRow};
use jiff::{SignedDuration, Timestamp};
use model::job::{JobKind, JobState};
use model::{MachineId, PointId, VaultId};
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// What failed for good is asked for again after this: whatever was wrong takes a person, who needs about so long.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Something else is under way for the snapshot: soon over.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

impl Control {
    /// Does what follows from a job on snapshots as it is stored.
    pub(crate) async fn follow_snapshot(&self, row: &JobRow, asked: &SnapshotRequest) -> Result<FollowLater> {
        let vault = row.vault.ok_or_else(|| Error::not_found("vault of the job"))?;
        match asked {
            SnapshotRequest::Take { .. } => {
                self.take_snapshots_in(row, vault).await?;
                self.tell_end(row, Trouble::SnapshotFailed, "the snapshot of").await?;
            }
            SnapshotRequest::Copy { to, .. } => {
                self.take_snapshots_in(row, *to).await?;
                self.tell_end(row, Trouble::SnapshotFailed, "copying the snapshot of").await?;
            }
            SnapshotRequest::Measure {} => self.note_measures(row).await?,
            SnapshotRequest::Delete { point, purge_at } => {
                return self.follow_delete(row, *point, *purge_at).await;
            }
            SnapshotRequest::Undelete { point, was } => return self.follow_undelete(row, *point, *was).await,
            SnapshotRequest::Export { .. } | SnapshotRequest::Compare { .. } => {}
        }
        Ok(None)
    }

    async fn take_snapshots_in(&self, row: &JobRow, vault: VaultId) -> Result<()> {
        for one in told::<MadeSnapshot>(row, "snapshots") {
            // A host whose clock is wrong must not make a new snapshot look newer than now.
            let taken = one.made.taken.min(self.now());
            let machine = one.kept.machine.unwrap_or(MachineId(Uuid::nil()));
            self.add_snapshot(vault, (machine, taken), &one, None).await?;
        }
        Ok(())
    }

    /// Notes a snapshot that a vault has.
    pub(crate) async fn add_snapshot(
        &self,
        vault: VaultId,
        (machine, taken): (MachineId, Timestamp),
        one: &MadeSnapshot,
        purge_at: Option<Timestamp>,
    ) -> Result<()> {
        let MadeSnapshot { made, kept, machine_name } = one;
        let KeptSnapshot { name, set, copy_of, .. } = kept.clone();
        let disk = |disk: &api::PointDisk| SnapshotDisk { name: disk.name.clone(), bytes: disk.bytes };
        let detail = SnapshotDetail {
            machine_name: machine_name.clone(),
            set,
            consistency: made.consistency.clone(),
            evidence: made.evidence.clone(),
            disks: made.disks.iter().map(disk).collect(),
            stored_bytes: made.stored_bytes,
            used: None,
            copy_of,
        };
        let disks: Vec<String> = made.disks.iter().map(|disk| disk.name.clone()).collect();
        let new = SnapshotRow {
            id: made.point,
            vault,
            machine,
            name,
            taken,
            purge_at,
            measured: None,
            document: detail.to_value(),
            revision: 1,
        };
        Ok(self.catalog.add_snapshot(&new, &disks).await?)
    }

    async fn note_measures(&self, row: &JobRow) -> Result<()> {
        let measured = row.ended.unwrap_or(self.now());
        let mut said = Vec::new();
        for one in told::<MeasuredSnapshot>(row, "measured") {
            let MeasuredSnapshot { point, unique_bytes, shared_bytes } = one;
            let found = match self.catalog.snapshot(point).await {
                Err(error) if error.kind() == catalog::ErrorKind::NotFound => continue,
                found => found?,
            };
            let used = Some(SnapshotUse { unique_bytes, shared_bytes, measured });
            said.push((point, SnapshotDetail { used, ..SnapshotDetail::of(&found) }.to_value()));
        }
        Ok(self.catalog.measure_snapshots(&said, measured).await?)
    }

    async fn follow_delete(&self, row: &JobRow, point: PointId, purge_at: Timestamp) -> Result<FollowLater> {
        if row.follow_at.is_none() {
            self.tell_end(row, Trouble::DeletionFailed, "deleting the snapshot of").await?;
        }
        match row.job.state {
            JobState::Failed => {
                let at = row.ended.unwrap_or(self.now()) + ASK_AGAIN;
                if self.now() < at {
                    return Ok(Some(at));
                }
                self.ask_for(row, point, SnapshotRequest::Delete { point, purge_at }).await
            }
            JobState::Cancelled => {
                self.mark_anew(point, None).await?;
                self.ask_for(row, point, SnapshotRequest::Undelete { point, was: purge_at }).await
            }
            _ => Ok(None),
        }
    }

    async fn follow_undelete(&self, row: &JobRow, point: PointId, was: Timestamp) -> Result<FollowLater> {
        if row.follow_at.is_none() {
            self.tell_end(row, Trouble::DeletionFailed, "bringing back the snapshot of").await?;
        }
        match row.job.state {
            JobState::Failed | JobState::Cancelled => {
                self.mark_anew(point, Some(was)).await?;
                self.ask_for(row, point, SnapshotRequest::Delete { point, purge_at: was }).await
            }
            _ => Ok(None),
        }
    }

    /// Says what is wanted of a snapshot. Whoever has changed it meanwhile has asked for another job, which says more.
    async fn mark_anew(&self, point: PointId, purge_at: Option<Timestamp>) -> Result<()> {
        let row = self.catalog.snapshot(point).await?;
        match self.catalog.mark_snapshot(&row, purge_at).await {
            Err(error) if error.kind() == catalog::ErrorKind::Changed => Ok(()),
            marked => Ok(marked.map(drop)?),
        }
    }

    async fn ask_for(&self, row: &JobRow, point: PointId, asked: SnapshotRequest) -> Result<FollowLater> {
        let (now, vault) = (self.now(), self.vault_of(row).await?.id);
        let when = When { ready: now, slot: None };
        match self.queue(vault, point.0, &Request::Snapshot(asked), when).await {
            Err(error) if error.code() == Code::Conflict => Ok(Some(now + LOOK_AGAIN)),
            queued => queued.map(|_| None),
        }
    }

    /// Points of a collection that are there no more may be snapshots.
    pub(crate) async fn forget_snapshots(&self, gone: impl IntoIterator<Item = PointId>) -> Result<()> {
        for point in gone {
            self.catalog.remove_snapshot(point).await?;
        }
        Ok(())
    }

    /// Has the snapshots of each vault that has some measured once a day.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_snapshots(&self, now: Timestamp) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            let moment = crate::collect::last_moment(vault.id, now).filter(|moment| vault.created <= *moment);
            let Some(ready) = moment else { continue };
            let (slot, subject) = (ready.to_string(), vault.id.to_string());
            let had = self.catalog.job_of_slot(&subject, JobKind::MeasureSnapshots, &slot).await?.is_some();
            if had || self.catalog.snapshots_in(vault.id).await? == 0 {
                continue;
            }
            let request = Request::Snapshot(SnapshotRequest::Measure {});
            match self.queue(vault.id, vault.id.0, &request, When { ready, slot: Some(slot) }).await {
                // Another server was quicker, or somebody has just asked for it.
                Err(error) if error.code() == Code::Conflict => {}
                queued => drop(queued?),
            }
        }
        Ok(())
    }
}

/// A list in a job's result. What a newer mover says that cannot be read is left out.
fn told<T: DeserializeOwned>(row: &JobRow, list: &str) -> Vec<T> {
    let list = row.result.as_ref().and_then(|result| result.get(list)).and_then(|list| list.as_array());
    list.into_iter().flatten().filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
}
