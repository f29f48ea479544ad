//! Ends of protection, deletion of an item's data, and the way back.
//!
//! CRASH: the item, its points and the job that carries it into the vault are one transaction.

use crate::faults::Faults;
use crate::moving::TRIES;
use crate::request::{Deleted, Request, When, queued};
use crate::{Actor, Control, Error, Result};
use api::{Code, Item, Stop, StopHow};
use catalog::{ItemChange, JobFilter, NewJob, PAGE_MAX, PointToPlan, Told};
use jiff::Timestamp;
use model::VaultId;
use model::job::{Event, JobKind};
use model::protection::{Act, KeepWish, Protection, apply};
use serde_json::{Value, json};
use uuid::Uuid;

/// Characters of a reason.
const REASON_MAX: usize = 500;

/// What is about to be done to an item.
struct Ending {
    act: Act,
    verb: &'static str,
    detail: Value,
    /// Jobs that wait for their turn and are not wanted any more.
    in_vain: JobKind,
}

impl Control {
    /// Ends an item's protection; its points stay, or are deleted such that they can be brought back.
    pub async fn stop(&self, actor: &Actor, vault: VaultId, id: Uuid, wish: &Stop) -> Result<Item> {
        let mut faults = Faults::default();
        if wish.data == StopHow::Delete && wish.keep.is_some() {
            faults.add("/keep", "is for points that stay; these are deleted");
        }
        if let Some(reason) = &wish.reason {
            faults.text("/reason", reason, REASON_MAX);
        }
        faults.none()?;
        let ending = match wish.data {
            StopHow::Keep => Ending {
                act: Act::StopAndKeep(wish.keep.unwrap_or(KeepWish::Forever)),
                verb: "item.stop",
                detail: json!({ "keep": wish.keep.unwrap_or(KeepWish::Forever), "reason": wish.reason }),
                in_vain: JobKind::Backup,
            },
            StopHow::Delete => Ending {
                act: Act::StopAndDelete,
                verb: "item.delete",
                detail: json!({ "reason": wish.reason }),
                in_vain: JobKind::Backup,
            },
        };
        self.end_protection(actor, vault, id, &ending).await
    }

    /// Brings an item's deleted points back. They stay until somebody says otherwise.
    pub async fn undelete(&self, actor: &Actor, vault: VaultId, id: Uuid) -> Result<Item> {
        let ending = Ending {
            act: Act::Undelete,
            verb: "item.undelete",
            detail: json!({}),
            in_vain: JobKind::DeleteData,
        };
        self.end_protection(actor, vault, id, &ending).await
    }

    async fn end_protection(&self, actor: &Actor, vault: VaultId, id: Uuid, ending: &Ending) -> Result<Item> {
        for _ in 1..TRIES {
            match self.try_end_protection(actor, vault, id, ending).await {
                Err(error) if error.code() == Code::Changed => {}
                done => return done,
            }
        }
        self.try_end_protection(actor, vault, id, ending).await
    }

    async fn try_end_protection(
        &self,
        actor: &Actor,
        vault: VaultId,
        id: Uuid,
        ending: &Ending,
    ) -> Result<Item> {
        let row = self.vault_row(vault).await?;
        let item = self.item_row(vault, id).await?;
        let mut kept = self.catalog.points_to_plan(id).await?;
        let mut world = self.circumstances(&row, item.machine).await?;
        world.has_pinned = kept.iter().any(|kept| kept.point.pinned && !kept.point.is_deleted());
        let protection = apply(item.protection, ending.act, &world)?;
        let mut detail = ending.detail.clone();
        (detail["vault"], detail["name"]) = (json!(vault), json!(item.name));
        self.audit(actor, ending.verb, &id.to_string(), &detail).await?;
        self.cancel_waiting(id, ending.in_vain).await?;
        let when = When { ready: world.now, slot: None };
        let request = carry_over(&mut kept, &item, (ending.act, protection), world.now);
        let job = match request {
            Some(request) => {
                let new = self.job_for(vault, id, &request, when).await?;
                Some(NewJob { asked_by: Some(actor.0.clone()), ..new })
            }
            None => None,
        };
        let changed = catalog::Item { protection, ..item };
        let change = ItemChange { item: &changed, points: &kept, job: job.as_ref() };
        queued(self.catalog.change_item(&change, world.now).await?)?;
        self.plan_again(id).await?;
        self.tell_jobs_changed();
        self.shown_item(&catalog::Item { revision: changed.revision + 1, ..changed }).await
    }

    /// Cancels jobs of a kind that nobody works on yet.
    async fn cancel_waiting(&self, item: Uuid, kind: JobKind) -> Result<()> {
        let word = serde_json::to_value(kind).expect("a word");
        for state in ["queued", "waiting"] {
            let filter = JobFilter {
                subject: Some(item.to_string()),
                state: Some(state.to_owned()),
                kind: word.as_str().map(str::to_owned),
                ..JobFilter::default()
            };
            for job in self.catalog.jobs(&filter, None, PAGE_MAX).await?.rows {
                // One that was claimed meanwhile is asked to end; it excludes what comes next until it has.
                let cancelled =
                    self.catalog.change_job(job.id, Event::Cancel, Told::default(), self.now()).await?;
                if let Err(refusal) = cancelled {
                    tracing::debug!(job = %job.id, %refusal, "a job that is not wanted any more goes on");
                }
            }
        }
        Ok(())
    }
}

/// What an act means for an item's points, leaving those that it changes, and for the vault. Points expire by a plan,
/// which is made for items with a policy: without one nothing expires.
fn carry_over(
    kept: &mut Vec<PointToPlan>,
    item: &catalog::Item,
    (act, protection): (Act, Protection),
    now: Timestamp,
) -> Option<Request> {
    let request = match (act, protection) {
        // Those that were deleted before have a date of their own.
        (_, Protection::Deleted { purge_at }) => {
            kept.retain(|kept| !kept.point.is_deleted());
            kept.iter_mut().for_each(|kept| kept.point.purge_at = Some(purge_at));
            let purge_at = Some(purge_at);
            Some(Request::DeletePoints { points: Vec::new(), expired: false, purge_at })
        }
        // Until its date a point can be brought back, and no longer.
        (Act::Undelete, _) => {
            kept.retain(|kept| kept.point.purge_at.is_some_and(|purge_at| now < purge_at));
            let points = kept.iter().filter_map(|kept| Some((kept.point.id, kept.point.purge_at?))).collect();
            kept.iter_mut().for_each(|kept| kept.point.purge_at = None);
            let until = match item.protection {
                Protection::Deleted { purge_at } => Some(purge_at),
                _ => None,
            };
            let was = Deleted { points, item: until };
            Some(Request::UndeletePoints { points: Vec::new(), was })
        }
        _ => {
            kept.retain(|kept| !kept.point.is_deleted());
            None
        }
    };
    match protection.retention_policy() {
        None => kept.iter_mut().for_each(|kept| kept.expires = None),
        Some(_) => kept.clear(),
    }
    request
}

/// An item whose points are deleted, all of them.
pub(crate) fn must_not_be_deleted(item: &catalog::Item) -> Result<()> {
    match item.protection {
        Protection::Deleted { purge_at } => {
            let detail =
                format!("all points of {} are deleted, and can be brought back until {purge_at}", item.name);
            Err(Error::new(Code::Conflict, detail).hint("bring the machine's points back first"))
        }
        _ => Ok(()),
    }
}
