//! A vault's archive store: what moves there and when, what is dropped in the vault tier for it, and what comes back.
//!
//! ```text
//! Never ─order─► Expected ─copied, read back─► There, held until now ─drop─► dropped ─collected─► gone
//!                                                    ▲  │                       │                 │
//!                                              days are over          ◄─── rehydrated, held for days
//! ```
//! INVARIANT: a point is dropped in the vault tier only by a mover that has, in that very order, found it listed in the
//! archive store's log and read its record there; and purged in the vault tier only when the catalog lists it as dropped,
//! the soft-delete days later. What expires, is locked, pinned or deleted is `retention`'s and the settling's to say, for
//! the archive's copy as for any other.
//!
//! CRASH, of server or mover, at any step:
//! | after | where the point is | what goes on |
//! | --- | --- | --- |
//! | the order | the vault tier | the job is claimed again, or the next day's plan holds the point as before |
//! | some chunks were copied | the vault tier; packs in the archive that are inherited | the same |
//! | the copy's commit | both | the copy is found, read back, told |
//! | step one was told | both; nobody reads the vault tier's without asking for it back, which is at once | it is dropped: the claim's, or the next day's |
//! | it was dropped | the archive, and the vault tier's softly deleted | dropping again finds it done, and tells |
//!
//! So at each moment it can be restored from at least one of them, and whoever looks next finishes what was begun. That the
//! archive may have a point is noted with the order: whatever deletes the point deletes it there as well.

use crate::alerts::Trouble;
use crate::collect::last_moment;
use crate::faults::Faults;
use crate::order::{Ordered, Prepared, item_of, ordered_of};
use crate::points::{PATH_MAX, PointPlace, must_be_there};
use crate::request::{Request, When, settings};
use crate::schedule::Policies;
use crate::{Actor, Control, Error, Result, store};
use api::work::{ArchiveOutcome, ArchiveWork, InArchive, RehydrateWork, StoreAccess, Work};
use api::{
    ArchivePlan, ArchiveState, ArchiveStore, ArchivingBegun, Code, ItemArchivePlan, PointToArchive,
    Rehydrate, StaysPut, VaultSettings,
};
use catalog::{ErrorKind, Item, ItemFilter, JobFilter, JobRow, PAGE_MAX, VaultRow};
use jiff::{SignedDuration, Timestamp};
use model::archive::{HELD_DAYS_MAX, Move, Why, over, plan};
use model::job::{JobKind, JobState};
use model::{ArchiveCopy, JobId, Near, Point, PointId, PolicyId, VaultId};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What the names of the variables begin with that hold an archive store's credentials.
pub(crate) const CREDENTIALS: &str = "ARCHIVE_";
/// Points of one machine that one job moves: each is read back, which takes its time. The next day goes on.
const MOVED_AT_ONCE: usize = 100;
/// Points that a dry run lists.
const LISTED_MAX: usize = 10_000;
/// Jobs of a machine that are looked at for one that reads its points.
const JOBS_READ: u32 = 50;
/// What reads points: nothing is dropped beneath it.
const READERS: [JobKind; 5] =
    [JobKind::Restore, JobKind::InstantRestore, JobKind::Verify, JobKind::Drill, JobKind::Plan];
/// What lies in an archive seldom changes, and looking costs money there: space is given back once in so many days, and
/// whenever something is to be purged.
const COLLECTED_DAYS: i64 = 7;

/// What is to be done for one machine.
struct Due {
    moves: Vec<(PointId, Timestamp, Timestamp)>,
    drops: Vec<PointId>,
    stays: Vec<Why>,
}

impl Due {
    fn is_none(&self) -> bool {
        self.moves.is_empty() && self.drops.is_empty()
    }
}

impl Control {
    /// Plans each vault's archiving, once a day, and queues a job for each machine that has something to move or drop.
    ///
    /// # Errors
    /// The catalog's. What fails for one vault is told to the log, and tried again.
    pub async fn tick_archive(&self, now: Timestamp) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            if settings(&vault)?.archive.is_none() {
                continue;
            }
            // Ids are random: the day's moment is another one than its collection's.
            let moment = last_moment(VaultId(Uuid::from_u128(vault.id.0.as_u128().rotate_left(17))), now);
            let Some(moment) = moment.filter(|moment| vault.created <= *moment) else { continue };
            if self.catalog.archive_planned(vault.id).await?.is_some_and(|planned| moment <= planned) {
                continue;
            }
            match self.archive_vault(&vault, moment, None).await {
                // CRASH: before this it is planned again; each machine has had its job of the day.
                Ok(_) => self.catalog.note_archive_plan(vault.id, moment).await?,
                Err(error) => tracing::error!(vault = %vault.id, %error, "a vault could not be archived"),
            }
        }
        Ok(())
    }

    /// Queues the jobs of a vault: for a day, or because somebody asks.
    async fn archive_vault(
        &self,
        vault: &VaultRow,
        moment: Timestamp,
        actor: Option<&Actor>,
    ) -> Result<ArchivingBegun> {
        let now = self.now();
        let mut begun = ArchivingBegun::default();
        for item in self.items_to_archive(vault).await? {
            if self.archive_due(&item, now).await?.is_none() {
                continue;
            }
            let queued = match actor {
                Some(actor) => self.queue_for(actor, vault.id, item.id, &Request::Archive {}).await,
                None => {
                    let when = When { ready: now, slot: Some(moment.to_string()) };
                    self.queue(vault.id, item.id, &Request::Archive {}, when).await
                }
            };
            match queued {
                // Something is under way for the machine: tomorrow is soon enough.
                Err(error) if error.code() == Code::Conflict => begun.busy += 1,
                queued => begun.jobs.push(queued?),
            }
        }
        Ok(begun)
    }

    /// Items whose policy moves points, and those that hold something back.
    async fn items_to_archive(&self, vault: &VaultRow) -> Result<Vec<Item>> {
        let held: BTreeSet<Uuid> = self.catalog.items_with_held_points(vault.id).await?.into_iter().collect();
        let mut policies = Policies::default();
        let mut wanted = Vec::new();
        for item in self.all_items(vault.id).await? {
            let is_wanted = match item.protection.retention_policy() {
                _ if held.contains(&item.id) => true,
                Some(policy) => {
                    self.policy_of(policy, &mut policies).await?.document().vault.archive.is_some()
                }
                None => false,
            };
            wanted.extend(is_wanted.then_some(item));
        }
        Ok(wanted)
    }

    async fn all_items(&self, vault: VaultId) -> Result<Vec<Item>> {
        let filter = ItemFilter { vault: Some(vault), ..ItemFilter::default() };
        let (mut all, mut place) = (Vec::new(), None);
        loop {
            let page = self.catalog.items(&filter, place.as_ref(), PAGE_MAX).await?;
            all.extend(page.rows);
            place = page.next;
            if place.is_none() {
                return Ok(all);
            }
        }
    }

    /// What is to be done for a machine's points now. Made when it is planned, and again when a mover claims it.
    async fn archive_due(&self, item: &Item, now: Timestamp) -> Result<Due> {
        let points: Vec<Point> =
            self.catalog.points_to_plan(item.id).await?.into_iter().map(|one| one.point).collect();
        let mut due = Due { moves: Vec::new(), drops: over(&points, now), stays: Vec::new() };
        if let Some(policy) = item.protection.retention_policy() {
            self.add_moves(&mut due, item, (policy, &points), now).await?;
        }
        if !due.is_none() && self.is_read(item).await? {
            (due.moves, due.drops) = (Vec::new(), Vec::new());
        }
        Ok(due)
    }

    async fn add_moves(
        &self,
        due: &mut Due,
        item: &Item,
        (policy, points): (PolicyId, &[Point]),
        now: Timestamp,
    ) -> Result<()> {
        let policy = self.policy_of(policy, &mut Policies::default()).await?;
        let is_copied = settings(&self.catalog.vault(item.vault).await?)?.copy.is_some();
        for verdict in plan(points, &policy, now) {
            match verdict.fate {
                Move::Stays(why) => due.stays.push(why),
                // Its second store gets it first: what is in the archive alone is not copied.
                Move::Goes { .. } if is_copied && !self.has_copy(item.vault, verdict.point).await? => {}
                Move::Goes { expires } => due.moves.push((verdict.point, verdict.taken, expires)),
            }
        }
        Ok(())
    }

    async fn has_copy(&self, vault: VaultId, point: PointId) -> Result<bool> {
        match self.catalog.copy(vault, point).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => Ok(found.map(|_| true)?),
        }
    }

    /// Whether something reads the machine's points, or is to.
    async fn is_read(&self, item: &Item) -> Result<bool> {
        let filter = JobFilter { subject: Some(item.id.to_string()), ..JobFilter::default() };
        let jobs = self.catalog.jobs(&filter, None, JOBS_READ).await?.rows;
        Ok(jobs.iter().any(|row| !row.job.is_over() && READERS.contains(&row.job.kind)))
    }

    /// What a job that archives comes to.
    pub(crate) async fn archive_work(&self, row: &JobRow, item: &Item, ordered: Ordered) -> Result<Prepared> {
        let (vault, now) = (self.vault_of(row).await?, self.now());
        let Some(archive) = settings(&vault)?.archive else {
            return Ok(Prepared::Unwanted(format!("the vault {} has no archive store any more", vault.name)));
        };
        let due = self.archive_due(item, now).await?;
        let mut moves: Vec<PointId> = due.moves.iter().map(|(point, ..)| *point).collect();
        // What an earlier claim has copied and told of is in `drops` by now.
        moves.truncate(if row.job.steps_done == 0 { MOVED_AT_ONCE } else { 0 });
        if moves.is_empty() && due.drops.is_empty() {
            return Ok(Prepared::Done);
        }
        // Before anybody copies: from now on the archive may have them, and what deletes them deletes them there.
        self.change_points(item.id, |point| {
            let begins = moves.contains(&point.id) && point.archive.is_never();
            begins.then(|| Point { archive: ArchiveCopy::Expected, ..point.clone() })
        })
        .await?;
        let work = ArchiveWork {
            to: access(&archive),
            make: !self.catalog.is_archive_used(vault.id).await?
                && !self.catalog.is_archive_missing(vault.id).await?,
            item: item.id,
            moves: moves.clone(),
            drops: due.drops.clone(),
            now,
            bytes_per_second: limit(&archive),
        };
        let ordered = Ordered { points: moves, snapshots: due.drops, ..ordered };
        Ok(Prepared::Work(Box::new(Work::Archive(Box::new(work))), ordered))
    }

    /// Takes in what was copied, and then what was dropped. Done again it changes nothing: what came back since then is
    /// held beyond the moment of the order.
    pub(crate) async fn follow_archive(&self, row: &JobRow) -> Result<()> {
        self.tell_end(row, Trouble::ArchiveFailed, "archiving points of").await?;
        let Some(told) = &row.result else { return Ok(()) };
        let Ok(outcome) = serde_json::from_value::<ArchiveOutcome>(told.clone()) else { return Ok(()) };
        let at = ordered_of(row).at.unwrap_or(row.created);
        let purge_at = row.ended.unwrap_or(self.now()) + self.soft_delete(&self.vault_of(row).await?).await?;
        self.change_points(item_of(row)?, |point| {
            let mut archive = point.archive;
            if let Some(there) = outcome.archived.iter().find(|there| there.point == point.id)
                && !archive.is_there()
            {
                let near = Near::Held { until: at };
                archive = ArchiveCopy::There { since: at, stored_bytes: there.stored_bytes, near };
            }
            let is_over = matches!(archive.near(), Some(Near::Held { until }) if until <= at);
            if is_over && outcome.dropped.contains(&point.id) {
                archive = archive.with_near(Near::Dropped { purge_at });
            }
            Some(Point { archive, ..point.clone() })
        })
        .await
    }

    /// Brings an archived point back to the vault tier, for some days; or holds one longer that is back.
    pub async fn rehydrate(&self, actor: &Actor, place: PointPlace, wish: Rehydrate) -> Result<JobId> {
        let mut faults = Faults::default();
        faults.range("/days", (1, HELD_DAYS_MAX), wish.days);
        faults.none()?;
        let (item, row) = self.point_row(place).await?;
        must_be_there(&row.point)?;
        if !row.point.archive.is_there() {
            let error = Error::new(Code::Conflict, "the point is not in the archive");
            return Err(error.hint("it can be restored as it is"));
        }
        archive_of(&self.vault_row(place.vault).await?)?;
        let detail =
            json!({ "vault": place.vault, "item": place.item, "name": item.name, "days": wish.days });
        self.audit(actor, "point.rehydrate", &place.point.to_string(), &detail).await?;
        let request = Request::Rehydrate { point: place.point, days: wish.days };
        self.queue_for(actor, place.vault, place.item, &request).await
    }

    /// What a job that brings a point back comes to.
    pub(crate) async fn rehydrate_work(
        &self,
        row: &JobRow,
        item: &Item,
        point: PointId,
        ordered: Ordered,
    ) -> Result<Prepared> {
        let archive = archive_of(&self.vault_of(row).await?)?;
        let point = self.catalog.point(point).await?.point;
        if point.is_deleted() || !point.archive.is_there() {
            return Ok(Prepared::Unwanted(format!("the point {} is in the archive no more", point.id)));
        }
        let (from, bytes_per_second) = (access(&archive), limit(&archive));
        let work = RehydrateWork { from, item: item.id, point: point.id, bytes_per_second };
        let ordered = Ordered { points: vec![point.id], ..ordered };
        Ok(Prepared::Work(Box::new(Work::Rehydrate(Box::new(work))), ordered))
    }

    /// What came back is held from the end of its job on.
    pub(crate) async fn follow_rehydrate(&self, row: &JobRow, (wanted, days): (PointId, u16)) -> Result<()> {
        self.tell_end(row, Trouble::RehydrateFailed, "bringing a point back from the archive of").await?;
        if !matches!(row.job.state, JobState::Completed | JobState::CompletedWithWarnings) {
            return Ok(());
        }
        let ended = row.ended.unwrap_or(self.now());
        let until = ended + SignedDuration::from_hours(24 * i64::from(days));
        self.change_points(item_of(row)?, |point| {
            let held = match point.archive.near() {
                Some(Near::Held { until }) => Some(until),
                _ => None,
            };
            let near = Near::Held { until: held.map_or(until, |held| held.max(until)) };
            (point.id == wanted).then(|| Point { archive: point.archive.with_near(near), ..point.clone() })
        })
        .await
    }

    /// What is in a vault's archive; none if it has no such store.
    pub(crate) async fn archive_state(
        &self,
        vault: VaultId,
        settings: &VaultSettings,
    ) -> Result<Option<ArchiveState>> {
        if settings.archive.is_none() {
            return Ok(None);
        }
        let (points, stored_bytes) = self.catalog.archived(vault).await?;
        Ok(Some(ArchiveState { points, stored_bytes }))
    }

    /// What archiving would do now, and why not more. A vault without an archive store is told what it would be.
    pub async fn archive_plan(&self, vault: VaultId) -> Result<ArchivePlan> {
        let row = self.vault_row(vault).await?;
        let (mut found, mut listed, now) = (ArchivePlan::default(), 0, self.now());
        let mut stays: BTreeMap<&'static str, u64> = BTreeMap::new();
        for item in self.all_items(row.id).await? {
            let due = self.archive_due(&item, now).await?;
            due.stays.iter().filter_map(in_words).for_each(|why| *stays.entry(why).or_default() += 1);
            if due.is_none() {
                continue;
            }
            found.moves += due.moves.len() as u64;
            found.drops += due.drops.len() as u64;
            let mut moves = Vec::new();
            for (point, taken, expires) in due.moves.iter().take(LISTED_MAX - listed) {
                let stored_bytes = self.catalog.point(*point).await?.stored_bytes;
                moves.push(PointToArchive { point: *point, taken: *taken, expires: *expires, stored_bytes });
            }
            listed += moves.len();
            found.cut |= moves.len() < due.moves.len();
            found.items.push(ItemArchivePlan { item: item.id, name: item.name, moves, drops: due.drops });
        }
        let shown = |(why, points): (&str, u64)| StaysPut { why: why.to_owned(), points };
        found.stays = stays.into_iter().map(shown).collect();
        Ok(found)
    }

    /// Moves what is to move, at once.
    pub async fn archive_now(&self, actor: &Actor, vault: VaultId) -> Result<ArchivingBegun> {
        let row = self.vault_row(vault).await?;
        let archive = archive_of(&row)?;
        let detail = json!({ "name": row.name, "location": archive.location });
        self.audit(actor, "vault.archive", &vault.to_string(), &detail).await?;
        self.archive_vault(&row, self.now(), Some(actor)).await
    }

    /// Of these points those that are in the archive, or may be, for an order that does something with them there too.
    pub(crate) async fn in_archive(
        &self,
        item: &Item,
        points: &[PointId],
        is_meant: impl Fn(&ArchiveCopy) -> bool,
    ) -> Result<Option<InArchive>> {
        let Some(archive) = settings(&self.catalog.vault(item.vault).await?)?.archive else {
            return Ok(None);
        };
        let all = self.catalog.points_to_plan(item.id).await?.into_iter().map(|one| one.point);
        let there = all.filter(|point| points.contains(&point.id) && is_meant(&point.archive));
        let points: Vec<PointId> = there.map(|point| point.id).collect();
        Ok((!points.is_empty()).then(|| InArchive { store: access(&archive), points }))
    }

    /// What a collection purges in the archive store, if it is to look there at all this time.
    pub(crate) async fn purge_in_archive(
        &self,
        vault: &VaultRow,
        purge: &[PointId],
        now: Timestamp,
    ) -> Result<Option<InArchive>> {
        let Some(archive) = settings(vault)?.archive else { return Ok(None) };
        let mut points = self.catalog.archived_to_purge(vault.id, now).await?;
        points.retain(|point| purge.contains(point));
        let day = now.as_second().div_euclid(24 * 60 * 60) + i64::from(vault.id.0.as_bytes()[15]);
        let is_day = day % COLLECTED_DAYS == 0 && self.catalog.is_archive_used(vault.id).await?;
        Ok((is_day || !points.is_empty()).then(|| InArchive { store: access(&archive), points }))
    }

    /// Of what was dropped, and the vault tier has purged, it has nothing now. What came back meanwhile is held.
    pub(crate) async fn note_dropped_gone(
        &self,
        vault: VaultId,
        at: Timestamp,
        gone: impl Fn(&PointId) -> bool,
    ) -> Result<()> {
        let mut by_item: BTreeMap<Uuid, Vec<PointId>> = BTreeMap::new();
        for (item, point) in self.catalog.dropped_to_purge(vault, at).await? {
            if gone(&point) {
                by_item.entry(item).or_default().push(point);
            }
        }
        for (item, points) in by_item {
            self.change_points(item, |point| {
                let is_dropped = matches!(point.archive.near(), Some(Near::Dropped { .. }));
                let archive = point.archive.with_near(Near::Gone {});
                (is_dropped && points.contains(&point.id)).then(|| Point { archive, ..point.clone() })
            })
            .await?;
        }
        Ok(())
    }
}

fn archive_of(vault: &VaultRow) -> Result<ArchiveStore> {
    settings(vault)?.archive.ok_or_else(|| {
        let detail = format!("the vault {} has no archive store", vault.name);
        Error::new(Code::Conflict, detail)
            .hint("`strongroom vault update VAULT --archive-to URL` gives it one")
    })
}

fn access(archive: &ArchiveStore) -> StoreAccess {
    StoreAccess { location: archive.location.clone(), credentials: Some(CREDENTIALS.to_owned()) }
}

fn limit(archive: &ArchiveStore) -> Option<u64> {
    archive.mib_per_second.map(|mib| u64::from(mib) << 20)
}

/// Why points stay, without the days; nothing of those that are in the archive, or in no vault.
fn in_words(why: &Why) -> Option<&'static str> {
    Some(match why {
        Why::There | Why::NotInVault => return None,
        Why::Off => "their policy moves nothing",
        Why::Deleted => "they are deleted",
        Why::SnapshotThere => "their snapshot is still there",
        Why::Pinned => "they are pinned",
        Why::Newest => "they are their machine's newest",
        Why::OnDemand => "they were made on demand",
        Why::NoLongRule => "no monthly or yearly rule keeps them",
        Why::ShortRule { .. } => "a daily or weekly rule keeps them yet",
        Why::Young { .. } => "they are not old enough",
        Why::ExpiresSoon { .. } => "they expire within 6 months",
    })
}

/// Whether a vault may have such an archive store; every fault is told.
pub(crate) fn check(location: &str, settings: &VaultSettings, faults: &mut Faults) {
    let Some(archive) = &settings.archive else { return };
    let pointer = "/settings/archive/location";
    faults.text(pointer, &archive.location, PATH_MAX);
    if let Err(rule) = store::address(&archive.location) {
        faults.add(pointer, rule);
    }
    let copy = settings.copy.as_ref().map(|copy| copy.location.as_str());
    let others = [Some(location), settings.snapshot_store.as_deref(), copy];
    let place = archive.location.trim_end_matches('/');
    if others.into_iter().flatten().any(|other| other.trim_end_matches('/') == place) {
        faults.add(
            pointer,
            "must be another place than the vault's, its snapshot tier's and its second store's",
        );
    }
    if archive.mib_per_second == Some(0) {
        faults.add("/settings/archive/mib_per_second", "must be 1 or more; leave it out for no limit");
    }
    if let Some(mover) = &archive.mover {
        faults.name("/settings/archive/mover", mover);
    }
}

/// Whether a vault's archive store is another one, or none, from now on.
pub(crate) fn is_elsewhere(before: &VaultSettings, after: &VaultSettings) -> bool {
    let place = |settings: &VaultSettings| settings.archive.as_ref().map(|archive| archive.location.clone());
    place(before).is_some() && place(before) != place(after)
}
