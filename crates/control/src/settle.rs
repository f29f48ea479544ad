//! Deletions and undeletions that have ended, whichever way: the catalog and the vault are made to say the same.
//!
//! The catalog says what is wanted. Where an end leaves the vault with something else, or nobody knows, an order goes
//! out that cannot do harm: both orders do only what is not done yet.
//!
//! | ended | what somebody deletes | what expired | what is to come back |
//! | --- | --- | --- | --- |
//! | well | marked | marked; what is to be kept by now comes back | live |
//! | failed | asked for again | expires again; what is to be kept by now comes back | deleted as before, told |
//! | cancelled | nothing is deleted: all comes back | as if it had failed | deleted as before, told |
//!
//! CRASH: each part finds what it did before; at worst an order goes out twice.

use crate::alerts::Trouble;
use crate::order::{Ordered, item_of, ordered_of};
use crate::request::{Deleted, Request, When, settings};
use crate::schedule::Policies;
use crate::{Control, Result};
use api::Code;
use catalog::{Item, JobRow};
use jiff::{SignedDuration, Timestamp};
use model::job::JobState;
use model::protection::{Act, Protection};
use model::{ArchiveCopy, Near, Point, PointId, VaultCopy};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What failed for good is asked for again after this: whatever was wrong takes a person, who needs about so long.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Something else is under way for the machine: soon over.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// Points that could not be brought back can be for so long at least, so that whoever asked can ask again.
const ANOTHER_TRY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a deletion was asked to do; see `Request::DeletePoints`.
pub(crate) struct Deletion {
    pub(crate) points: Vec<PointId>,
    pub(crate) expired: bool,
    pub(crate) purge_at: Option<Timestamp>,
}

type Later = crate::follow::FollowLater;

impl Control {
    /// Copies that were deleted are marked, or forgotten where nothing can bring them back.
    pub(crate) async fn follow_deletion(&self, row: &JobRow, asked: &Deletion) -> Result<Later> {
        // INVARIANT: what was done at the first look is not done at a later one: people have gone on since.
        if row.follow_at.is_none() {
            self.tell_end(row, Trouble::DeletionFailed, "deleting points of").await?;
        }
        match row.job.state {
            JobState::Completed | JobState::CompletedWithWarnings => {
                self.mark(row, asked).await?;
                let later = self.bring_unwanted_back(row, asked).await?;
                self.expire(item_of(row)?, &mut Policies::default(), self.now()).await?;
                Ok(later)
            }
            JobState::Cancelled if asked.purge_at.is_some() => {
                self.take_back(row, asked).await?;
                self.bring_unwanted_back(row, asked).await
            }
            JobState::Failed | JobState::Cancelled if asked.expired => {
                self.bring_unwanted_back(row, asked).await
            }
            JobState::Failed | JobState::Cancelled => self.ask_again(row, asked.points.clone()).await,
            _ => Ok(None),
        }
    }

    /// What is brought back is live; if it could not be, it is deleted as it was.
    pub(crate) async fn follow_undeletion(&self, row: &JobRow, was: &Deleted) -> Result<Later> {
        let (item, Ordered { points, .. }) = (item_of(row)?, ordered_of(row));
        if row.follow_at.is_none() {
            self.tell_end(row, Trouble::DeletionFailed, "bringing back points of").await?;
        }
        match row.job.state {
            JobState::Completed | JobState::CompletedWithWarnings => {
                let (gone, gone_near) = (told(row, "gone"), told(row, "gone_near"));
                let back = |point: &Point| points.contains(&point.id) && !gone.contains(&point.id);
                let purge_at =
                    row.ended.unwrap_or(self.now()) + self.soft_delete(&self.vault_of(row).await?).await?;
                let live = |point: &Point| {
                    let in_snapshot_tier = point.in_snapshot_tier && !gone_near.contains(&point.id);
                    let archive = dropped(point.archive, purge_at);
                    Point { purge_at: None, in_snapshot_tier, archive, ..point.clone() }
                };
                self.change_points(item, |point| back(point).then(|| live(point))).await?;
                for point in &gone {
                    self.forget_point(*point).await?;
                }
                self.expire(item, &mut Policies::default(), self.now()).await?;
                Ok(None)
            }
            JobState::Failed | JobState::Cancelled => {
                if row.follow_at.is_none() {
                    self.put_back(row, was).await?;
                }
                // Some may be back in the vault, where nothing would purge them.
                if points.is_empty() { Ok(None) } else { self.ask_again(row, points).await }
            }
            _ => Ok(None),
        }
    }

    /// Marks what a deletion has deleted, as far as it is wanted.
    async fn mark(&self, row: &JobRow, asked: &Deletion) -> Result<()> {
        let (item, Ordered { points, snapshots, .. }) = (item_of(row)?, ordered_of(row));
        let (wanted, wanted_near) = self.wanted(item, asked).await?;
        let days = settings(&self.vault_of(row).await?)?.soft_delete_days;
        let ended = row.ended.unwrap_or(self.now());
        let purge_at = ended + SignedDuration::from_hours(24 * i64::from(days));
        let lost_near = |point: &Point| {
            let is_needed = point.vault != VaultCopy::There && !wanted_near.contains(&point.id);
            asked.expired && snapshots.contains(&point.id) && !is_needed
        };
        let all = self.catalog.points_to_plan(item).await?.into_iter().map(|one| one.point);
        let is_gone = |point: &Point| lost_near(point) && point.vault != VaultCopy::There;
        let gone: Vec<PointId> = all.filter(is_gone).map(|point| point.id).collect();
        self.change_points(item, |point| {
            let mut changed = point.clone();
            if points.contains(&point.id) && wanted.contains(&point.id) {
                // Whoever deleted it may have said until when it can be brought back.
                changed.purge_at = changed.purge_at.or(Some(purge_at));
                changed.archive = dropped(changed.archive, purge_at);
            }
            changed.in_snapshot_tier &= !lost_near(point);
            Some(changed).filter(|_| !gone.contains(&point.id))
        })
        .await?;
        for point in gone {
            self.forget_point(point).await?;
        }
        Ok(())
    }

    /// What of a deletion is wanted now: copies in the vault, and in the snapshot tier.
    async fn wanted(&self, item: Uuid, asked: &Deletion) -> Result<(BTreeSet<PointId>, BTreeSet<PointId>)> {
        let item = self.catalog.item(item).await?;
        let wanted = self.to_delete(&item, &asked.points, asked.expired, self.now()).await?;
        Ok((wanted.0.into_iter().collect(), wanted.1.into_iter().collect()))
    }

    /// Points that a deletion may have deleted, and that are to be kept by now, come back: somebody has pinned them,
    /// changed the policy, or cancelled it.
    async fn bring_unwanted_back(&self, row: &JobRow, asked: &Deletion) -> Result<Later> {
        let (id, [tried, tried_near]) = (item_of(row)?, ordered_of(row).all_tried());
        let (wanted, wanted_near) = self.wanted(id, asked).await?;
        let all = self.catalog.points_to_plan(id).await?.into_iter().map(|one| one.point);
        // The snapshot of a point that the vault has is no loss.
        let comes_back = |point: &Point| match point.vault {
            _ if point.is_deleted() => false,
            VaultCopy::There => tried.contains(&point.id) && !wanted.contains(&point.id),
            _ => tried_near.contains(&point.id) && !wanted_near.contains(&point.id),
        };
        let points: Vec<PointId> = all.filter(comes_back).map(|point| point.id).collect();
        if points.is_empty() {
            return Ok(None);
        }
        let item = self.catalog.item(id).await?;
        let days = settings(&self.catalog.vault(item.vault).await?)?.soft_delete_days;
        let until = self.now() + SignedDuration::from_hours(24 * i64::from(days));
        let was = Deleted { points: points.iter().map(|point| (*point, until)).collect(), item: None };
        self.ask(&item, &Request::UndeletePoints { points, was }).await
    }

    /// A deletion that somebody cancelled: what it was to delete is live.
    async fn take_back(&self, row: &JobRow, asked: &Deletion) -> Result<()> {
        let (item, Some(purge_at)) = (item_of(row)?, asked.purge_at) else { return Ok(()) };
        let is_asked = |point: &Point| asked.points.is_empty() || asked.points.contains(&point.id);
        let back = |point: &Point| Point { purge_at: None, ..point.clone() };
        self.change_points(item, |point| {
            (is_asked(point) && point.purge_at == Some(purge_at)).then(|| back(point))
        })
        .await?;
        let row = self.catalog.item(item).await?;
        if asked.points.is_empty() && row.protection == (Protection::Deleted { purge_at }) {
            self.act(item, Act::Undelete).await?;
        }
        self.plan_again(item).await
    }

    /// Points that did not come back are deleted as they were, and somebody is told.
    async fn put_back(&self, row: &JobRow, was: &Deleted) -> Result<()> {
        let item = item_of(row)?;
        if row.job.state == JobState::Cancelled {
            let text = format!(
                "bringing back points of {} was cancelled: they are deleted as before; undelete them again if they \
                 are to stay",
                row.name
            );
            self.raise(Trouble::DeletionFailed, &row.subject, text).await?;
        }
        let at_least = row.ended.unwrap_or(self.now()) + ANOTHER_TRY;
        let until: BTreeMap<PointId, Timestamp> = was.points.iter().copied().collect();
        self.change_points(item, |point| {
            let purge_at = until.get(&point.id)?;
            let purge_at = point.purge_at.unwrap_or((*purge_at).max(at_least));
            Some(Point { purge_at: Some(purge_at), ..point.clone() })
        })
        .await?;
        match was.item {
            Some(purge_at) => self.act(item, Act::NotBroughtBack(purge_at.max(at_least))).await,
            None => Ok(()),
        }
    }

    /// Asks for the deletion of points again that the vault may list although they are deleted here.
    async fn ask_again(&self, row: &JobRow, points: Vec<PointId>) -> Result<Later> {
        let at = row.ended.unwrap_or(self.now()) + ASK_AGAIN;
        if self.now() < at {
            return Ok(Some(at));
        }
        let item = self.catalog.item(item_of(row)?).await?;
        self.ask(&item, &Request::DeletePoints { points, expired: false, purge_at: None }).await
    }

    async fn ask(&self, item: &Item, request: &Request) -> Result<Later> {
        let now = self.now();
        match self.queue(item.vault, item.id, request, When { ready: now, slot: None }).await {
            Err(error) if error.code() == Code::Conflict => Ok(Some(now + LOOK_AGAIN)),
            queued => queued.map(|_| None),
        }
    }
}

/// What is in the archive is deleted and comes back there: a copy that the vault tier held is dropped by either.
fn dropped(archive: ArchiveCopy, purge_at: Timestamp) -> ArchiveCopy {
    match archive.near() {
        Some(Near::Held { .. }) => archive.with_near(Near::Dropped { purge_at }),
        _ => archive,
    }
}

/// Points that no store has any more (`gone`), or the snapshot tier alone has not (`gone_near`), as the mover that was
/// to bring them back told.
fn told(row: &JobRow, which: &str) -> Vec<PointId> {
    let gone = row.result.as_ref().and_then(|result| result.get(which)).cloned().unwrap_or_default();
    serde_json::from_value(gone).unwrap_or_default()
}
