//! A vault that is there is taken in: items, policies and points are made again from what its points say.
//!
//! What the service wrote into each point (`api::work::Service`) says whose it is, why it was made and under which
//! policy; classes and expiries follow from that by `model`'s rules. The vault's log says what is deleted, and since
//! when; its notes (`notes.rs`) what was pinned, tagged, stopped and proved, and where the archive is, which is read as
//! well (`adopt/archived.rs`). [`Adopted::lost`] tells what none says.
//!
//! INVARIANT: nothing is lost because a vault was taken in. A note may be missing, or older than what somebody did last,
//! so a new row of a vault keeps everything until somebody says otherwise (`survey.rs`), and a machine that is not
//! plainly being backed up is stopped, whatever its note says.

mod archived;

use crate::notes::ItemNote;
use crate::survey::{Found, Survey};
use crate::{Control, Error, Result};
use api::work::ServicePolicy;
use api::{Code, PointDisk, VaultSettings};
use catalog::{ErrorKind, Item, PointRow, PolicyRow};
use jiff::{SignedDuration, Timestamp};
use model::policy::Policy;
use model::protection::{Keep, Protection};
use model::retention::{self, Tier};
use model::{MachineId, Origin, Owner, PointId, PolicyId, VaultCopy, VaultId};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use vault::MachineKey;

/// Points written in one transaction.
const POINTS_AT_ONCE: usize = 500;
/// An item without a new point for so long, and for so many slots of its policy, was stopped, for all that can be told.
/// It is not protected again unasked: what somebody kept for ever must not expire. Losing a server and making
/// another takes less.
const SILENT: SignedDuration = SignedDuration::from_hours(2 * 24);
/// See [`SILENT`].
const SLOTS_MISSED: usize = 3;
/// Names that one line takes.
const STOPPED_SHOWN: usize = 10;

/// What was taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Machines that have points.
    pub items: u64,
    /// Policies, as the newest points of each tell.
    pub policies: u64,
    /// Points, those among them that are deleted and can be brought back.
    pub points: u64,
    /// Snapshots, likewise.
    pub snapshots: u64,
    /// Versions of images, likewise.
    pub images: u64,
    /// What could not be, or is in no vault: for people.
    pub lost: Vec<String>,
    /// What people are to look at now.
    pub advice: Vec<String>,
}

/// The points of one machine: of an item that the service made, or of a machine that was backed up without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Item(Uuid),
    Machine(MachineKey),
}

/// What the vault as a whole says.
struct Scene {
    vault: VaultId,
    settings: VaultSettings,
    policies: BTreeMap<PolicyId, Policy>,
    /// Points that somebody has pinned.
    pinned: BTreeSet<PointId>,
    /// What was noted of machines, with the number of the note: by item.
    notes: BTreeMap<Uuid, (u64, ItemNote)>,
    /// When the vault tier deleted what it has yet.
    deleted_at: BTreeMap<PointId, Timestamp>,
    /// Since when this catalog knows the vault.
    known_since: Timestamp,
    now: Timestamp,
}

impl Scene {
    /// The note on a machine's points: its item's, or one of an item that another catalog made of the same machine.
    fn note_of(&self, whose: &Whose) -> Option<&(u64, ItemNote)> {
        match whose {
            Whose::Item(id) => self.notes.get(id),
            Whose::Machine(key) => {
                let known_as = |(_, note): &&(u64, ItemNote)| note.known_as.as_deref() == Some(key.as_str());
                self.notes.values().find(known_as)
            }
        }
    }
}

impl Control {
    /// Takes in all that a vault holds; its row is there already. What is known of it stays as it is.
    ///
    /// # Errors
    /// `Unavailable` when the vault cannot be read; the catalog's. CRASH, or an error: some items are there. Taking
    /// the vault in again goes on.
    pub(crate) async fn adopt(&self, vault: VaultId, mut survey: Survey, now: Timestamp) -> Result<Adopted> {
        let row = self.catalog.vault(vault).await?;
        let settings: VaultSettings = serde_json::from_value(row.settings.clone())
            .map_err(|e| Error::new(Code::Internal, format!("the settings of the vault {vault}: {e}")))?;
        let notes = survey.take_notes();
        let (found, damage) = survey.found(settings.soft_delete_days, now);
        let mut adopted = Adopted { lost: damage, ..Adopted::default() };
        let policies = self.adopt_policies(vault, &found, &mut adopted).await?;
        let pinned = notes.iter().flat_map(|(_, note)| note.pinned.iter().copied()).collect();
        let notes = notes.into_iter().map(|(number, note)| (note.item, (number, note))).collect();
        let (deleted_at, known_since) = (archived::deleted_at(&found), row.created);
        let scene = Scene { vault, settings, policies, pinned, notes, deleted_at, known_since, now };
        let mut items: BTreeMap<Whose, Vec<Found>> = BTreeMap::new();
        let (found, unowned): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|one| Owner::of_key(one.point.machine.as_str()) == Owner::Policy);
        self.adopt_snapshots(vault, &unowned, &mut adopted).await?;
        self.adopt_images(vault, &unowned, &mut adopted).await?;
        for one in found {
            let whose = match &one.service {
                Some(service) => Whose::Item(service.item),
                None => Whose::Machine(one.point.machine.clone()),
            };
            items.entry(whose).or_default().push(one);
        }
        let mut stopped = Vec::new();
        for (whose, points) in items {
            let item = self.adopt_item(&scene, whose, points, &mut adopted).await?;
            if matches!(item.protection, Protection::Stopped { .. }) {
                stopped.push(item.name);
            }
        }
        adopted.advice.extend(of_stopped(&row.name, &stopped));
        if scene.settings.keep_everything {
            adopted.advice.push(of_kept(&row.name));
        }
        adopted.lost.push(
            "not in any vault, so lost with the catalog: jobs, alerts, users and the audit log".to_owned(),
        );
        Ok(adopted)
    }

    /// Writes every policy that a point names, as the newest of them says it.
    async fn adopt_policies(
        &self,
        vault: VaultId,
        found: &[Found],
        adopted: &mut Adopted,
    ) -> Result<BTreeMap<PolicyId, Policy>> {
        let mut newest: BTreeMap<PolicyId, (Timestamp, &ServicePolicy)> = BTreeMap::new();
        for one in found {
            let Some(policy) = one.service.as_ref().and_then(|service| service.policy.as_ref()) else {
                continue;
            };
            let entry = newest.entry(policy.id).or_insert((one.point.instant, policy));
            if entry.0 <= one.point.instant {
                *entry = (one.point.instant, policy);
            }
        }
        // Of an earlier run, or somebody's who has changed it since: what is known stays.
        let known = self.catalog.policies(vault).await?;
        let mut names: BTreeSet<String> = known.iter().map(|row| row.name.clone()).collect();
        let mut policies = BTreeMap::new();
        for (id, (_, told)) in newest {
            let row = known.iter().find(|row| row.id == id);
            let document = row.map_or(&told.document, |row| &row.document).clone();
            let policy = match document.clone().check() {
                Ok(policy) => policy,
                Err(found) => {
                    let what = format!(
                        "the policy {} breaks rules of today, so it is left out: {found:?}",
                        told.name
                    );
                    adopted.lost.push(what);
                    continue;
                }
            };
            if row.is_none() {
                let name = free_name(&told.name, &mut names);
                let row = PolicyRow { id, vault, name, document, created: self.now(), revision: 1 };
                self.catalog.add_policy(&row).await?;
                adopted.policies += 1;
            }
            policies.insert(id, policy);
        }
        Ok(policies)
    }

    async fn adopt_item(
        &self,
        scene: &Scene,
        whose: Whose,
        mut points: Vec<Found>,
        adopted: &mut Adopted,
    ) -> Result<Item> {
        points.sort_by_key(|one| (one.point.instant, one.point.id));
        let last = points.last().expect("an item is made of its points");
        let (id, machine, known_as) = match (&whose, &last.service) {
            (Whose::Item(id), Some(service)) => (Some(*id), service.machine, service.known_as.clone()),
            (Whose::Item(id), None) => (Some(*id), MachineId(*id), id.to_string()),
            (Whose::Machine(key), _) => {
                // Its own uuid, or a name.
                let machine = key.as_str().parse().unwrap_or_else(|_| self.draw());
                (None, MachineId(machine), key.as_str().to_owned())
            }
        };
        let machine = match self.catalog.machine_known_as(&known_as).await? {
            Some(known) => known,
            None => self.catalog.adopted_machine(&known_as).await?.unwrap_or(machine),
        };
        let id = id.unwrap_or(machine.0);
        let note = scene.note_of(&whose);
        let protection = protection(scene, &points, note.map(|(_, note)| note));
        let item = Item {
            id,
            vault: scene.vault,
            machine,
            name: last.service.as_ref().map_or(&last.point.machine_name, |service| &service.name).clone(),
            protection,
            last_point: Some(last.point.instant),
            created: points[0].point.instant,
            revision: 1,
        };
        let number = note.map(|(number, _)| *number);
        let item = self.add_adopted(item, (scene.vault, number), adopted).await?;
        self.catalog.note_adopted(&known_as, machine).await?;
        let policy = item.protection.retention_policy().and_then(|id| scene.policies.get(&id));
        let mut rows = rows(scene, &item, policy, &points);
        // What is known of a point, a pin for instance, stays.
        let known = self.adopt_archived(scene, &item, &rows).await?;
        rows.retain(|row| !known.contains(&row.point.id));
        for some in rows.chunks(POINTS_AT_ONCE) {
            self.catalog.put_points(some).await?;
        }
        adopted.points += rows.len() as u64;
        if let Some((_, note)) = note {
            self.adopt_note(&item, note).await?;
        }
        // From here on the catalog knows at least what the vault's note says, and may write the next.
        self.catalog.release_note(item.id).await?;
        Ok(item)
    }

    /// What a note says beside pins and protection. What is known stays.
    async fn adopt_note(&self, item: &Item, note: &ItemNote) -> Result<()> {
        if !note.tags.is_empty() {
            self.catalog.adopt_tags(item.machine, &note.tags).await?;
        }
        for drill in &note.drills {
            match self.catalog.put_drill(&drill.clone().row(item.id)).await {
                // Its point is gone by now.
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                put => put?,
            }
        }
        Ok(())
    }

    /// Adds an item. Where another vault protects its machine, this one keeps what it has. `noted` is the vault, and the
    /// number of its note on the item, if it has one.
    async fn add_adopted(
        &self,
        mut item: Item,
        noted: (VaultId, Option<u64>),
        adopted: &mut Adopted,
    ) -> Result<Item> {
        match self.catalog.item(item.id).await {
            Ok(known) if known.vault == item.vault => return Ok(known),
            // Two vaults hold points of one machine that was backed up without a server.
            Ok(_) => item.id = self.draw(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // Before there is an item of which something could be noted.
        self.catalog.hold_note(item.id, noted.0, noted.1).await?;
        let added = match self.catalog.add_item(&item).await {
            Err(error) if error.kind() == ErrorKind::Exists && item.protection.runs() => {
                adopted.lost.push(format!(
                    "another vault protects {}: here its points are kept and none are made",
                    item.name
                ));
                let stopped = Item { protection: Protection::Stopped { keep: Keep::Forever {} }, ..item };
                self.catalog.add_item(&stopped).await.map(|()| stopped)
            }
            added => added.map(|()| item),
        }?;
        adopted.items += 1;
        Ok(added)
    }
}

/// Where a machine stands, as far as its points and its note tell.
fn protection(scene: &Scene, points: &[Found], note: Option<&ItemNote>) -> Protection {
    if points.iter().all(|one| one.purge_at.is_some()) {
        let purge_at = points.iter().filter_map(|one| one.purge_at).max().expect("all have one");
        return Protection::Deleted { purge_at };
    }
    match note.and_then(|note| note.stopped) {
        Some(Protection::Stopped { keep: Keep::ByPolicy { policy } })
            if !scene.policies.contains_key(&policy) =>
        {
            return Protection::Stopped { keep: Keep::Forever {} };
        }
        Some(stopped @ Protection::Stopped { .. }) => return stopped,
        _ => {}
    }
    let last = points.last().expect("an item is made of its points");
    let policy = last.service.as_ref().and_then(|service| service.policy.as_ref()).map(|policy| policy.id);
    match policy.and_then(|id| Some((id, scene.policies.get(&id)?))) {
        // A vault that was known, and has released what it kept, lets points expire: nothing new comes under it.
        Some((id, policy))
            if scene.settings.keep_everything && !is_silent(policy, last.point.instant, scene.now) =>
        {
            Protection::Protected { policy: id }
        }
        _ => Protection::Stopped { keep: Keep::Forever {} },
    }
}

/// Whether a machine got no more points although its policy asked for some.
fn is_silent(policy: &Policy, last: Timestamp, now: Timestamp) -> bool {
    if now.duration_since(last) <= SILENT {
        return false;
    }
    let slots = std::iter::successors(policy.next_slot(last), |slot| policy.next_slot(slot.at));
    slots.take_while(|slot| slot.at <= now).take(SLOTS_MISSED).count() == SLOTS_MISSED
}

/// What to do for machines that were taken in as stopped.
fn of_stopped(vault: &str, names: &[String]) -> Option<String> {
    let first = names.first()?;
    let shown = names.iter().take(STOPPED_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(STOPPED_SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!(
        "stopped, with all points kept, because they were stopped before, or have no recent point or no policy: \
         {shown}{more}; to go on with one: `strongroom resume {first} --vault {vault} --policy POLICY`"
    ))
}

fn of_kept(vault: &str) -> String {
    format!(
        "no point of this vault expires until you say so, for what was pinned last may not have been noted: look at the \
         points, pin what is to stay, then `strongroom vault update {vault} --keep-everything false`"
    )
}

/// The rows of an item's points. Classes are not stored: they follow from origin and policy.
fn rows(scene: &Scene, item: &Item, policy: Option<&Policy>, points: &[Found]) -> Vec<PointRow> {
    let kept: Vec<model::Point> = points.iter().map(|found| kept(scene, found)).collect();
    let plan = policy.map(|policy| retention::plan(&kept, policy, scene.now));
    let expiry = |id| plan.as_ref().and_then(|plan| plan.of(id, Tier::Vault)?.expiry());
    let row = |(found, mut point): (&Found, model::Point)| {
        let expires = expiry(point.id);
        // In an immutable vault what the plan promises is a lock.
        point.locked_until = expires.filter(|_| scene.settings.immutable);
        let disk = |disk: &vault::DiskRecord| PointDisk {
            name: disk.name.clone(),
            bytes: disk.map.size,
            read_bytes: disk.read_bytes,
        };
        let disks: Vec<PointDisk> = found.point.disks.iter().map(disk).collect();
        let job = found.service.as_ref().map(|service| service.job);
        PointRow {
            point,
            item: item.id,
            consistency: consistency(&found.point).to_owned(),
            expires: expires.filter(|_| !scene.settings.keep_everything),
            stored_bytes: found.point.stats.stored_bytes,
            detail: json!({ "evidence": found.point.consistency, "disks": disks, "job": job }),
        }
    };
    points.iter().zip(kept.clone()).map(row).collect()
}

fn kept(scene: &Scene, found: &Found) -> model::Point {
    // Nobody asked for it here, so nobody said how long.
    let forever = Origin::OnDemand { keep_until: Timestamp::MAX };
    model::Point {
        id: PointId(found.point.id.0),
        taken: found.point.instant,
        origin: found.service.as_ref().map_or(forever, |service| service.origin),
        in_snapshot_tier: false,
        vault: VaultCopy::There,
        pinned: scene.pinned.contains(&PointId(found.point.id.0)),
        locked_until: None,
        purge_at: found.purge_at,
        archive: found.archive,
    }
}

/// As `api` says it.
pub(crate) fn consistency(point: &vault::Point) -> &'static str {
    match point.consistency["level"].as_str() {
        Some("application") => "application",
        Some("file-system") => "file_system",
        _ => "crash",
    }
}

/// Two policies may have had one name, one after the other.
fn free_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let others = (2..).map(|number| format!("{name} ({number})"));
    let free = std::iter::once(name.to_owned()).chain(others).find(|name| !taken.contains(name));
    let free = free.expect("one of infinitely many is free");
    taken.insert(free.clone());
    free
}
