//! Recovery points: seen, pinned, deleted and brought back, restored, read back.

use crate::machines::OWN_MOVER;
use crate::moving::TRIES;
use crate::policies::stored;
use crate::request::settings;
use crate::request::{Deleted, Request, When, queued};
use crate::stopping::must_not_be_deleted;
use crate::{Actor, Control, Error, Paging, Result};
use api::{Code, KeptFor, Page, Pin, Point, PointDisk, Restore, VaultSettings};
use catalog::{Item, ItemChange, NewJob, PointRow, PointToPlan};
use jiff::{SignedDuration, Timestamp};
use model::retention::{Fate, Tier, Until, Verdict, plan};
use model::{JobId, Near, Origin, PointId, Policy, VaultCopy, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use uuid::Uuid;

/// The longest path that Linux takes.
pub(crate) const PATH_MAX: usize = 4096;
/// Disks that a restore names; machines have fewer.
pub(crate) const DISKS_MAX: usize = 256;
/// Characters of a disk's name.
pub(crate) const DISK_NAME_MAX: usize = 255;

/// Where a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointPlace {
    /// In this vault.
    pub vault: VaultId,
    /// Of this item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
}

/// The rest of a point, as the catalog keeps it: its `detail`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PointDetail {
    /// What was proved of its consistency.
    pub(crate) evidence: Value,
    /// Its disks.
    pub(crate) disks: Vec<PointDisk>,
}

impl PointDetail {
    /// What a row says; what cannot be read is left out, for the vault has it.
    pub(crate) fn of(row: &PointRow) -> Self {
        serde_json::from_value(row.detail.clone()).unwrap_or_default()
    }
}

/// A change of one point that was read with all others of its item.
struct Change {
    verb: &'static str,
    kept: PointToPlan,
    request: Option<Request>,
}

/// What a change of a point is decided by.
struct Facts {
    item: Item,
    /// All points of the item.
    all: Vec<model::Point>,
    point: model::Point,
    settings: VaultSettings,
    /// By which the item's points expire.
    policy: Option<Policy>,
}

impl Control {
    /// The points of an item, newest first; with those that were deleted and can be brought back.
    pub async fn points(&self, vault: VaultId, item: Uuid, paging: &Paging) -> Result<Page<Point>> {
        let (after, limit) = paging.place_in_time()?;
        let item = self.item_row(vault, item).await?;
        let page = self.catalog.points(item.id, after.as_ref(), limit).await?;
        let verdicts = self.verdicts(&item).await?;
        let mut drills = self.point_drills(item.id).await?;
        let mut of_copies = self.copy_drills(vault, Some(item.id)).await?;
        let points = page.rows.into_iter().map(|row| {
            let (drill, copy_drill) = (drills.remove(&row.point.id), of_copies.remove(&row.point.id));
            Point { drill, copy_drill, ..shown(&item, row, (&verdicts, self.now())) }
        });
        Ok(Page { items: points.collect(), next: page.next.map(|next| next.to_string()) })
    }

    /// One point.
    pub async fn point(&self, place: PointPlace) -> Result<Point> {
        let (item, row) = self.point_row(place).await?;
        let verdicts = self.verdicts(&item).await?;
        let drill = self.point_drills(item.id).await?.remove(&place.point);
        let copy_drill = self.copy_drills(place.vault, Some(item.id)).await?.remove(&place.point);
        Ok(Point { drill, copy_drill, ..shown(&item, row, (&verdicts, self.now())) })
    }

    /// Keeps a point until somebody says otherwise, or says otherwise.
    pub async fn pin(&self, actor: &Actor, place: PointPlace, wish: Pin) -> Result<Point> {
        let now = self.now();
        let pin = |facts: &Facts| {
            must_be_there(&facts.point)?;
            let point = model::Point { pinned: wish.pinned, ..facts.point.clone() };
            let verb = if wish.pinned { "point.pin" } else { "point.unpin" };
            // It counts as expired until the plan is made again.
            let expires = facts.policy.as_ref().map(|_| now);
            Ok(Change { verb, kept: PointToPlan { point, expires }, request: None })
        };
        self.change_point(actor, place, pin).await?;
        self.point(place).await
    }

    /// Deletes a point such that it can be brought back.
    pub async fn delete_point(&self, actor: &Actor, place: PointPlace) -> Result<JobId> {
        let now = self.now();
        let delete = |facts: &Facts| {
            may_be_deleted(facts, now)?;
            let lasts = SignedDuration::from_hours(24 * i64::from(facts.settings.soft_delete_days));
            let purge_at = Some(now.saturating_add(lasts).expect("a duration, not a span"));
            let points = vec![place.point];
            let kept = PointToPlan { point: model::Point { purge_at, ..facts.point.clone() }, expires: None };
            let request = Some(Request::DeletePoints { points, expired: false, purge_at });
            Ok(Change { verb: "point.delete", kept, request })
        };
        let job = self.change_point(actor, place, delete).await?;
        Ok(job.expect("a change with a request is a job"))
    }

    /// Brings a deleted point back. If the policy would have it go again at once, it is pinned.
    pub async fn undelete_point(&self, actor: &Actor, place: PointPlace) -> Result<JobId> {
        let now = self.now();
        let bring_back = |facts: &Facts| {
            must_not_be_deleted(&facts.item)?;
            let until = match facts.point.purge_at {
                None => return Err(Error::new(Code::Conflict, "the point is not deleted")),
                Some(until) if until <= now => {
                    let detail = format!("the point could be brought back until {until}");
                    return Err(Error::new(Code::Conflict, detail));
                }
                Some(until) => until,
            };
            let mut point = model::Point { purge_at: None, ..facts.point.clone() };
            point.pinned |=
                facts.policy.as_ref().is_some_and(|policy| goes_at_once(&point, facts, policy, now));
            let kept = PointToPlan { point, expires: facts.policy.as_ref().map(|_| now) };
            let was = Deleted { points: vec![(place.point, until)], item: None };
            let request = Some(Request::UndeletePoints { points: vec![place.point], was });
            Ok(Change { verb: "point.undelete", kept, request })
        };
        let job = self.change_point(actor, place, bring_back).await?;
        Ok(job.expect("a change with a request is a job"))
    }

    /// Writes disks of a point as images.
    pub async fn restore(&self, actor: &Actor, place: PointPlace, wish: Restore) -> Result<JobId> {
        let (item, detail) = self.readable(place, wish.from_copy).await?;
        crate::restore::check(&wish, &detail)?;
        self.must_be_mover(wish.mover.as_deref()).await?;
        let detail = json!({
            "vault": place.vault, "item": place.item, "name": item.name,
            "folder": wish.folder, "disks": wish.disks, "mover": wish.mover, "machine": wish.machine,
            "from_copy": wish.from_copy,
        });
        self.audit(actor, "point.restore", &place.point.to_string(), &detail).await?;
        let Restore { folder, disks, format, mover, machine, from_copy } = wish;
        let request =
            Request::Restore { point: place.point, folder, disks, format, mover, machine, from_copy };
        self.queue_for(actor, place.vault, place.item, &request).await
    }

    /// A point that can be read, with its item: from a tier of the vault, or from its second store.
    pub(crate) async fn readable(&self, place: PointPlace, from_copy: bool) -> Result<(Item, PointDetail)> {
        if from_copy {
            let item = self.item_row(place.vault, place.item).await?;
            let copy = self.copy_row(place.vault, place.item, place.point).await?;
            return Ok((item, serde_json::from_value(copy.detail).unwrap_or_default()));
        }
        let (item, row) = self.point_row(place).await?;
        let detail = PointDetail::of(&row);
        must_be_readable(&row.point, self.now())?;
        Ok((item, detail))
    }

    /// What was to be read when it was asked for may be in the archive alone by the time a mover claims it.
    pub(crate) async fn must_be_near(&self, point: PointId, from_copy: bool) -> Result<()> {
        match self.catalog.point(point).await {
            Ok(row) if row.point.archive.is_there() && !from_copy => must_be_readable(&row.point, self.now()),
            _ => Ok(()),
        }
    }

    /// One that is named must be a mover of a host, or the server's own.
    pub(crate) async fn must_be_mover(&self, named: Option<&str>) -> Result<()> {
        let Some(mover) = named.filter(|mover| *mover != OWN_MOVER) else { return Ok(()) };
        if self.catalog.hosts().await?.iter().any(|host| host.mover == mover) {
            return Ok(());
        }
        Err(Error::invalid("/mover", format!("must be a mover of one of the hosts; {mover} is none")))
    }

    /// Reads a point back, to see that it can be.
    pub async fn verify(&self, actor: &Actor, place: PointPlace) -> Result<JobId> {
        let (item, row) = self.point_row(place).await?;
        must_be_readable(&row.point, self.now())?;
        let detail = json!({ "vault": place.vault, "item": place.item, "name": item.name });
        self.audit(actor, "point.verify", &place.point.to_string(), &detail).await?;
        let request = Request::Verify { point: place.point };
        self.queue_for(actor, place.vault, place.item, &request).await
    }

    /// Changes a point as `decide` says. Gives the job, if there is one.
    async fn change_point(
        &self,
        actor: &Actor,
        place: PointPlace,
        decide: impl Fn(&Facts) -> Result<Change>,
    ) -> Result<Option<JobId>> {
        let mut tries = TRIES;
        loop {
            let facts = self.facts(place).await?;
            let (item, change) = (&facts.item, decide(&facts)?);
            let detail = json!({ "vault": place.vault, "item": item.id, "name": item.name });
            self.audit(actor, change.verb, &place.point.to_string(), &detail).await?;
            let when = When { ready: self.now(), slot: None };
            let job = match &change.request {
                Some(request) => {
                    let new = self.job_for(place.vault, item.id, request, when).await?;
                    Some(NewJob { asked_by: Some(actor.0.clone()), ..new })
                }
                None => None,
            };
            let write = ItemChange { item, points: &[change.kept], job: job.as_ref() };
            let written = self.catalog.change_item(&write, self.now()).await.map_err(Error::from);
            tries -= 1;
            match written {
                Err(error) if error.code() == Code::Changed && tries > 0 => {}
                outcome => {
                    queued(outcome?)?;
                    self.tell_jobs_changed();
                    return Ok(job.map(|job| job.id));
                }
            }
        }
    }

    async fn facts(&self, place: PointPlace) -> Result<Facts> {
        let item = self.item_row(place.vault, place.item).await?;
        let all: Vec<_> =
            self.catalog.points_to_plan(item.id).await?.into_iter().map(|kept| kept.point).collect();
        let point = all.iter().find(|point| point.id == place.point);
        let point = point.ok_or_else(|| no_point(place))?.clone();
        let settings = settings(&self.vault_row(place.vault).await?)?;
        Ok(Facts { policy: self.retention_of(&item).await?, item, all, point, settings })
    }

    /// A point that must be there, with its item.
    pub(crate) async fn point_row(&self, place: PointPlace) -> Result<(Item, PointRow)> {
        let item = self.item_row(place.vault, place.item).await?;
        let row = self.catalog.point(place.point).await;
        let row = row.map_err(|error| Error::missing(error, format!("point {} of the item", place.point)))?;
        if row.item == item.id { Ok((item, row)) } else { Err(no_point(place)) }
    }

    /// The policy by which an item's points expire.
    async fn retention_of(&self, item: &Item) -> Result<Option<Policy>> {
        match item.protection.retention_policy() {
            Some(policy) => Ok(Some(stored(&self.policy_row(item.vault, policy).await?)?)),
            None => Ok(None),
        }
    }

    /// What becomes of each copy of an item's points as things are. Empty if nothing expires.
    async fn verdicts(&self, item: &Item) -> Result<HashMap<PointId, Vec<Verdict>>> {
        let mut verdicts: HashMap<PointId, Vec<Verdict>> = HashMap::new();
        if let Some(policy) = self.retention_of(item).await? {
            let kept = self.catalog.points_to_plan(item.id).await?;
            let points: Vec<_> = kept.into_iter().map(|kept| kept.point).collect();
            for copy in plan(&points, &policy, self.now()).copies {
                verdicts.entry(copy.point).or_default().push(copy);
            }
        }
        Ok(verdicts)
    }
}

fn no_point(place: PointPlace) -> Error {
    Error::not_found(format!("point {} of the item", place.point))
}

/// Whether somebody may delete a point.
fn may_be_deleted(facts: &Facts, now: Timestamp) -> Result<()> {
    must_not_be_deleted(&facts.item)?;
    must_be_there(&facts.point)?;
    let locked = |why: String| Err(Error::new(Code::Locked, why));
    if facts.settings.immutable {
        return locked("the vault is immutable: nothing may be lost sooner than promised".to_owned());
    }
    if facts.point.pinned {
        return locked("the point is pinned; unpin it first".to_owned());
    }
    if let Some(until) = facts.point.locked_until.filter(|until| now < *until) {
        return locked(format!("the point is locked until {until}"));
    }
    let there = facts.all.iter().filter(|point| !point.is_deleted());
    if there.max_by_key(|point| (point.taken, point.id)).is_some_and(|newest| newest.id == facts.point.id) {
        let error = Error::new(Code::Conflict, "it is the newest point of the machine, which always stays");
        return Err(error.hint("to be rid of all points, stop the protection and delete the data"));
    }
    Ok(())
}

/// Whether a policy keeps no copy of a point that comes back.
fn goes_at_once(point: &model::Point, facts: &Facts, policy: &Policy, now: Timestamp) -> bool {
    let others = facts.all.iter().filter(|other| other.id != point.id);
    let points: Vec<_> = others.chain([point]).cloned().collect();
    plan(&points, policy, now).expired().any(|copy| copy.point == point.id)
}

/// A point that was not deleted.
pub(crate) fn must_be_there(point: &model::Point) -> Result<()> {
    match point.purge_at {
        None => Ok(()),
        Some(until) => {
            let detail = format!("the point is deleted, and can be brought back until {until}");
            Err(Error::new(Code::Conflict, detail).hint("bring it back first"))
        }
    }
}

/// A point that some tier has a copy of.
pub(crate) fn must_be_readable(point: &model::Point, now: Timestamp) -> Result<()> {
    must_be_there(point)?;
    if point.in_snapshot_tier || point.is_near(now) {
        return Ok(());
    }
    if point.vault == VaultCopy::There {
        let detail = format!("the point {} is in the archive, and in no other tier", point.id);
        let hint = "bring it back for some days first: `strongroom point rehydrate MACHINE POINT`, or `--rehydrate` \
                    with `strongroom restore`";
        return Err(Error::new(Code::Conflict, detail).hint(hint));
    }
    Err(Error::new(Code::Conflict, "no tier has a copy of the point"))
}

fn shown(item: &Item, row: PointRow, (verdicts, now): (&HashMap<PointId, Vec<Verdict>>, Timestamp)) -> Point {
    let PointDetail { evidence, disks } = PointDetail::of(&row);
    let point = &row.point;
    let copies = verdicts.get(&point.id).map_or(&[][..], Vec::as_slice);
    // The vault's copy is the one that stays.
    let lasting = copies.iter().max_by_key(|copy| copy.tier);
    let expires = lasting.and_then(|copy| match copy.fate {
        Fate::Kept(Until::At(end)) | Fate::Expired(Some(end)) => Some(end),
        Fate::Kept(Until::Open) | Fate::Expired(None) => None,
    });
    let kept_for = if copies.is_empty() { kept_anyway(point) } else { reasons(copies) };
    Point {
        id: point.id,
        vault: item.vault,
        item: item.id,
        taken: point.taken,
        consistency: row.consistency,
        evidence,
        kept_for,
        expires,
        origin: match point.origin {
            Origin::Scheduled { .. } => "scheduled".to_owned(),
            Origin::OnDemand { .. } => "on_demand".to_owned(),
        },
        in_snapshot_tier: point.in_snapshot_tier,
        in_vault_tier: point.is_near(now),
        in_archive_tier: point.archive.is_there(),
        held_until: match point.archive.near() {
            Some(Near::Held { until }) if now < until => Some(until),
            _ => None,
        },
        pinned: point.pinned,
        purge_at: point.purge_at,
        disks,
        stored_bytes: row.stored_bytes,
        drill: None,
        copy_drill: None,
    }
}

/// Why copies of a point are kept: what the vault's is kept for, then what the snapshot is besides.
fn reasons(copies: &[Verdict]) -> Vec<KeptFor> {
    let mut kept_for: Vec<KeptFor> = Vec::new();
    for tier in [Tier::Vault, Tier::Snapshot] {
        let copy = copies.iter().filter(|copy| copy.tier == tier);
        for reason in copy.flat_map(|copy| &copy.reasons) {
            let until = match reason.until {
                Until::At(end) => Some(end),
                Until::Open => None,
            };
            let why = reason.why.to_string();
            if !kept_for.iter().any(|one| one.why == why) {
                kept_for.push(KeptFor { why, until });
            }
        }
    }
    kept_for
}

/// Why a point is kept that no plan is made for.
fn kept_anyway(point: &model::Point) -> Vec<KeptFor> {
    let reason = |why: &str, until: Option<Timestamp>| KeptFor { why: why.to_owned(), until };
    match point.purge_at {
        Some(until) => vec![reason("deleted, can be brought back", Some(until))],
        None => {
            let pinned = point.pinned.then(|| reason("pinned", None));
            let locked = point.locked_until.map(|until| reason("locked", Some(until)));
            let word = reason("protection was stopped, points are kept", None);
            std::iter::once(word).chain(pinned).chain(locked).collect()
        }
    }
}
