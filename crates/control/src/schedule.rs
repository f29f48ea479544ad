//! What is due: slots become jobs, each once, however many servers look and whichever of them dies.
//!
//! An item says up to when its slots are *settled*: each up to then has had a run or a record. Settling is one
//! transaction, so a crash leaves a slot settled or not, never lost.

use crate::alerts::Trouble;
use crate::request::{Request, When};
use crate::{Control, Result};
use catalog::{ScheduledItem, Settle, Settled};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use model::job::JobKind;
use model::retention::{covered, stands_for};
use model::schedule::{Due, Skip, Skipped};
use model::{Origin, Policy, PolicyId, Slot};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Items that are read at once.
pub(crate) const BATCH: u32 = 200;
/// What could not be settled is tried again after this.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// The newest points hold the last day that has one; more are read only if they do not.
const POINTS_READ: u32 = 50;

/// Policies as they were read for one look at many items.
#[derive(Default)]
pub(crate) struct Policies(HashMap<PolicyId, Arc<Policy>>);

/// How a slot is named among the jobs of an item: policies and their zones change, an instant does not.
fn key(slot: &Slot) -> String {
    slot.at.to_string()
}

/// What the times of a policy's slots follow from.
fn schedule_of(policy: &Policy) -> String {
    let document = policy.document();
    serde_json::json!([document.time_zone, document.schedule]).to_string()
}

fn next_due(policy: &Policy, one: &ScheduledItem, settled: Timestamp) -> Option<Timestamp> {
    policy.next_slot(settled).map(|slot| policy.start_of(&slot, one.item.machine))
}

impl Control {
    /// Queues what is due, and records what is not to run. Any server may do so at any time.
    ///
    /// # Errors
    /// The catalog's. What fails for one item is told to the log, and tried again.
    pub async fn tick_schedule(&self, now: Timestamp) -> Result<()> {
        let mut policies = Policies::default();
        loop {
            let due = self.catalog.items_due(now, BATCH).await?;
            for one in &due {
                if let Err(error) = self.settle(one, &mut policies, now).await {
                    tracing::error!(item = %one.item.id, %error, "an item's slots could not be settled");
                    self.catalog.put_off(one.item.id, now + AGAIN).await?;
                }
            }
            if due.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// A policy, read once for all items that have it.
    pub(crate) async fn policy_of(&self, id: PolicyId, known: &mut Policies) -> Result<Arc<Policy>> {
        if let Some(policy) = known.0.get(&id) {
            return Ok(policy.clone());
        }
        let policy = Arc::new(self.catalog.policy(id).await?.document.check()?);
        known.0.insert(id, policy.clone());
        Ok(policy)
    }

    /// Settles what is due for one item.
    async fn settle(&self, one: &ScheduledItem, policies: &mut Policies, now: Timestamp) -> Result<()> {
        let Some(policy) = one.item.protection.backup_policy() else {
            return self.reschedule(one, None, now).await;
        };
        let policy = self.policy_of(policy, policies).await?;
        if one.due_by.as_deref() != Some(&schedule_of(&policy)) {
            return self.reschedule(one, Some(&policy), now).await;
        }
        let settled = one.settled.unwrap_or(one.item.created);
        let is_running = self.catalog.is_under_way(&one.item.id.to_string(), JobKind::Backup).await?;
        let due = policy.due(one.item.machine, settled, now, is_running);
        match self.write(one, &policy, &due, now).await? {
            Settled::Done | Settled::Lost => Ok(()),
            Settled::Excluded(other) if other.job.kind == JobKind::Backup => {
                // It was queued since we looked: nothing runs beside it.
                let due = policy.due(one.item.machine, settled, now, true);
                self.write(one, &policy, &due, now).await.map(drop)
            }
            // Points are being deleted, disks replaced: soon over.
            Settled::Excluded(_) => Ok(self.catalog.put_off(one.item.id, now + AGAIN).await?),
        }
    }

    async fn write(
        &self,
        one: &ScheduledItem,
        policy: &Policy,
        due: &Due,
        now: Timestamp,
    ) -> Result<Settled> {
        let settled = one.settled.unwrap_or(one.item.created);
        let slots = due.run.iter().chain(due.skipped.iter().map(|skipped| &skipped.slot));
        let after = slots.map(|slot| slot.at).max().unwrap_or(settled);
        let job = match due.run {
            None => None,
            Some(slot) => {
                let stands_for = stands_for(&slot, self.covered(one.item.id).await?);
                let origin = Origin::Scheduled { slot, stands_for };
                let when = When { ready: policy.start_of(&slot, one.item.machine), slot: Some(key(&slot)) };
                let request = Request::BackUp { origin, full: false };
                Some(self.job_for(one.item.vault, one.item.id, &request, when).await?)
            }
        };
        let settle = Settle {
            before: one.settled,
            after,
            next_due: next_due(policy, one, after),
            skipped: &due.skipped,
            job: job.as_ref(),
        };
        let done = self.catalog.settle(one.item.id, &settle, now).await?;
        if done == Settled::Done {
            if job.is_some() {
                self.tell_jobs_changed();
            }
            self.tell_skipped(one, &due.skipped).await?;
        }
        Ok(done)
    }

    async fn tell_skipped(&self, one: &ScheduledItem, skipped: &[Skipped]) -> Result<()> {
        let Some(last) = skipped.last() else { return Ok(()) };
        let why = match last.why {
            Skip::Missed => "nobody was there to start it: the next run makes up for it",
            Skip::StillRunning => "the run before it was still under way",
        };
        let (name, at, more) = (&one.item.name, last.slot.at, skipped.len() - 1);
        let more = if more == 0 { String::new() } else { format!(" (and {more} before)") };
        let text = format!("the backup of {name} for {at} was left out{more}: {why}");
        self.raise(Trouble::BackupSkipped, &one.item.id.to_string(), text).await
    }

    /// The last day that a point of the item in the vault stands for.
    pub(crate) async fn covered(&self, item: Uuid) -> Result<Option<Date>> {
        let mut after = None;
        loop {
            let page = self.catalog.points(item, after.as_ref(), POINTS_READ).await?;
            // The newest first, and days only grow: the first page that tells has told.
            let day = covered(page.rows.iter().map(|row| &row.point));
            if day.is_some() || page.next.is_none() {
                return Ok(day);
            }
            after = page.next;
        }
    }

    /// Puts an item on the schedule of its policy, or on none. What another schedule had not begun is left behind.
    pub(crate) async fn reschedule(
        &self,
        one: &ScheduledItem,
        policy: Option<&Policy>,
        now: Timestamp,
    ) -> Result<()> {
        let Some(policy) = policy else {
            if one.due_by.is_some() {
                self.catalog.reschedule(one, None, one.settled, None).await?;
            }
            return Ok(());
        };
        let schedule = schedule_of(policy);
        if one.due_by.as_ref() == Some(&schedule) {
            return Ok(());
        }
        // A machine newly protected waits for its first slot since then; another one for the first from now on.
        let settled = if one.settled.is_none() { one.item.created } else { now };
        let next = next_due(policy, one, settled);
        Ok(self.catalog.reschedule(one, Some(&schedule), Some(settled), next).await?)
    }
}
