//! What expires: plans made anew whenever something they follow from has changed, and orders for what is over.
//!
//! `expires_at` of a point is when a plan may have another outcome because time passed; what else may change it (a
//! policy, a pin, a newer point) has the item planned again. A plan is made once more when a mover claims the order
//! (`order.rs`): what is to be kept by then stays.

use crate::request::{Request, When, settings};
use crate::schedule::{BATCH, Policies};
use crate::{Control, Result};
use api::{Code, VaultSettings};
use catalog::{ErrorKind, Item, PointToPlan, ScheduledItem};
use jiff::Timestamp;
use model::retention::{Fate, Plan, Tier, Until, plan};
use model::{Point, PointId, Policy, VaultCopy};
use uuid::Uuid;

/// Whoever changes an item at the same moment is a person or another server: each round one of them succeeds.
const TRIES: u32 = 16;

impl Control {
    /// Has an item's slots and expiries worked out anew: its policy, its protection or a pin has changed. Done within
    /// a second by some server.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn plan_again(&self, item: Uuid) -> Result<()> {
        Ok(self.catalog.plan_item_again(item).await?)
    }

    /// Works slots and expiries out for items whose policy, vault or state has changed.
    ///
    /// # Errors
    /// The catalog's. What fails for one item is told to the log, and tried again.
    pub async fn tick_plans(&self, now: Timestamp) -> Result<()> {
        let mut policies = Policies::default();
        let mut after = None;
        loop {
            let items = self.catalog.items_to_plan(after, BATCH).await?;
            for one in &items {
                if let Err(error) = self.adopt_policy(one, &mut policies, now).await {
                    tracing::error!(item = %one.item.id, %error, "an item could not be planned");
                }
            }
            after = items.last().map(|one| one.item.id);
            if items.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// Orders the deletion of what has expired.
    ///
    /// # Errors
    /// The catalog's. What fails for one item is told to the log, and tried again.
    pub async fn tick_retention(&self, now: Timestamp) -> Result<()> {
        let mut policies = Policies::default();
        let mut after = None;
        loop {
            let items = self.catalog.items_to_expire(now, after, BATCH).await?;
            for id in &items {
                if let Err(error) = self.expire(*id, &mut policies, now).await {
                    tracing::error!(item = %id, %error, "an item's points could not be expired");
                }
            }
            after = items.last().copied();
            if items.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    async fn adopt_policy(&self, one: &ScheduledItem, policies: &mut Policies, now: Timestamp) -> Result<()> {
        let policy = match one.item.protection.backup_policy() {
            Some(id) => Some(self.policy_of(id, policies).await?),
            None => None,
        };
        self.reschedule(one, policy.as_deref(), now).await?;
        self.expire(one.item.id, policies, now).await?;
        Ok(self.catalog.planned(one).await?)
    }

    /// Plans an item, and orders the deletion of what has expired.
    pub(crate) async fn expire(&self, item: Uuid, policies: &mut Policies, now: Timestamp) -> Result<()> {
        let (item, expired) = self.plan_item(item, policies, now).await?;
        if expired.is_empty() {
            return Ok(());
        }
        let request = Request::DeletePoints { points: expired, expired: true, purge_at: None };
        match self.queue(item.vault, item.id, &request, When { ready: now, slot: None }).await {
            // A backup or a restore is under way: the points are still there a minute later.
            Err(error) if error.code() == Code::Conflict => Ok(()),
            done => done.map(drop),
        }
    }

    /// Plans an item and writes down what follows. Gives the points that have a copy which is over.
    async fn plan_item(
        &self,
        id: Uuid,
        policies: &mut Policies,
        now: Timestamp,
    ) -> Result<(Item, Vec<PointId>)> {
        for _ in 1..TRIES {
            let item = self.catalog.item(id).await?;
            match self.try_plan(&item, policies, now).await {
                Err(error) if error.code() == Code::Changed => {}
                planned => return planned.map(|expired| (item, expired)),
            }
        }
        let item = self.catalog.item(id).await?;
        self.try_plan(&item, policies, now).await.map(|expired| (item, expired))
    }

    async fn try_plan(&self, item: &Item, policies: &mut Policies, now: Timestamp) -> Result<Vec<PointId>> {
        let read = self.catalog.points_to_plan(item.id).await?;
        let points: Vec<Point> = read.iter().map(|one| one.point.clone()).collect();
        let settings = settings(&self.catalog.vault(item.vault).await?)?;
        let plan = match item.protection.retention_policy() {
            None => Plan { copies: Vec::new() },
            Some(id) => plan(&points, &*self.policy_of(id, policies).await?, now),
        };
        let planned = points.into_iter().map(|point| outcome(point, &plan, &settings));
        let changed: Vec<_> =
            planned.zip(&read).filter(|(new, old)| new != *old).map(|(new, _)| new).collect();
        if !changed.is_empty() {
            self.catalog.write_plan(item, &changed).await?;
        }
        if settings.keep_everything {
            return Ok(Vec::new());
        }
        let mut expired: Vec<_> = plan.expired().map(|copy| copy.point).collect();
        expired.dedup();
        let is_deleted = |id: &PointId| read.iter().any(|one| one.point.id == *id && one.point.is_deleted());
        expired.retain(|id| !is_deleted(id));
        Ok(expired)
    }

    /// Changes points of an item, whoever else changes it. Those for which `change` gives nothing stay.
    pub(crate) async fn change_points(
        &self,
        item: Uuid,
        change: impl Fn(&Point) -> Option<Point>,
    ) -> Result<()> {
        for tried in 1.. {
            let row = self.catalog.item(item).await?;
            let read = self.catalog.points_to_plan(item).await?;
            let changed = read.iter().filter_map(|one| {
                let point = change(&one.point).filter(|point| *point != one.point)?;
                Some(PointToPlan { point, expires: one.expires })
            });
            let changed: Vec<_> = changed.collect();
            if changed.is_empty() {
                return Ok(());
            }
            match self.catalog.write_plan(&row, &changed).await {
                Err(error) if error.kind() == ErrorKind::Changed && tried < TRIES => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Ok(())
    }
}

/// What a plan makes of a point: when the first of its copies may be over, and in an immutable vault the promise.
fn outcome(mut point: Point, plan: &Plan, settings: &VaultSettings) -> PointToPlan {
    if point.is_deleted() {
        return PointToPlan { point, expires: None };
    }
    let verdicts = [Tier::Snapshot, Tier::Vault].map(|tier| plan.of(point.id, tier));
    let ends = verdicts.iter().flatten().filter_map(|verdict| match verdict.fate {
        Fate::Kept(Until::At(end)) => Some(end),
        Fate::Kept(Until::Open) => None,
        Fate::Expired(end) => Some(end.unwrap_or(point.taken)),
    });
    let expires = ends.min().filter(|_| !settings.keep_everything);
    let promised = verdicts[Tier::Vault as usize].and_then(|verdict| verdict.expiry());
    if settings.immutable && point.vault == VaultCopy::There {
        point.locked_until = point.locked_until.max(promised);
    }
    PointToPlan { point, expires }
}

/// The copies of these points that are over by a plan made now.
pub(crate) fn over(points: &[Point], policy: &Policy, now: Timestamp) -> (Vec<PointId>, Vec<PointId>) {
    let plan = plan(points, policy, now);
    let of = |tier: Tier| {
        let is_live = |id: PointId| points.iter().any(|point| point.id == id && !point.is_deleted());
        let copies = plan.expired().filter(|copy| copy.tier == tier && is_live(copy.point));
        copies.map(|copy| copy.point).collect()
    };
    (of(Tier::Vault), of(Tier::Snapshot))
}
