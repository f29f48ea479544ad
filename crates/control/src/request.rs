//! What a job is asked to do, as it is stored with the job; and the one way to queue one.

use crate::images::ImageRequest;
use crate::machines::OWN_MOVER;
use crate::restore::ReplaceRequest;
use crate::snapshots::SnapshotRequest;
use crate::{Actor, Control, Error, Result};
use api::{Code, DiskTarget, NewMachine, RestoreFormat, StopMachine, VaultSettings};
use catalog::{Host, NewJob, Queued, VaultRow};
use jiff::Timestamp;
use model::job::JobKind;
use model::policy::DrillOptions;
use model::{JobId, Origin, PointId, VaultId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a job is asked to do. Settled when it is queued: what a machine or a policy is by then does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Make a point of the item's machine.
    BackUp {
        /// Why.
        origin: Origin,
        /// Read everything.
        full: bool,
    },
    /// Write disks of a point as images.
    Restore {
        /// The point.
        point: PointId,
        /// An absolute path on the mover's host.
        folder: String,
        /// Names of disks; empty for all.
        disks: Vec<String>,
        /// What the images are to be.
        format: RestoreFormat,
        /// The mover that writes them; none: the one of the machine's host.
        mover: Option<String>,
        /// The machine that is to have them.
        #[serde(default)]
        machine: Option<NewMachine>,
        /// From the vault's second store.
        #[serde(default)]
        from_copy: bool,
    },
    /// Write disks of a point into what is there, or tell how much that would be.
    RestoreInto {
        /// The point.
        point: PointId,
        /// Which disks, and into what.
        targets: Vec<DiskTarget>,
        /// The mover that writes them; none: the one of the machine's host.
        mover: Option<String>,
        /// Only tell.
        plan: bool,
        /// From the vault's second store.
        #[serde(default)]
        from_copy: bool,
    },
    /// Put the machine back to a point, in its own place.
    Replace(ReplaceRequest),
    /// Take that back.
    UndoReplace {
        /// The replacement.
        replacement: Uuid,
        /// The mover that reaches the disks.
        mover: String,
        /// How the machine is stopped if it runs.
        stop: Option<StopMachine>,
    },
    /// Remove what it kept.
    RemoveKept {
        /// The replacement.
        replacement: Uuid,
        /// The mover that reaches the disks.
        mover: String,
        /// What somebody was shown.
        files: Vec<String>,
    },
    /// Something with snapshots.
    Snapshot(SnapshotRequest),
    /// Something with images.
    Image(ImageRequest),
    /// Read a point back.
    Verify {
        /// The point.
        point: PointId,
    },
    /// Try a point out.
    Drill {
        /// The point.
        point: PointId,
        /// What is done.
        options: DrillOptions,
        /// The mover that does it; none: the one of the machine's host.
        mover: Option<String>,
        /// It is left out if nobody has begun it by then; none: it waits.
        until: Option<Timestamp>,
        /// Out of the vault's second store.
        #[serde(default)]
        from_copy: bool,
    },
    /// Delete points in the vault. The plan is made again when a mover claims it: a point that is to be kept by then
    /// stays.
    DeletePoints {
        /// Which; empty: all of the item.
        points: Vec<PointId>,
        /// Whether they expired, rather than that somebody deletes them.
        expired: bool,
        /// Until when those can be brought back that somebody deletes: by this they are known if they change their
        /// mind.
        #[serde(default)]
        purge_at: Option<Timestamp>,
    },
    /// Bring deleted points back.
    UndeletePoints {
        /// Which; empty: all of the item.
        points: Vec<PointId>,
        /// How they stood, so that they do again if it fails.
        #[serde(default)]
        was: Deleted,
    },
    /// Purge what was deleted long enough ago in a vault, and give space back.
    Collect {},
    /// Copy a vault's points to its second store.
    Copy {},
    /// Put a vault right from its second store.
    Heal {},
    /// Move the item's points to the archive store that are to be there, and drop in the vault tier what is over.
    Archive {},
    /// Bring a point back from there.
    Rehydrate {
        /// The point.
        point: PointId,
        /// For how long.
        days: u16,
    },
}

impl Request {
    /// The kind of job that does it.
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::BackUp { .. } => JobKind::Backup,
            Self::Restore { machine: Some(machine), .. } if machine.at_once => JobKind::InstantRestore,
            Self::Restore { .. } => JobKind::Restore,
            Self::RestoreInto { plan: true, .. } | Self::Replace(ReplaceRequest { plan: true, .. }) => {
                JobKind::Plan
            }
            Self::RestoreInto { .. } => JobKind::Restore,
            Self::Replace(_) => JobKind::Replace,
            Self::UndoReplace { .. } => JobKind::UndoReplace,
            Self::RemoveKept { .. } => JobKind::RemoveKept,
            Self::Snapshot(asked) => asked.kind(),
            Self::Image(asked) => asked.kind(),
            Self::Verify { .. } => JobKind::Verify,
            Self::DeletePoints { .. } => JobKind::DeleteData,
            Self::UndeletePoints { .. } => JobKind::Undelete,
            Self::Collect {} => JobKind::Collect,
            Self::Copy {} => JobKind::Copy,
            Self::Heal {} => JobKind::Heal,
            Self::Archive {} => JobKind::Archive,
            Self::Rehydrate { .. } => JobKind::Rehydrate,
            Self::Drill { .. } => JobKind::Drill,
        }
    }

    /// The point that it reads out of the vault, where it could as well out of the second store.
    pub(crate) fn reads_of_vault(&self) -> Option<PointId> {
        match self {
            Self::Restore { point, from_copy: false, .. }
            | Self::RestoreInto { point, from_copy: false, .. }
            | Self::Drill { point, from_copy: false, .. } => Some(*point),
            _ => None,
        }
    }

    /// Whether its point is read out of the vault's second store, as if that were the vault.
    pub(crate) fn reads_copy(&self) -> bool {
        match self {
            Self::Restore { from_copy, .. }
            | Self::RestoreInto { from_copy, .. }
            | Self::Drill { from_copy, .. } => *from_copy,
            // A replacement needs both stores.
            _ => false,
        }
    }
}

/// How points stood that are to be brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Deleted {
    /// Until when each could be brought back.
    pub(crate) points: Vec<(PointId, Timestamp)>,
    /// Until when the machine could be, if all of it was deleted.
    pub(crate) item: Option<Timestamp>,
}

/// When a job is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct When {
    /// Not before.
    pub(crate) ready: Timestamp,
    /// The slot of a schedule it is for: there is one job for each.
    pub(crate) slot: Option<String>,
}

impl Control {
    /// Queues a job that somebody asks for, at once.
    ///
    /// # Errors
    /// As [`queue`](Self::queue).
    pub(crate) async fn queue_for(
        &self,
        actor: &Actor,
        vault: VaultId,
        subject: Uuid,
        request: &Request,
    ) -> Result<JobId> {
        let when = When { ready: self.now(), slot: None };
        let new = self.job_for(vault, subject, request, when).await?;
        self.queue_new(NewJob { asked_by: Some(actor.0.clone()), ..new }).await
    }

    /// Queues a job on an item, or on a vault: `subject` is its id. Nobody asked for it.
    ///
    /// # Errors
    /// `Conflict` when something is under way that excludes it, or the slot has had its job.
    pub(crate) async fn queue(
        &self,
        vault: VaultId,
        subject: Uuid,
        request: &Request,
        when: When,
    ) -> Result<JobId> {
        self.queue_new(self.job_for(vault, subject, request, when).await?).await
    }

    async fn queue_new(&self, new: NewJob) -> Result<JobId> {
        queued(self.catalog.queue_job(&new, self.now()).await?)?;
        self.tell_jobs_changed();
        Ok(new.id)
    }

    /// A job on an item, or on a vault, with the mover that is to do it.
    pub(crate) async fn job_for(
        &self,
        vault: VaultId,
        subject: Uuid,
        request: &Request,
        when: When,
    ) -> Result<NewJob> {
        let row = self.catalog.vault(vault).await?;
        let (name, host) = match request {
            Request::Snapshot(asked) => {
                let document = serde_json::to_value(request).expect("plain data");
                return self.snapshot_job(&row, subject, (asked, document), when).await;
            }
            Request::Image(asked) => {
                let document = serde_json::to_value(request).expect("plain data");
                return self.image_job(&row, subject, (asked, document), when).await;
            }
            Request::Collect {} | Request::Copy {} | Request::Heal {} => (row.name.clone(), None),
            _ => {
                let item = self.catalog.item(subject).await?;
                let host = self.catalog.host_of(item.machine).await?;
                (item.name, host)
            }
        };
        Ok(NewJob {
            id: JobId(self.draw()),
            kind: request.kind(),
            vault: Some(vault),
            subject: subject.to_string(),
            name,
            mover: mover_for(request, &row, host.as_ref())?,
            host: host.map(|host| host.id),
            request: serde_json::to_value(request).expect("plain data"),
            ready: when.ready,
            slot: when.slot,
            asked_by: None,
        })
    }
}

/// Fails if a job was not queued.
pub(crate) fn queued(outcome: Queued) -> Result<()> {
    match outcome {
        Queued::New => Ok(()),
        Queued::SlotIsTaken => Err(Error::new(Code::Conflict, "the slot has had its job")),
        Queued::Excluded(other) => {
            let detail = format!("job {} is under way for it, and excludes this", other.id);
            let hint = format!("wait for it, or cancel it: `strongroom job watch {}`", other.id);
            Err(Error::new(Code::Conflict, detail).hint(hint))
        }
    }
}

/// Who can do it. A machine is reached by its host's mover, and so is the snapshot tier beside it; a bucket by any; a
/// directory by the mover within the server.
fn mover_for(request: &Request, vault: &VaultRow, host: Option<&Host>) -> Result<Option<String>> {
    let of_host = || host.map(|host| host.mover.clone());
    let is_directory = !vault.location.contains("://");
    let of_vault = || is_directory.then(|| OWN_MOVER.to_owned());
    Ok(match request {
        Request::BackUp { .. } | Request::Replace(_) => of_host(),
        Request::UndoReplace { mover, .. } | Request::RemoveKept { mover, .. } => Some(mover.clone()),
        Request::Restore { from_copy: true, mover, .. }
        | Request::RestoreInto { from_copy: true, mover, .. } => {
            mover.clone().or_else(of_host).or(of_copy(vault)?).or_else(of_vault)
        }
        Request::Restore { mover, .. } | Request::RestoreInto { mover, .. } => {
            mover.clone().or_else(of_host).or_else(of_vault)
        }
        Request::Collect {} => of_vault().or(of_archive(vault)?),
        Request::Copy {} | Request::Heal {} => of_copy(vault)?.or_else(of_vault),
        Request::Archive {} | Request::Rehydrate { .. } => of_archive(vault)?.or_else(of_vault),
        // One for certain: drills are counted by their mover.
        Request::Drill { mover, from_copy, .. } => {
            let reaches_copy = if *from_copy { of_copy(vault)? } else { None };
            mover.clone().or_else(of_host).or(reaches_copy).or_else(|| Some(OWN_MOVER.to_owned()))
        }
        _ if settings(vault)?.snapshot_store.is_some() => of_host().or_else(of_vault),
        // What is deleted or brought back may be in the archive.
        _ => of_vault().or(of_archive(vault)?),
    })
}

/// Who reaches a vault's second store: whoever is named, for a directory the mover within the server, else any.
pub(crate) fn of_copy(vault: &VaultRow) -> Result<Option<String>> {
    let copy = settings(vault)?.copy;
    let is_directory = copy.as_ref().is_some_and(|copy| !copy.location.contains("://"));
    Ok(copy.and_then(|copy| copy.mover).or_else(|| is_directory.then(|| OWN_MOVER.to_owned())))
}

/// Who reaches a vault's archive store: likewise.
fn of_archive(vault: &VaultRow) -> Result<Option<String>> {
    let archive = settings(vault)?.archive;
    let is_directory = archive.as_ref().is_some_and(|archive| !archive.location.contains("://"));
    Ok(archive.and_then(|archive| archive.mover).or_else(|| is_directory.then(|| OWN_MOVER.to_owned())))
}

/// How a vault treats what it holds.
pub(crate) fn settings(vault: &VaultRow) -> Result<VaultSettings> {
    serde_json::from_value(vault.settings.clone()).map_err(|error| {
        Error::new(
            Code::Internal,
            format!("the settings of the vault {} cannot be read: {error}", vault.name),
        )
    })
}
