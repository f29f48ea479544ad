//! Orders: what exactly a claim is to do, settled at the moment of the claim.

use crate::request::{Request, settings};
use crate::retention::over;
use crate::schedule::Policies;
use crate::{Control, Error, Result};
use api::work::{AssignedHost, BackUpWork, Service, ServicePolicy, ServicePromise, VaultAccess, Work};
use api::{Code, VaultSettings};
use catalog::{Item, JobFilter, JobRow, VaultRow};
use jiff::Timestamp;
use model::policy::{ConsistencyWish, DiskSelection};
use model::protection::Protection;
use model::retention::goes_to_vault;
use model::{Origin, Point, PointId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Points that one collection purges at most; the next one goes on.
const PURGED_AT_ONCE: usize = 10_000;
/// Of these the newest that was told anything counts; others never came to it.
const COLLECTIONS_READ: u32 = 10;

/// What a claim was told to do, kept with the job: what follows from its end goes by this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ordered {
    /// Points to be deleted, or brought back.
    pub(crate) points: Vec<PointId>,
    /// Points whose copy in the snapshot tier goes.
    pub(crate) snapshots: Vec<PointId>,
    /// Whether the point of a backup is to get to the vault.
    pub(crate) transfer: bool,
    /// Points that earlier claims were told to delete: they may have done it.
    pub(crate) tried: Vec<PointId>,
    /// The same of the snapshot tier.
    pub(crate) tried_snapshots: Vec<PointId>,
    /// Whether a job that copies was told to give space back.
    pub(crate) collects: bool,
    /// The last point that a collection was told to purge.
    pub(crate) purged_to: Option<PointId>,
    /// When it was ordered.
    pub(crate) at: Option<Timestamp>,
}

impl Ordered {
    /// All points that this claim or an earlier one may have deleted: in the vault, and in the snapshot tier.
    pub(crate) fn all_tried(&self) -> [BTreeSet<PointId>; 2] {
        let all = |now: &[PointId], before: &[PointId]| now.iter().chain(before).copied().collect();
        [all(&self.points, &self.tried), all(&self.snapshots, &self.tried_snapshots)]
    }
}

/// What comes of looking at a job that was claimed.
pub(crate) enum Prepared {
    /// A mover is to do this.
    Work(Box<Work>, Ordered),
    /// There is nothing left to do: it is done.
    Done,
    /// Nobody wants it any more.
    Unwanted(String),
}

/// What a job was asked to do.
pub(crate) fn request_of(row: &JobRow) -> Result<Request> {
    let unreadable =
        |error| Error::new(Code::Internal, format!("the request of the job {}: {error}", row.id));
    serde_json::from_value(row.request.clone()).map_err(unreadable)
}

/// What its last claim was told to do.
pub(crate) fn ordered_of(row: &JobRow) -> Ordered {
    row.ordered.clone().and_then(|ordered| serde_json::from_value(ordered).ok()).unwrap_or_default()
}

/// The item it works on.
pub(crate) fn item_of(row: &JobRow) -> Result<Uuid> {
    let unreadable =
        |error| Error::new(Code::Internal, format!("the subject of the job {}: {error}", row.id));
    row.subject.parse().map_err(unreadable)
}

impl Control {
    /// What a claimed job comes to.
    pub(crate) async fn prepare(&self, row: &JobRow, now: Timestamp) -> Result<Prepared> {
        let ordered = Ordered { at: Some(now), ..Ordered::default() };
        let item = match request_of(row)? {
            Request::Collect {} => return self.collect_work(row, ordered).await,
            Request::Snapshot(asked) => return self.snapshot_work(row, asked, ordered).await,
            Request::Image(asked) => return self.image_work(row, asked, ordered).await,
            Request::Copy {} => return self.copy_work(row, ordered).await,
            Request::Heal {} => return self.heal_work(row, ordered).await,
            _ => self.catalog.item(item_of(row)?).await?,
        };
        let work = |work| Ok(Prepared::Work(Box::new(work), ordered.clone()));
        match request_of(row)? {
            Request::BackUp { origin, full } => self.back_up_work(row, &item, (origin, full), ordered).await,
            Request::Archive {} => self.archive_work(row, &item, ordered).await,
            Request::Rehydrate { point, .. } => self.rehydrate_work(row, &item, point, ordered).await,
            Request::Restore { point, folder, disks, format, machine, from_copy, .. } => {
                self.must_be_near(point, from_copy).await?;
                work(Work::Restore { item: item.id, point, folder, disks, format, machine })
            }
            Request::RestoreInto { point, targets, plan, from_copy, .. } => {
                self.must_be_near(point, from_copy).await?;
                work(Work::RestoreInto { item: item.id, point, targets, plan })
            }
            Request::Replace(asked) => work(self.replace_work(row, &item, asked).await?),
            Request::UndoReplace { replacement, stop, .. } => {
                work(self.undo_work(&item, replacement, stop).await?)
            }
            Request::RemoveKept { replacement, files, .. } => {
                match self.remove_work(replacement, files).await? {
                    Some(removal) => work(removal),
                    None => Ok(Prepared::Done),
                }
            }
            Request::Verify { point } => {
                self.must_be_near(point, false).await?;
                work(Work::Verify { item: item.id, point })
            }
            Request::Drill { until: Some(until), .. } if until <= now => {
                Ok(Prepared::Unwanted(format!("its window was over at {until}, and nobody had begun")))
            }
            Request::Drill { point, options, from_copy, .. } => {
                self.must_be_near(point, from_copy).await?;
                work(Work::Drill { item: item.id, point, options })
            }
            Request::DeletePoints { points, expired, .. } => {
                let (points, snapshots) = self.to_delete(&item, &points, expired, now).await?;
                let [tried, tried_snapshots] =
                    ordered_of(row).all_tried().map(|all| all.into_iter().collect());
                let ordered = Ordered { tried, tried_snapshots, ..ordered };
                if points.is_empty() && snapshots.is_empty() {
                    return Ok(Prepared::Done);
                }
                let ordered = Ordered { points: points.clone(), snapshots: snapshots.clone(), ..ordered };
                let archive = self.in_archive(&item, &points, |archive| !archive.is_never()).await?;
                let work = Work::DeletePoints { item: item.id, points, snapshots, archive };
                Ok(Prepared::Work(Box::new(work), ordered))
            }
            Request::UndeletePoints { points, .. } => self.undelete_work(&item, &points, ordered).await,
            Request::Collect {}
            | Request::Copy {}
            | Request::Heal {}
            | Request::Snapshot(_)
            | Request::Image(_) => unreachable!("decided above"),
        }
    }

    /// The points that are to come back, and those of them that the snapshot tier ought to have.
    async fn undelete_work(&self, item: &Item, asked: &[PointId], ordered: Ordered) -> Result<Prepared> {
        let all = self.catalog.points_to_plan(item.id).await?.into_iter().map(|one| one.point);
        let named = |point: &Point| asked.is_empty() || asked.contains(&point.id);
        // Whoever asked has marked them; those whose days are over stay deleted.
        let wanted: Vec<Point> = all.filter(|point| named(point) && !point.is_deleted()).collect();
        if wanted.is_empty() {
            return Ok(Prepared::Done);
        }
        let points: Vec<_> = wanted.iter().map(|point| point.id).collect();
        let near = wanted.iter().filter(|point| point.in_snapshot_tier);
        let snapshots: Vec<_> = near.map(|point| point.id).collect();
        let ordered = Ordered { points: points.clone(), snapshots: snapshots.clone(), ..ordered };
        let archive = self.in_archive(item, &points, |archive| archive.is_there()).await?;
        let work = Work::UndeletePoints { item: item.id, points, snapshots, archive };
        Ok(Prepared::Work(Box::new(work), ordered))
    }

    async fn back_up_work(
        &self,
        row: &JobRow,
        item: &Item,
        (origin, full): (Origin, bool),
        ordered: Ordered,
    ) -> Result<Prepared> {
        let Some(id) = item.protection.backup_policy() else {
            return Ok(Prepared::Unwanted(format!("the protection of {} has ended", item.name)));
        };
        let policy_row = self.catalog.policy(id).await?;
        let policy = self.policy_of(id, &mut Policies::default()).await?;
        let machine = self.catalog.machine(item.machine).await?;
        let host = self.catalog.host_of(item.machine).await?;
        let host = host.ok_or_else(|| Error::not_found(format!("host of the machine {}", item.name)))?;
        let settings = settings(&self.catalog.vault(item.vault).await?)?;
        let has_snapshots = settings.snapshot_store.is_some();
        let transfer = match origin {
            Origin::OnDemand { .. } => true,
            // Without a snapshot tier there is nowhere else to keep it.
            Origin::Scheduled { stands_for, .. } => !has_snapshots || goes_to_vault(&policy, stands_for),
        };
        let document = policy_row.document;
        let (consistency, disks): (ConsistencyWish, DiskSelection) =
            (document.consistency, document.disks.clone());
        let service = Service {
            version: 1,
            job: row.id,
            item: item.id,
            machine: machine.id,
            name: machine.name.clone(),
            known_as: machine.known_as.clone(),
            origin,
            policy: Some(ServicePolicy { id, name: policy_row.name, document }),
            promised: Some(ServicePromise {
                soft_delete_days: settings.soft_delete_days,
                immutable: settings.immutable,
            }),
        };
        let work = BackUpWork {
            item: item.id,
            host: AssignedHost { id: host.id, address: host.address },
            known_as: machine.known_as,
            name: machine.name,
            consistency,
            disks,
            full,
            transfer,
            service,
        };
        Ok(Prepared::Work(Box::new(Work::BackUp(Box::new(work))), Ordered { transfer, ..ordered }))
    }

    /// What of these points is to be deleted: their copies in the vault, and in the snapshot tier.
    pub(crate) async fn to_delete(
        &self,
        item: &Item,
        wanted: &[PointId],
        expired: bool,
        now: Timestamp,
    ) -> Result<(Vec<PointId>, Vec<PointId>)> {
        let all = self.catalog.points_to_plan(item.id).await?.into_iter().map(|one| one.point);
        let all: Vec<Point> = all.collect();
        let is_wanted = |id: &PointId| wanted.is_empty() || wanted.contains(id);
        if expired {
            let Some(policy) = item.protection.retention_policy() else { return Ok(Default::default()) };
            if settings(&self.catalog.vault(item.vault).await?)?.keep_everything {
                return Ok(Default::default());
            }
            let policy = self.policy_of(policy, &mut Policies::default()).await?;
            let (mut points, mut snapshots) = over(&all, &policy, now);
            points.retain(is_wanted);
            snapshots.retain(is_wanted);
            return Ok((points, snapshots));
        }
        // Whoever asked has settled that they may go, and marked them; what was brought back since then stays.
        let is_over = matches!(item.protection, Protection::Deleted { .. });
        let may_go = |point: &&Point| is_over || point.is_deleted();
        let gone: Vec<_> = all.iter().filter(|point| is_wanted(&point.id)).filter(may_go).collect();
        let snapshots = gone.iter().filter(|point| point.in_snapshot_tier).map(|point| point.id).collect();
        Ok((gone.iter().map(|point| point.id).collect(), snapshots))
    }

    async fn collect_work(&self, row: &JobRow, ordered: Ordered) -> Result<Prepared> {
        let vault = self.vault_of(row).await?;
        let soft_delete_seconds = self.soft_delete(&vault).await?.as_secs();
        // INVARIANT: what the catalog calls live, or has promised for longer, stands in no list, so no vault purges
        // it: not after an undeletion that failed, nor by the clock of a mover that is wrong.
        let now = self.now();
        let mut purge = self.catalog.points_to_purge(vault.id, now).await?;
        purge.extend(self.catalog.snapshots_to_purge(vault.id, now).await?);
        // Their copies in the vault tier alone: what is in the archive has a list of its own.
        purge.extend(self.catalog.dropped_to_purge(vault.id, now).await?.into_iter().map(|(_, point)| point));
        purge.extend(self.catalog.images_to_purge(vault.id, now).await?);
        purge.sort_unstable();
        purge.dedup();
        // Those that a store does not let go would be first every day: each day begins where the last one ended.
        let before = self.last_collection(&vault, row).await?.purged_to;
        let begin = before.map_or(0, |before| purge.partition_point(|point| *point <= before));
        purge.rotate_left(begin);
        purge.truncate(PURGED_AT_ONCE);
        let ordered = Ordered { purged_to: purge.last().copied(), ..ordered };
        let archive = self.purge_in_archive(&vault, &purge, now).await?;
        Ok(Prepared::Work(Box::new(Work::Collect { soft_delete_seconds, now, purge, archive }), ordered))
    }

    /// What the collection of a vault before this one was told.
    async fn last_collection(&self, vault: &VaultRow, this: &JobRow) -> Result<Ordered> {
        let filter = JobFilter {
            subject: Some(vault.id.to_string()),
            kind: Some("collect".to_owned()),
            ..JobFilter::default()
        };
        let lately = self.catalog.jobs(&filter, None, COLLECTIONS_READ).await?.rows;
        let told = lately.iter().find(|row| row.id != this.id && row.ordered.is_some());
        Ok(told.map(ordered_of).unwrap_or_default())
    }

    /// The vault a job belongs to.
    pub(crate) async fn vault_of(&self, row: &JobRow) -> Result<VaultRow> {
        let vault = row.vault.ok_or_else(|| Error::not_found(format!("vault of the job {}", row.id)))?;
        Ok(self.catalog.vault(vault).await?)
    }

    /// How a mover opens the vault of a job.
    pub(crate) async fn access(&self, row: &JobRow) -> Result<VaultAccess> {
        let vault = self.vault_of(row).await?;
        if request_of(row)?.reads_copy() {
            return self.access_to_copy(&vault).await;
        }
        self.access_to(vault).await
    }

    /// How a mover opens a vault's own store.
    pub(crate) async fn access_to(&self, vault: VaultRow) -> Result<VaultAccess> {
        let VaultSettings { snapshot_store, transfer_mib_per_second, .. } = settings(&vault)?;
        let transfer_bytes_per_second = transfer_mib_per_second.map(|mib| u64::from(mib) << 20);
        let (key, credentials) = (self.vault_key(vault.id).await?, None);
        let VaultRow { id, location, .. } = vault;
        Ok(VaultAccess { id, location, snapshot_store, credentials, transfer_bytes_per_second, key })
    }
}
