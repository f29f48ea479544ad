//! What lies in a vault that is to be taken in: its points, in the vault tier and in the archive, what is deleted, what was
//! promised of it, what was noted.
//!
//! A point may go by another name in a store than it was made under (`vault/src/copy.rs`): here each goes by its first,
//! which is the one that people, pins and the other stores know.

mod merge;

use crate::notes::{ItemNote, VaultNote};
use crate::{Error, Result};
use api::images::KeptImage;
use api::snapshots::KeptSnapshot;
use api::work::Service;
use api::{ArchiveStore, Code, VaultSettings};
use jiff::{SignedDuration, Timestamp};
use merge::{Standing, standing};
use model::protection::SOFT_DELETE_DAYS_MAX;
use model::{ArchiveCopy, Owner};
use std::collections::{BTreeMap, HashMap};
use vault::{PointId, Vault};

/// A point as the vault has it.
pub(crate) struct Found {
    pub(crate) point: vault::Point,
    /// What the service said of it; none: it was made without.
    pub(crate) service: Option<Service>,
    /// Until when it can be brought back, if it is deleted.
    pub(crate) purge_at: Option<Timestamp>,
    /// What the archive has of it.
    pub(crate) archive: ArchiveCopy,
    /// When the vault tier deleted it, or dropped it for the archive, if it has it yet.
    pub(crate) deleted_at: Option<Timestamp>,
}

/// What one store lists.
struct Listed {
    points: Vec<vault::Point>,
    deleted_at: HashMap<PointId, Timestamp>,
    damage: Vec<String>,
}

impl Listed {
    async fn of(store: &Vault, of_what: &str) -> vault::Result<Self> {
        let (live, deleted) = (store.survey(None).await?, store.survey_deleted().await?);
        let names = store.first_names().await?;
        let first = |here: PointId| names.get(&here).copied().unwrap_or(here);
        let damage = live.damage.iter().chain(&deleted.damage);
        let damage = damage.map(|error| format!("a point {of_what}cannot be read: {error}")).collect();
        let mut points: Vec<_> = live.points.into_iter().chain(deleted.points).collect();
        points.iter_mut().for_each(|point| point.id = first(point.id));
        let deleted_at = store.deletions().await?.into_iter().map(|(here, at)| (first(here), at)).collect();
        Ok(Self { points, deleted_at, damage })
    }

    fn standing(&self, point: PointId) -> Standing {
        self.deleted_at.get(&point).map_or(Standing::Live, |at| Standing::Deleted(*at))
    }
}

/// All points of a vault, those that can be had back among them.
pub(crate) struct Survey {
    vault: Listed,
    /// What the archive has of points that policies own; nobody else's go there.
    archive: Option<Listed>,
    /// What the service has noted of machines beside their points, with the number of the note.
    notes: Vec<(u64, ItemNote)>,
    /// The same of the vault itself.
    vault_note: Option<(u64, VaultNote)>,
    /// Notes that cannot be read. One that cannot be hides no other.
    damage: Vec<String>,
}

impl Survey {
    /// Reads what the vault tier has.
    ///
    /// # Errors
    /// `Unavailable` when the vault cannot be read.
    pub(crate) async fn of(opened: &Vault) -> Result<Self> {
        let vault = Listed::of(opened, "").await.map_err(|error| unreadable(&error))?;
        let noted = opened.notes().await.map_err(|error| unreadable(&error))?;
        let damage = noted.damage.iter().map(|error| format!("a note cannot be read: {error}"));
        let mut survey =
            Self { vault, archive: None, notes: Vec::new(), vault_note: None, damage: damage.collect() };
        for note in &noted.notes {
            if let Err(why) = survey.take_note(note) {
                survey.damage.push(why);
            }
        }
        Ok(survey)
    }

    fn take_note(&mut self, note: &vault::Note) -> std::result::Result<(), String> {
        if VaultNote::is_one(note) {
            self.vault_note = VaultNote::read(note)?.map(|said| (note.number, said));
        } else {
            self.notes.extend(ItemNote::read(note)?.map(|said| (note.number, said)));
        }
        Ok(())
    }

    /// Reads what the archive has, too.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub(crate) async fn add_archive(&mut self, archive: &Vault) -> Result<()> {
        let mut listed = Listed::of(archive, "in the archive ").await.map_err(|error| unreadable(&error))?;
        listed.points.retain(|point| Owner::of_key(point.machine.as_str()) == Owner::Policy);
        self.archive = Some(listed);
        Ok(())
    }

    /// Where the vault's own note says that its archive is.
    pub(crate) fn noted_archive(&self) -> Option<ArchiveStore> {
        self.vault_note.as_ref()?.1.archive()
    }

    /// The number of the vault's note on itself, if it has one.
    pub(crate) fn note_number(&self) -> Option<u64> {
        self.vault_note.as_ref().map(|(number, _)| *number)
    }

    /// What the vault is to be treated by, so that nobody loses what they were promised: the most that a point tells
    /// of, or that was wished now; where none tells, the longest there is. Gives what to say of it.
    pub(crate) fn settle(&self, settings: &mut VaultSettings) -> Vec<String> {
        settings.keep_everything = true;
        let points =
            || self.vault.points.iter().chain(self.archive.iter().flat_map(|archive| &archive.points));
        let mut told = points()
            .filter_map(|point| match service_of(point) {
                Some(service) => service.promised,
                None => match KeptSnapshot::of(&point.service) {
                    Some(snapshot) => snapshot.promised,
                    None => KeptImage::of(&point.service)?.promised,
                },
            })
            .peekable();
        let mut advice = Vec::new();
        if told.peek().is_none() && points().next().is_some() {
            settings.soft_delete_days = SOFT_DELETE_DAYS_MAX;
            advice.push(format!(
                "no point tells how long what is deleted was to stay, so it stays {SOFT_DELETE_DAYS_MAX} days; \
                 `strongroom vault update --soft-delete-days` changes it"
            ));
        }
        for promised in told {
            settings.soft_delete_days = settings.soft_delete_days.max(promised.soft_delete_days);
            settings.immutable |= promised.immutable;
        }
        settings.soft_delete_days = settings.soft_delete_days.min(SOFT_DELETE_DAYS_MAX);
        advice
    }

    /// What was noted of machines, with the number of each note.
    pub(crate) fn take_notes(&mut self) -> Vec<(u64, ItemNote)> {
        std::mem::take(&mut self.notes)
    }

    /// The points, and in words what cannot be read. `now` is when they are found.
    pub(crate) fn found(self, soft_delete_days: u16, now: Timestamp) -> (Vec<Found>, Vec<String>) {
        let lasts = SignedDuration::from_hours(24 * i64::from(soft_delete_days));
        let until = |at: Timestamp| at.saturating_add(lasts).expect("a duration, not a span");
        let Self { vault, archive, damage, .. } = self;
        let unread = vault.damage.iter().chain(archive.iter().flat_map(|archive| &archive.damage));
        let damage = unread.cloned().chain(damage).collect();
        let mut archived: BTreeMap<PointId, (vault::Point, Standing)> = BTreeMap::new();
        if let Some(mut archive) = archive {
            for point in std::mem::take(&mut archive.points) {
                let standing = archive.standing(point.id);
                archived.insert(point.id, (point, standing));
            }
        }
        let found = |point: vault::Point, near: Option<Standing>, far: Option<(&vault::Point, Standing)>| {
            let (purge_at, archive) = standing(near, far, until, now);
            let deleted_at = near.and_then(Standing::deleted_at);
            Found { service: service_of(&point), point, purge_at, archive, deleted_at }
        };
        let mut all = Vec::with_capacity(vault.points.len());
        for point in &vault.points {
            let far = archived.remove(&point.id);
            let far = far.as_ref().map(|(far, standing)| (far, *standing));
            all.push(found(point.clone(), Some(vault.standing(point.id)), far));
        }
        for (_, (point, standing)) in archived {
            all.push(found(point.clone(), None, Some((&point, standing))));
        }
        (all, damage)
    }
}

/// What the service said of a point; none: it was made without.
fn service_of(point: &vault::Point) -> Option<Service> {
    serde_json::from_value(point.service.clone()).ok()
}

fn unreadable(error: &vault::Error) -> Error {
    Error::new(Code::Unavailable, format!("read the vault: {error}"))
}
