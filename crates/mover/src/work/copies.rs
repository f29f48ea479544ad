//! The vault's second store: points copied to it, and the vault healed from it.
//!
//! Each point is copied by a session of its own, which follows from the order's and the point's ids; so whoever claims
//! the job next finds what an interrupted copy has uploaded. A copy that nobody fences off does no harm: a point that
//! is there is not copied again.

use super::backup::{Tier, key_of, told};
use super::failure::{Failed, Result};
use super::order::Run;
use crate::{Limits, Progress, Throttle};
use api::work::{CopiedOfItem, CopyOutcome, CopyWork, HealWork, PointOfItem};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use model::cost::{Redundancy, StorageTier};
use model::job::{Failure, Step};
use serde_json::json;
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CollectOptions, Copied, CopyCourse, CopyRun, ErrorKind, Point, PointId, SessionId, Standing, Vault,
    copy_point_again, copy_point_at,
};

/// The random bits at the end of a version 7 id, below its variant.
const RANDOM_BITS: u128 = (1 << 62) - 1;

/// The session that a point is copied under: another for each point, and of the order's time.
fn session_of_copy(session: Uuid, point: Uuid) -> SessionId {
    SessionId(Uuid::from_u128(session.as_u128() ^ (point.as_u128() & RANDOM_BITS)))
}

/// Points on their way from one store to another.
pub(super) struct Way<'a> {
    pub(super) run: &'a Run,
    pub(super) from: Arc<Vault>,
    pub(super) to: Arc<Vault>,
    pub(super) throttle: Throttle,
    /// Whether what the target has purged comes back.
    pub(super) returns: bool,
}

/// What came of one point.
pub(super) enum Went {
    /// It is there: the copy, and what it added.
    There(Box<Point>, u64),
    /// The store that it is copied from does not have it.
    Missing,
}

/// Copies points to the second store, and lets go there what is over.
pub(super) async fn copy(run: &Run, work: &CopyWork) -> Result<()> {
    let access = &run.order.vault;
    run.lease.begin(&Step::CopyPoints.to_string(), 0);
    let to = match run.vaults().second(access, &work.to).await? {
        Some(there) => there,
        // Only to make the store is the vault needed even if there is nothing to copy.
        None => {
            let vault = run.vaults().vault(access).await?;
            run.vaults().make_second(access, &work.to, &vault).await?
        }
    };
    run.vaults().attach(&to).await?;
    let mut outcome = CopyOutcome::default();
    if !work.points.is_empty() {
        let from = run.vaults().vault(access).await?;
        let limits = Limits { bytes: work.bytes_per_second.and_then(NonZeroU64::new), reads: None };
        let way = Way { run, from, to: Arc::clone(&to), throttle: Throttle::new(limits), returns: false };
        way.inherit(&work.points).await?;
        for one in &work.points {
            match way.take(*one).await? {
                Went::There(point, added) => {
                    outcome.stored_bytes += added;
                    outcome.copied.push(copied(one, &point)?);
                }
                Went::Missing => outcome.missing.push(one.point),
            }
        }
    }
    if !outcome.missing.is_empty() {
        run.lease.warn(format!(
            "{} points are not in the vault, or were purged in its copy",
            outcome.missing.len()
        ));
    }
    let_go(run, &to, work, &mut outcome).await?;
    let result = serde_json::to_value(outcome).expect("plain data");
    run.lease.step_done(Step::CopyPoints, Some(result));
    Ok(())
}

/// Deletes in the second store what is over there, and gives space back if that is due.
async fn let_go(run: &Run, to: &Arc<Vault>, work: &CopyWork, outcome: &mut CopyOutcome) -> Result<()> {
    for point in &work.let_go {
        // Nobody brings back what an order deletes that is no longer ours.
        run.lease.renewed_lately().await;
        if let (here, Standing::Listed) = to.standing_of(PointId(point.0)).await? {
            to.delete_point(here, work.now).await?;
        }
        outcome.let_go.push(*point);
    }
    let Some(seconds) = work.collect else { return Ok(()) };
    let soft_delete = SignedDuration::from_secs(seconds);
    match Box::pin(to.collect(&CollectOptions { soft_delete, ..CollectOptions::new(work.now) })).await {
        Ok(done) => {
            outcome.freed_bytes = done.freed_bytes;
            super::meter::one(run, to, (StorageTier::Vault, Redundancy::Geo)).await;
        }
        // What was copied is copied: where nothing may be deleted yet, space is given back another day.
        Err(error) => {
            let place = to.store().shown();
            run.lease.warn(format!("No space was given back in {place}: {error}"));
        }
    }
    Ok(())
}

/// Puts the vault right from its second store: damage is repaired, points that it lacks are copied back. A vault of
/// which nothing is left is made anew.
pub(super) async fn heal(run: &Run, work: &HealWork) -> Result<()> {
    let access = &run.order.vault;
    let Some(from) = run.vaults().second(access, &work.from).await? else {
        let text = format!("there is no copy of the vault in {}", work.from.location);
        return Err(Failed::new(Failure::Invalid, text, "check where the vault's second store is"));
    };
    run.lease.begin(&Step::RepairDamage.to_string(), 0);
    // What is open already may be a vault that is there no more.
    run.vaults().close(access);
    let vault = match run.vaults().vault(access).await {
        Err(Failed(error)) if error.failure == Failure::Invalid => {
            run.vaults().make_anew(access, &from).await?;
            run.vaults().vault(access).await?
        }
        opened => opened?,
    };
    run.vaults().attach(&vault).await?;
    if run.order.steps_done == 0 {
        let advance = |bytes| run.lease.progress(Progress::Advance(bytes));
        let found = vault.verify(&advance).await?;
        let done = vault.repair(&found, Some(&*from), run.now()).await?;
        if done.lost > 0 {
            run.lease.warn(format!("{} chunks are damaged in the vault and in its copy", done.lost));
        }
        let result = json!({
            "damaged_packs": done.quarantined, "saved_chunks": done.saved,
            "from_copy": done.from_other, "lost_chunks": done.lost,
        });
        run.lease.step_done(Step::RepairDamage, Some(result));
    }
    run.lease.begin(&Step::CopyBack.to_string(), 0);
    let way = Way { run, from, to: vault, throttle: Throttle::new(Limits::default()), returns: false };
    way.inherit(&work.points).await?;
    let (mut back, mut missing) = (Vec::new(), Vec::new());
    for one in &work.points {
        match way.take(*one).await? {
            Went::There(_, added) => back.extend((added > 0).then_some(one.point)),
            Went::Missing => missing.push(one.point),
        }
    }
    if !missing.is_empty() {
        run.lease.warn(format!("Of {} points the vault ought to have, its copy has none", missing.len()));
    }
    run.lease.step_done(Step::CopyBack, Some(json!({ "copied_back": back, "missing": missing })));
    Ok(())
}

impl Way<'_> {
    /// Keeps what earlier claims of the job had uploaded, as far as they had not come to an end.
    pub(super) async fn inherit(&self, points: &[PointOfItem]) -> Result<()> {
        let earlier = self.run.order.fenced.iter();
        let sessions =
            earlier.flat_map(|id| points.iter().map(|one| session_of_copy(*id, one.point.0))).collect();
        Ok(self.to.inherit_open(&sessions, self.run.now()).await?)
    }

    /// Copies one point, unless it is there.
    pub(super) async fn take(&self, one: PointOfItem) -> Result<Went> {
        let (run, id) = (self.run, PointId(one.point.0));
        run.lease.renewed_lately().await;
        let machine = key_of(one.item)?;
        if let (here, Standing::Listed) = self.to.standing_of(id).await? {
            return Ok(Went::There(Box::new(self.to.point(&machine, here).await?), 0));
        }
        let mut point = match self.from.find_point(&machine, id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Went::Missing),
            found => found?,
        };
        run.lease.progress(Progress::Disk {
            name: point.machine_name.clone(),
            size: point.disks.iter().map(|disk| disk.map.size).sum(),
            tracking: String::new(),
        });
        let session = session_of_copy(run.order.session, one.point.0);
        let advance = |bytes| run.lease.progress(Progress::Advance(bytes));
        let pace = |bytes: u64| -> BoxFuture<'_, ()> { Box::pin(self.throttle.admit(bytes)) };
        let course = CopyCourse { progress: &advance, pace: &pace };
        let copy = CopyRun { session, now: run.now() };
        // What `find_point` gives may be a copy by another id; the server's is the one to be kept.
        point.id = id;
        let copied = match self.returns {
            true => Box::pin(copy_point_again(&self.from, &self.to, &point, copy, course)).await?,
            false => Box::pin(copy_point_at(&self.from, &self.to, &point, copy, course)).await?,
        };
        match copied {
            Copied::Made(made) => {
                let added = made.stats.stored_bytes;
                Ok(Went::There(made, added))
            }
            Copied::There(here) => Ok(Went::There(Box::new(self.to.point(&machine, here).await?), 0)),
            Copied::Deleted(here) => self.bring_back(&point, here).await,
        }
    }

    /// A point that was deleted in the target, and is wanted there.
    async fn bring_back(&self, point: &Point, here: PointId) -> Result<Went> {
        match self.to.standing_of(point.id).await? {
            (_, Standing::Deleted) => {
                self.to.undelete_point(here, self.run.now()).await?;
                Ok(Went::There(Box::new(self.to.point(&point.machine, here).await?), 0))
            }
            _ => {
                let place = self.to.store().shown();
                self.run.lease.warn(format!("The point {} was purged in {place}: it stays so", point.id));
                Ok(Went::Missing)
            }
        }
    }
}

fn copied(one: &PointOfItem, point: &Point) -> Result<CopiedOfItem> {
    let made = serde_json::from_value(told(point, PointId(one.point.0), Tier::Vault));
    let made = made.expect("what was made of it reads as it");
    Ok(CopiedOfItem { item: one.item, name: point.machine_name.clone(), made })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::transfer::session_of_transfer;
    use std::collections::BTreeSet;

    #[test]
    fn each_point_has_a_session_of_its_own_of_the_orders_time() {
        let (order, points) = (Uuid::now_v7(), [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()]);
        let mut sessions: BTreeSet<_> = points.iter().map(|point| session_of_copy(order, *point)).collect();
        for SessionId(session) in &sessions {
            assert_eq!((session.get_version_num(), session.get_timestamp()), (7, order.get_timestamp()));
            assert_eq!(session.get_variant(), uuid::Variant::RFC4122);
        }
        sessions.extend([SessionId(order), session_of_transfer(order)]);
        assert_eq!(sessions.len(), 5);
    }
}
