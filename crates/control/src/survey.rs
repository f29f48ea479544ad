//! What lies in a vault that is to be taken in: its points, what is deleted, what was promised of it, what was noted.

use crate::notes::ItemNote;
use crate::{Error, Result};
use api::images::KeptImage;
use api::snapshots::KeptSnapshot;
use api::work::Service;
use api::{Code, VaultSettings};
use jiff::{SignedDuration, Timestamp};
use model::protection::SOFT_DELETE_DAYS_MAX;
use std::collections::HashMap;
use vault::{PointId, Vault};

/// A point as the vault has it.
pub(crate) struct Found {
    pub(crate) point: vault::Point,
    /// What the service said of it; none: it was made without.
    pub(crate) service: Option<Service>,
    /// Until when it can be brought back, if it is deleted.
    pub(crate) purge_at: Option<Timestamp>,
}

/// All points of a vault, those that can be had back among them.
pub(crate) struct Survey {
    points: Vec<(vault::Point, Option<Service>)>,
    deleted_at: HashMap<PointId, Timestamp>,
    /// What the service has noted of machines beside their points, with the number of the note.
    notes: Vec<(u64, ItemNote)>,
    /// Points and notes that cannot be read. One that cannot be hides no other.
    damage: Vec<String>,
}

impl Survey {
    /// Reads them.
    ///
    /// # Errors
    /// `Unavailable` when the vault cannot be read.
    pub(crate) async fn of(opened: &Vault) -> Result<Self> {
        let unreadable =
            |error: vault::Error| Error::new(Code::Unavailable, format!("read the vault: {error}"));
        let (live, deleted) = (opened.survey(None).await, opened.survey_deleted().await);
        let (live, deleted) = (live.map_err(unreadable)?, deleted.map_err(unreadable)?);
        let deleted_at = opened.deletions().await.map_err(unreadable)?;
        let noted = opened.notes().await.map_err(unreadable)?;
        let damage = live.damage.iter().chain(&deleted.damage);
        let damage = damage.map(|error| format!("a point cannot be read: {error}"));
        let notes = noted.damage.iter().map(|error| format!("a note cannot be read: {error}"));
        let mut damage: Vec<_> = damage.chain(notes).collect();
        let mut notes = Vec::new();
        for note in &noted.notes {
            match ItemNote::read(note) {
                Ok(said) => notes.extend(said.map(|said| (note.number, said))),
                Err(why) => damage.push(why),
            }
        }
        let said = |point: vault::Point| {
            let service = serde_json::from_value(point.service.clone()).ok();
            (point, service)
        };
        let points = live.points.into_iter().chain(deleted.points).map(said).collect();
        Ok(Self { points, deleted_at: deleted_at.into_iter().collect(), notes, damage })
    }

    /// What the vault is to be treated by, so that nobody loses what they were promised: the most that a point tells
    /// of, or that was wished now; where none tells, the longest there is. Gives what to say of it.
    pub(crate) fn settle(&self, settings: &mut VaultSettings) -> Vec<String> {
        settings.keep_everything = true;
        let mut told = self
            .points
            .iter()
            .filter_map(|(point, service)| match service {
                Some(service) => service.promised,
                None => match KeptSnapshot::of(&point.service) {
                    Some(snapshot) => snapshot.promised,
                    None => KeptImage::of(&point.service)?.promised,
                },
            })
            .peekable();
        let mut advice = Vec::new();
        if told.peek().is_none() && !self.points.is_empty() {
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

    /// The points, and in words what cannot be read.
    pub(crate) fn found(self, soft_delete_days: u16) -> (Vec<Found>, Vec<String>) {
        let lasts = SignedDuration::from_hours(24 * i64::from(soft_delete_days));
        let until = |at: &Timestamp| at.saturating_add(lasts).expect("a duration, not a span");
        let purge_at = |id: &PointId| self.deleted_at.get(id).map(until);
        let found = self.points.into_iter().map(|(point, service)| Found {
            purge_at: purge_at(&point.id),
            service,
            point,
        });
        (found.collect(), self.damage)
    }
}
