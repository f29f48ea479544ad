//! What a policy is: when points are made, of what, and how long they stay.
//!
//! A [`PolicyDocument`] is what people write; [`PolicyDocument::check`] finds everything that is wrong with it
//! and makes a [`Policy`], which cannot be wrong any more.

mod calendar;
mod check;
mod disks;
mod document;
mod drills;
mod held;
#[cfg(test)]
mod tests;

pub use calendar::{DaysOfMonth, Month, WeekOfMonth, Weekday};
pub use check::{POINTS_PER_MACHINE_MAX, Violation, Violations};
pub use disks::{Chosen, DiskName, DiskSelection};
pub use document::{
    ArchiveAfter, ConsistencyWish, Daily, Monthly, PolicyDocument, PolicyKind, Schedule, Transfer,
    VaultRetention, Weekly, Yearly,
};
pub use drills::{DrillOptions, DrillRhythm, Drills};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// A valid policy.
#[derive(Clone, Debug)]
pub struct Policy {
    document: PolicyDocument,
    zone: TimeZone,
    rhythm: Rhythm,
}

/// Every schedule, reduced to one: on some weekdays, a first point, then so many in all, so many hours apart.
#[derive(Clone, Debug)]
pub(crate) struct Rhythm {
    weekdays: Vec<Weekday>,
    first: Time,
    every_hours: u8,
    count: u8,
}

impl Policy {
    /// Azure's default: every day at one time, 2 days in the snapshot tier, 30 days in the vault.
    pub fn standard(time_zone: &str, time: &str) -> PolicyDocument {
        PolicyDocument {
            kind: PolicyKind::Standard,
            time_zone: time_zone.to_owned(),
            schedule: Schedule::Daily { time: time.to_owned() },
            snapshot_days: 2,
            vault: VaultRetention { daily: Some(Daily { keep_days: 30 }), ..VaultRetention::default() },
            consistency: ConsistencyWish::default(),
            disks: DiskSelection::default(),
            drills: None,
        }
    }

    /// Azure's default of the enhanced type: every 4 hours all day from 08:00, 7 days in the snapshot tier; in the
    /// vault 180 days, 12 weeks, 60 months, 10 years, of Sundays, first Sundays and those of January.
    pub fn enhanced(time_zone: &str) -> PolicyDocument {
        let weekdays = vec![Weekday::Sunday];
        let on = DaysOfMonth::Weekly { weekdays: weekdays.clone(), weeks: vec![WeekOfMonth::First] };
        PolicyDocument {
            kind: PolicyKind::Enhanced,
            schedule: Schedule::Hourly { every_hours: 4, window_start: "08:00".to_owned(), window_hours: 24 },
            snapshot_days: 7,
            vault: VaultRetention {
                transfer: Transfer::LastOfDay,
                daily: Some(Daily { keep_days: 180 }),
                weekly: Some(Weekly { weekdays, keep_weeks: 12 }),
                monthly: Some(Monthly { on: on.clone(), keep_months: 60 }),
                yearly: Some(Yearly { months: vec![Month::January], on, keep_years: 10 }),
                archive: None,
            },
            ..Self::standard(time_zone, "00:00")
        }
    }

    /// As it is written.
    pub fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// The zone of all its days and times.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// How many points of a machine there are at once, when the policy has been at work for as long as it keeps any. A
    /// bound: one that is in both tiers counts twice, and so do the newest, which nothing expires.
    pub fn points_at_most(&self) -> u64 {
        let in_snapshot_tier = u64::from(self.rhythm.count) * (u64::from(self.document.snapshot_days) + 1);
        held::points_held(self) + in_snapshot_tier + 2
    }

    /// When points are made.
    pub(crate) fn rhythm(&self) -> &Rhythm {
        &self.rhythm
    }

    /// The day it is at an instant.
    pub(crate) fn day_of(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    /// How many of a day's points get into the vault.
    fn transfers_per_day(&self) -> u64 {
        match self.document.vault.transfer {
            Transfer::LastOfDay => 1,
            Transfer::All => self.rhythm.count.into(),
        }
    }
}

impl Rhythm {
    /// Whether points are made on that day.
    pub(crate) fn runs_on(&self, day: Date) -> bool {
        self.weekdays.contains(&Weekday::of(day))
    }

    /// The times of a day's points on the clock on the wall. The later ones may fall on the next day.
    pub(crate) fn times(&self, day: Date) -> impl Iterator<Item = DateTime> {
        let (first, every) = (day.to_datetime(self.first), i64::from(self.every_hours));
        (0..i64::from(self.count)).filter_map(move |number| first.checked_add((number * every).hours()).ok())
    }

    /// The shortest time between two points on the clock on the wall.
    pub(crate) fn interval(&self) -> SignedDuration {
        SignedDuration::from_hours(self.every_hours.into())
    }
}
