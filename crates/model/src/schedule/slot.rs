//! Slots: the instants at which a policy wants a point.
//!
//! A policy speaks of days and times on the clock on the wall in its zone. Where the zone changes its clocks:
//!
//! - **A time that does not exist** (clocks go from 02:00 to 03:00) moves forward by what was left out: 02:30 runs
//!   at 03:30.
//! - **A time that happens twice** (clocks go from 03:00 back to 02:00) runs the first time, not the second.
//! - **A day that does not exist** (Samoa left out 30 December 2011) has no slot; every other day has all of them.
//!
//! Hours between points are hours on the clock on the wall: 08:00, 12:00, 16:00 stay what they are all year, so
//! twice a year two points are an hour nearer or further apart than the policy says.

use crate::Policy;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A window that starts late may end on the next day, which a zone may have left out: then its slots are on the
/// one after that.
const DAYS_REACHED: i32 = 2;
/// A weekly schedule's next slot is 7 days ahead at most, unless that day was left out: then 14. Counted from the
/// first day that is looked at.
const DAYS_AHEAD: usize = DAYS_REACHED as usize + 14 + 1;

/// An instant at which a policy wants a point. What the point is, daily or yearly, its slot's day decides: not when
/// the point got done, and nothing that the machine says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Slot {
    /// The day it counts for, in the policy's zone. For a window that runs past midnight, the day it started on.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Date))]
    pub day: Date,
    /// Its number on that day, from 0.
    pub number: u8,
    /// Whether it is the day's last: its point stands for the day.
    pub closes_day: bool,
    /// The instant.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
}

impl Policy {
    /// The slots of one day, in order. None if the policy does not run on that day, or its zone left the day out.
    pub fn slots_of(&self, day: Date) -> impl Iterator<Item = Slot> {
        let exists = day.to_zoned(self.zone().clone()).is_ok_and(|start| start.date() == day);
        let runs = exists && self.rhythm().runs_on(day);
        let mut times = self.rhythm().times(day).filter(move |_| runs).enumerate().peekable();
        std::iter::from_fn(move || {
            let (number, time) = times.next()?;
            // "Compatible" is the calendar standard's word for what this module's documentation says.
            let at = self.zone().to_ambiguous_zoned(time).compatible().ok()?.timestamp();
            let number = u8::try_from(number).expect("a day has 6 slots at most");
            Some(Slot { day, number, closes_day: times.peek().is_none(), at })
        })
    }

    /// The slots from an instant on and before another, in order.
    pub fn slots(&self, from: Timestamp, before: Timestamp) -> impl Iterator<Item = Slot> {
        let last = self.day_of(before);
        let days = self.days_from(from).take_while(move |day| *day <= last);
        days.flat_map(|day| self.slots_of(day)).filter(move |slot| from <= slot.at && slot.at < before)
    }

    /// The first slot after an instant. None only at the end of the calendar.
    pub fn next_slot(&self, after: Timestamp) -> Option<Slot> {
        let days = self.days_from(after).take(DAYS_AHEAD);
        days.flat_map(|day| self.slots_of(day)).find(|slot| slot.at > after)
    }

    /// Days from the first on that may have a slot at or after the instant.
    fn days_from(&self, from: Timestamp) -> impl Iterator<Item = Date> {
        let first = (0..DAYS_REACHED).fold(self.day_of(from), |day, _| day.yesterday().unwrap_or(day));
        std::iter::successors(Some(first), |day| day.tomorrow().ok())
    }
}
