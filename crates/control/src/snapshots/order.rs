//! What movers are told to do with snapshots, settled at the moment of the claim; and which mover.

use super::{SnapshotDetail, SnapshotRequest};
use crate::machines::OWN_MOVER;
use crate::order::{Ordered, Prepared};
use crate::request::{When, settings};
use crate::{Control, Error, Result};
use api::snapshots::{KeptSnapshot, MEASURED_MAX, SnapshotMember, SnapshotWork};
use api::work::{AssignedHost, ServicePromise, Work};
use catalog::{Host, JobRow, NewJob, VaultRow};
use model::{JobId, MachineId, PointId, VaultId};
use uuid::Uuid;

impl Control {
    /// A job on snapshots, with the mover that is to do it.
    pub(crate) async fn snapshot_job(
        &self,
        vault: &VaultRow,
        subject: Uuid,
        (asked, request): (&SnapshotRequest, serde_json::Value),
        when: When,
    ) -> Result<NewJob> {
        let (name, host) = self.of_snapshot_job(vault, asked).await?;
        let other = match asked {
            SnapshotRequest::Copy { to, .. } => Some(self.catalog.vault(*to).await?),
            _ => None,
        };
        // A directory is reached by the mover within the server.
        let is_directory = |vault: &VaultRow| !vault.location.contains("://");
        let of_vaults = || [Some(vault), other.as_ref()].into_iter().flatten().any(is_directory);
        let mover = match asked {
            SnapshotRequest::Take { .. } => host.as_ref().map(|host| host.mover.clone()),
            // A file is to be where somebody looks for it.
            SnapshotRequest::Export { mover, .. } => mover.clone().or_else(|| Some(OWN_MOVER.to_owned())),
            _ => of_vaults().then(|| OWN_MOVER.to_owned()),
        };
        Ok(NewJob {
            id: JobId(self.draw()),
            kind: asked.kind(),
            vault: Some(vault.id),
            subject: subject.to_string(),
            name,
            mover,
            host: host.map(|host| host.id),
            request,
            ready: when.ready,
            slot: when.slot,
            asked_by: None,
        })
    }

    /// What people call what a job works on, and the host of its machine.
    async fn of_snapshot_job(
        &self,
        vault: &VaultRow,
        asked: &SnapshotRequest,
    ) -> Result<(String, Option<Host>)> {
        let point = match asked {
            SnapshotRequest::Take { machines, .. } => {
                let (first, host) = self.machine_and_host(machines[0].0).await?;
                let more = machines.len() - 1;
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                return Ok((format!("{}{more}", first.name), Some(host)));
            }
            SnapshotRequest::Measure {} => return Ok((vault.name.clone(), None)),
            SnapshotRequest::Export { point, .. }
            | SnapshotRequest::Copy { point, .. }
            | SnapshotRequest::Delete { point, .. }
            | SnapshotRequest::Undelete { point, .. }
            | SnapshotRequest::Compare { new: point, .. } => *point,
        };
        let row = self.catalog.snapshot(point).await?;
        let of = SnapshotDetail::of(&row).machine_name;
        Ok((if row.name.is_empty() { of } else { format!("{of} ({})", row.name) }, None))
    }

    /// What a claimed job comes to.
    pub(crate) async fn snapshot_work(
        &self,
        row: &JobRow,
        asked: SnapshotRequest,
        ordered: Ordered,
    ) -> Result<Prepared> {
        let vault = self.vault_of(row).await?;
        let work = match asked {
            SnapshotRequest::Take { machines, name, consistency } => {
                let (mut members, set) = (Vec::new(), (machines.len() > 1).then(|| self.draw()));
                for (id, disks) in machines {
                    let (machine, _) = self.machine_and_host(id).await?;
                    // Others may have been made since somebody asked.
                    if let Some(full) = self.full_disk(vault.id, &machine, &disks).await? {
                        return Ok(Prepared::Unwanted(full));
                    }
                    members.push(self.snapshot_member((row, &vault), (id, disks), &name, set).await?);
                }
                SnapshotWork::Take { members, consistency }
            }
            SnapshotRequest::Export { point, disk, path, format, .. } => {
                SnapshotWork::Export { point, disk, path, format }
            }
            SnapshotRequest::Copy { point, to } => self.snapshot_copy_work(row, point, to).await?,
            SnapshotRequest::Compare { old, new, disk, from } => {
                SnapshotWork::Compare { old, new, disk, from }
            }
            SnapshotRequest::Measure {} => {
                let points = self.catalog.snapshots_to_measure(vault.id, MEASURED_MAX).await?;
                if points.is_empty() {
                    return Ok(Prepared::Done);
                }
                SnapshotWork::Measure { points }
            }
            SnapshotRequest::Delete { point, .. } => return self.delete_work(point, true, ordered).await,
            SnapshotRequest::Undelete { point, .. } => return self.delete_work(point, false, ordered).await,
        };
        Ok(Prepared::Work(Box::new(Work::Snapshot(Box::new(work))), ordered))
    }

    async fn snapshot_member(
        &self,
        (row, vault): (&JobRow, &VaultRow),
        (id, disks): (MachineId, Vec<String>),
        name: &str,
        set: Option<Uuid>,
    ) -> Result<SnapshotMember> {
        let (machine, host) = self.machine_and_host(id).await?;
        let kept = KeptSnapshot {
            version: 1,
            job: Some(row.id),
            machine: Some(id),
            name: name.to_owned(),
            set,
            copy_of: None,
            promised: Some(promised(vault)?),
        };
        Ok(SnapshotMember {
            machine: id,
            host: AssignedHost { id: host.id, address: host.address },
            known_as: machine.known_as,
            name: machine.name,
            disks,
            kept,
        })
    }

    async fn snapshot_copy_work(&self, row: &JobRow, point: PointId, to: VaultId) -> Result<SnapshotWork> {
        let of = self.catalog.snapshot(point).await?;
        let vault = self.catalog.vault(to).await?;
        let kept = KeptSnapshot {
            version: 1,
            job: Some(row.id),
            machine: Some(of.machine),
            name: of.name.clone(),
            set: SnapshotDetail::of(&of).set,
            copy_of: Some(point),
            promised: Some(promised(&vault)?),
        };
        Ok(SnapshotWork::Copy { point, to: self.access_to(vault).await?, kept })
    }

    /// Deletes a snapshot, or brings it back, if that is still wanted.
    async fn delete_work(&self, point: PointId, delete: bool, ordered: Ordered) -> Result<Prepared> {
        let row = self.catalog.snapshot(point).await.map_err(|error| Error::missing(error, "snapshot"))?;
        if row.purge_at.is_some() != delete {
            return Ok(Prepared::Done);
        }
        let (item, points) = (row.machine.0, vec![point]);
        let work = match delete {
            true => Work::DeletePoints { item, points, snapshots: Vec::new(), archive: None },
            false => Work::UndeletePoints { item, points, snapshots: Vec::new(), archive: None },
        };
        Ok(Prepared::Work(Box::new(work), Ordered { points: vec![point], ..ordered }))
    }
}

fn promised(vault: &VaultRow) -> Result<ServicePromise> {
    let settings = settings(vault)?;
    Ok(ServicePromise { soft_delete_days: settings.soft_delete_days, immutable: settings.immutable })
}
