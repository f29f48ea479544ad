//! Classes: why a scheduled point is kept in the vault, from the days it stands for.

use crate::policy::{Month, Policy, Transfer, Weekday};
use crate::{Days, Slot};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};
use std::fmt;

/// A point stands for no more missed days than these: within them every yearly rule has tagged its day, whatever
/// weekday it asks for, so going further back would find nothing new.
const DAYS_STOOD_FOR_MAX: i64 = 372;

/// A class of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// By which rule.
    pub rule: Rule,
    /// Set if the rule tagged an earlier day, whose own point was missed.
    pub substitute_for: Option<Date>,
    /// How long the rule keeps it.
    pub keep: Keep,
}

/// The rules of a policy, the shortest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they say what they are")]
pub enum Rule {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// For how long, in the calendar of the policy's zone. A month after 31 January is the last of February.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say what they are")]
pub enum Keep {
    Days(u16),
    Weeks(u16),
    Months(u16),
    Years(u16),
}

/// The days that the point of a slot stands for, if all days up to `covered` have a point that does.
///
/// The day's last point stands for its day, and for days before it that were missed. If the last one of a day was
/// missed, the next day's first point stands for that day: it is what the vault gets instead. Other points stand for
/// no day. A machine's first point (`covered` is none) stands for no day before its own.
///
/// Weeks and months do not bound it: a rule that tags the last day of a month finds its substitute in the next one. A
/// point that stands for several tagged days is one substitute, for the latest.
///
/// This is settled when the point is made and never again, so that a point's classes depend on nothing but itself
/// and the policy.
pub fn stands_for(slot: &Slot, covered: Option<Date>) -> Option<Days> {
    let last = if slot.closes_day { slot.day } else { slot.day.yesterday().ok()? };
    let earliest = last.saturating_sub(DAYS_STOOD_FOR_MAX.days());
    let first = covered.map_or(slot.day, |covered| covered.tomorrow().unwrap_or(Date::MAX)).max(earliest);
    (first <= last).then_some(Days { first, last })
}

/// Whether a point is to be copied to the vault.
pub fn goes_to_vault(policy: &Policy, stands_for: Option<Days>) -> bool {
    stands_for.is_some() || policy.document().vault.transfer == Transfer::All
}

impl Class {
    /// The classes of a point that was made for a slot of `day`.
    pub(crate) fn of(policy: &Policy, day: Date, stands_for: Option<Days>) -> impl Iterator<Item = Self> {
        let rules = [Rule::Weekly, Rule::Monthly, Rule::Yearly];
        let long = rules.into_iter().filter_map(move |rule| {
            let keep = Keep::by(policy, rule)?;
            // Its own day first, then the latest that was missed.
            let days = std::iter::successors(Some(stands_for?.last), |day| day.yesterday().ok());
            let mut days = days.take_while(move |day| stands_for.is_some_and(|days| days.first <= *day));
            let tagged = days.find(|day| rule.tags(policy, *day))?;
            Some(Self { rule, substitute_for: (tagged != day).then_some(tagged), keep })
        });
        Self::daily(policy).into_iter().chain(long)
    }

    /// The classes of the point of a day on which nothing was missed.
    pub(crate) fn of_day(policy: &Policy, day: Date) -> impl Iterator<Item = Self> {
        Self::of(policy, day, Some(Days { first: day, last: day }))
    }

    /// The class every point in the vault has, if the policy has the rule.
    pub(crate) fn daily(policy: &Policy) -> Option<Self> {
        let keep = Keep::by(policy, Rule::Daily)?;
        Some(Self { rule: Rule::Daily, substitute_for: None, keep })
    }
}

impl Rule {
    /// Whether the policy has this rule and it tags that day.
    fn tags(self, policy: &Policy, day: Date) -> bool {
        let vault = &policy.document().vault;
        match self {
            Self::Daily => vault.daily.is_some(),
            Self::Weekly => {
                vault.weekly.as_ref().is_some_and(|rule| rule.weekdays.contains(&Weekday::of(day)))
            }
            Self::Monthly => vault.monthly.as_ref().is_some_and(|rule| rule.on.holds(day)),
            Self::Yearly => vault
                .yearly
                .as_ref()
                .is_some_and(|rule| rule.months.contains(&Month::of(day)) && rule.on.holds(day)),
        }
    }
}

impl Keep {
    /// How long a policy's rule keeps, if it has the rule.
    fn by(policy: &Policy, rule: Rule) -> Option<Self> {
        let vault = &policy.document().vault;
        match rule {
            Rule::Daily => vault.daily.as_ref().map(|rule| Self::Days(rule.keep_days)),
            Rule::Weekly => vault.weekly.as_ref().map(|rule| Self::Weeks(rule.keep_weeks)),
            Rule::Monthly => vault.monthly.as_ref().map(|rule| Self::Months(rule.keep_months)),
            Rule::Yearly => vault.yearly.as_ref().map(|rule| Self::Years(rule.keep_years)),
        }
    }

    /// How long each of a policy's rules keeps.
    pub(crate) fn all(policy: &Policy) -> Vec<Self> {
        let rules = [Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly];
        rules.into_iter().filter_map(|rule| Self::by(policy, rule)).collect()
    }

    fn span(self) -> Span {
        match self {
            Self::Days(count) => i64::from(count).days(),
            Self::Weeks(count) => i64::from(count).weeks(),
            Self::Months(count) => i64::from(count).months(),
            Self::Years(count) => i64::from(count).years(),
        }
    }

    /// The day it ends, from a day on.
    pub(crate) fn after(self, day: Date) -> Date {
        day.saturating_add(self.span())
    }

    /// The instant it ends, from an instant on: at the same time of day, in that zone.
    pub(crate) fn end(self, from: Timestamp, zone: &TimeZone) -> Timestamp {
        let end = from.to_zoned(zone.clone()).checked_add(self.span());
        end.map_or(Timestamp::MAX, |end| end.timestamp())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.substitute_for {
            None => write!(f, "{}", self.rule),
            Some(day) => write!(f, "{}, as a substitute for {day}", self.rule),
        }
    }
}
