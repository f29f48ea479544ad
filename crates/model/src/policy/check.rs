//! What makes a written policy a valid one. Every fault is found at once, each with its place and its rule.

use super::document::{Monthly, PolicyDocument, PolicyKind, Schedule, VaultRetention, Weekly, Yearly};
use super::{DaysOfMonth, Policy, Rhythm, Transfer, Weekday, held};
use crate::archive::{AFTER_MONTHS_MIN, MONTHS_LEFT_MIN};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use std::fmt::{self, Debug};

/// Hours between points that divide a day, so that every day has the same times.
const EVERY_HOURS: [u8; 5] = [4, 6, 8, 12, 24];
/// Azure's latest start of a window: it ends before the next day's begins to matter.
const WINDOW_START_MAX: Time = Time::constant(19, 30, 0, 0);
/// A shorter window would hold one point, which is a daily schedule.
const WINDOW_HOURS: (u16, u16) = (4, 24);
/// Snapshot tier of a standard policy: Azure's 1 to 5 days; a weekly one always keeps 5.
const STANDARD_SNAPSHOT_DAYS: u16 = 5;
/// Snapshot tier of an enhanced policy, for one or two points a day.
const ENHANCED_SNAPSHOT_DAYS: u16 = 30;
/// Less than a week of days would not bridge from one weekly point to the next.
const KEEP_DAYS: (u16, u16) = (7, 9999);
/// 99 years in each unit.
const KEEP_WEEKS: (u16, u16) = (1, 5163);
const KEEP_MONTHS: (u16, u16) = (1, 1188);
const KEEP_YEARS: (u16, u16) = (1, 99);
/// Every month has these; later ones are said as `last_day`.
const DAYS_OF_MONTH: (i8, i8) = (1, 28);
/// Points of one machine that listings, plans and the catalog are made for; Azure's limit too.
pub const POINTS_PER_MACHINE_MAX: u64 = 9999;
/// Disks a selection may name; Azure's machines have at most 32.
const DISKS_NAMED_MAX: usize = 64;

/// One fault of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: a JSON pointer into the document.
    pub pointer: String,
    /// What must be the case there, and what was found.
    pub rule: String,
}

/// Everything that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|one| format!("{}: {}", one.pointer, one.rule)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Violations {}

impl PolicyDocument {
    /// The policy that this document says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(self) -> Result<Policy, Violations> {
        let mut faults = Faults::default();
        let zone = faults.zone(&self.time_zone);
        let rhythm = faults.schedule(self.kind, &self.schedule);
        faults.snapshot_days(&self);
        faults.vault(&self);
        faults.disks(self.disks.named());
        if let Some(drills) = &self.drills {
            faults.drills(drills);
        }
        let (Some(zone), Some(rhythm), true) = (zone, rhythm, faults.0.is_empty()) else {
            return Err(Violations(faults.0));
        };
        let policy = Policy { document: self, zone, rhythm };
        let held = held::points_held(&policy);
        if held > POINTS_PER_MACHINE_MAX {
            faults.add(
                "/vault",
                format!(
                    "the rules come to keep {held} points of each machine; at most {POINTS_PER_MACHINE_MAX}"
                ),
            );
            return Err(Violations(faults.0));
        }
        Ok(policy)
    }
}

#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Violation>);

impl Faults {
    pub(super) fn add(&mut self, pointer: &str, rule: impl Into<String>) {
        self.0.push(Violation { pointer: pointer.to_owned(), rule: rule.into() });
    }

    pub(super) fn range(&mut self, pointer: &str, (min, max): (u16, u16), found: u16) {
        if !(min..=max).contains(&found) {
            self.add(pointer, format!("must be {min} to {max}, is {found}"));
        }
    }

    /// A list that says something, once.
    fn list<T: PartialEq + Debug>(&mut self, pointer: &str, list: &[T]) {
        if list.is_empty() {
            self.add(pointer, "must name at least one");
        }
        let repeated = list.iter().enumerate().find(|(at, one)| list[..*at].contains(one));
        if let Some((at, one)) = repeated {
            self.add(&format!("{pointer}/{at}"), format!("{} is named twice", word(one)));
        }
    }

    fn zone(&mut self, name: &str) -> Option<TimeZone> {
        let zone = TimeZone::get(name).ok();
        if zone.is_none() {
            self.add(
                "/time_zone",
                format!("must be the IANA name of a time zone, such as Europe/Berlin; '{name}' is none"),
            );
        }
        zone
    }

    pub(super) fn time(&mut self, pointer: &str, text: &str) -> Option<Time> {
        let time = parse_time(text);
        if time.is_none() {
            self.add(pointer, format!("must be a time of day from 00:00 to 23:59; '{text}' is none"));
        }
        time
    }

    fn schedule(&mut self, kind: PolicyKind, schedule: &Schedule) -> Option<Rhythm> {
        match schedule {
            Schedule::Daily { time } => {
                let first = self.time("/schedule/time", time)?;
                Some(Rhythm { weekdays: Weekday::ALL.to_vec(), first, every_hours: 24, count: 1 })
            }
            Schedule::Weekly { weekdays, time } => {
                self.list("/schedule/weekdays", weekdays);
                let first = self.time("/schedule/time", time)?;
                Some(Rhythm { weekdays: weekdays.clone(), first, every_hours: 24, count: 1 })
            }
            Schedule::Hourly { every_hours, window_start, window_hours } => {
                if kind == PolicyKind::Standard {
                    self.add("/schedule/frequency", "several points a day need a policy of type enhanced");
                }
                let first = self.window(*every_hours, window_start, *window_hours)?;
                let count = window_hours.div_ceil(*every_hours);
                Some(Rhythm { weekdays: Weekday::ALL.to_vec(), first, every_hours: *every_hours, count })
            }
        }
    }

    /// The start of the window, if the interval fits into it.
    fn window(&mut self, every: u8, start: &str, hours: u8) -> Option<Time> {
        let before = self.0.len();
        let first = self.time("/schedule/window_start", start);
        if first.is_some_and(|first| first > WINDOW_START_MAX) {
            self.add("/schedule/window_start", format!("must be 00:00 to 19:30, is {start}"));
        }
        self.range("/schedule/window_hours", WINDOW_HOURS, hours.into());
        if !EVERY_HOURS.contains(&every) {
            self.add("/schedule/every_hours", format!("must be 4, 6, 8, 12 or 24, is {every}"));
        } else if every > hours {
            self.add(
                "/schedule/window_hours",
                format!(
                    "must not be shorter than every_hours, {every}: the window of {hours} hours ends first"
                ),
            );
        }
        first.filter(|_| self.0.len() == before)
    }

    fn snapshot_days(&mut self, policy: &PolicyDocument) {
        let pointer = "/snapshot_days";
        let found = policy.snapshot_days;
        let is_weekly = matches!(policy.schedule, Schedule::Weekly { .. });
        match policy.kind {
            PolicyKind::Standard if is_weekly && found != STANDARD_SNAPSHOT_DAYS => {
                self.add(pointer, format!("must be 5 in a standard policy that runs weekly, is {found}"));
            }
            PolicyKind::Standard => self.range(pointer, (1, STANDARD_SNAPSHOT_DAYS), found),
            PolicyKind::Enhanced => {
                self.range(pointer, (1, snapshot_days_max(&policy.schedule)), found);
            }
        }
        let vault = &policy.vault;
        let keeps = [
            ("/vault/daily/keep_days", vault.daily.as_ref().map(|rule| u32::from(rule.keep_days))),
            ("/vault/weekly/keep_weeks", vault.weekly.as_ref().map(|rule| u32::from(rule.keep_weeks) * 7)),
        ];
        for (pointer, days) in keeps {
            if let Some(days) = days.filter(|days| *days < u32::from(found)) {
                let rule = "a point must stay in the vault at least as long as in the snapshot tier";
                self.add(pointer, format!("{rule}: {days} days are fewer than snapshot_days, {found}"));
            }
        }
    }

    fn vault(&mut self, policy: &PolicyDocument) {
        let vault = &policy.vault;
        match &policy.schedule {
            Schedule::Weekly { weekdays, .. } => self.weekly_schedule(policy, weekdays),
            Schedule::Daily { .. } | Schedule::Hourly { .. } if vault.daily.is_none() => {
                self.add("/vault/daily", "is needed: without it most days' points would be kept by no rule");
            }
            Schedule::Daily { .. } | Schedule::Hourly { .. } => {}
        }
        if vault.transfer == Transfer::All && !matches!(policy.schedule, Schedule::Hourly { .. }) {
            self.add("/vault/transfer", "all is for hourly schedules; others have one point a day");
        }
        if let Some(rule) = &vault.daily {
            self.range("/vault/daily/keep_days", KEEP_DAYS, rule.keep_days);
        }
        if let Some(Weekly { weekdays, keep_weeks }) = &vault.weekly {
            self.list("/vault/weekly/weekdays", weekdays);
            self.range("/vault/weekly/keep_weeks", KEEP_WEEKS, *keep_weeks);
        }
        if let Some(Monthly { on, keep_months }) = &vault.monthly {
            self.days_of_month("/vault/monthly/on", on);
            self.range("/vault/monthly/keep_months", KEEP_MONTHS, *keep_months);
        }
        if let Some(Yearly { months, on, keep_years }) = &vault.yearly {
            self.list("/vault/yearly/months", months);
            self.days_of_month("/vault/yearly/on", on);
            self.range("/vault/yearly/keep_years", KEEP_YEARS, *keep_years);
        }
        self.archive(vault);
    }

    /// A setting that would never move anything is a mistake.
    fn archive(&mut self, vault: &VaultRetention) {
        let (Some(archive), pointer) = (&vault.archive, "/vault/archive/after_months") else { return };
        self.range(pointer, (AFTER_MONTHS_MIN, KEEP_MONTHS.1), archive.after_months);
        let months = vault.monthly.as_ref().map(|rule| u32::from(rule.keep_months));
        let years = vault.yearly.as_ref().map(|rule| u32::from(rule.keep_years) * 12);
        let needed = u32::from(archive.after_months) + u32::from(MONTHS_LEFT_MIN);
        match months.max(years) {
            None => {
                self.add(
                    "/vault/archive",
                    "moves points of monthly and yearly rules; the policy has neither",
                );
            }
            Some(longest) if longest < needed => {
                let rule =
                    "what moves must stay for 6 months yet: a monthly or yearly rule must keep points for";
                self.add(pointer, format!("{rule} {needed} months, the longest keeps them for {longest}"));
            }
            Some(_) => {}
        }
    }

    /// A weekly schedule and its rules must speak of the same days.
    fn weekly_schedule(&mut self, policy: &PolicyDocument, scheduled: &[Weekday]) {
        let vault = &policy.vault;
        if vault.daily.is_some() {
            self.add("/vault/daily", "has no meaning in a weekly schedule; use weekly");
        }
        match &vault.weekly {
            None => self.add("/vault/weekly", "is needed: without it most points would be kept by no rule"),
            Some(rule) => {
                self.scheduled("/vault/weekly/weekdays", &rule.weekdays, scheduled);
                for day in scheduled.iter().filter(|day| !rule.weekdays.contains(day)) {
                    let day = word(day);
                    self.add(
                        "/vault/weekly/weekdays",
                        format!("must name {day}: the schedule makes points then, which no rule would keep"),
                    );
                }
            }
        }
        let monthly = vault.monthly.as_ref().map(|rule| ("/vault/monthly/on", &rule.on));
        let yearly = vault.yearly.as_ref().map(|rule| ("/vault/yearly/on", &rule.on));
        for (pointer, on) in monthly.into_iter().chain(yearly) {
            match on {
                DaysOfMonth::Weekly { weekdays, .. } => {
                    self.scheduled(&format!("{pointer}/weekdays"), weekdays, scheduled);
                }
                DaysOfMonth::Daily { .. } => self.add(
                    &format!("{pointer}/format"),
                    "must be weekly in a weekly schedule: a day of the month is seldom one of its weekdays",
                ),
            }
        }
    }

    /// Every weekday that a rule names is one on which points are made.
    fn scheduled(&mut self, pointer: &str, named: &[Weekday], scheduled: &[Weekday]) {
        for (at, day) in named.iter().enumerate().filter(|(_, day)| !scheduled.contains(day)) {
            self.add(
                &format!("{pointer}/{at}"),
                format!("must be a day of the schedule; no point is ever made on {}", word(day)),
            );
        }
    }

    fn days_of_month(&mut self, pointer: &str, on: &DaysOfMonth) {
        match on {
            DaysOfMonth::Weekly { weekdays, weeks } => {
                self.list(&format!("{pointer}/weekdays"), weekdays);
                self.list(&format!("{pointer}/weeks"), weeks);
            }
            DaysOfMonth::Daily { days, last_day } => {
                if !(days.is_empty() && *last_day) {
                    self.list(&format!("{pointer}/days"), days);
                }
                let (min, max) = DAYS_OF_MONTH;
                for (at, day) in days.iter().enumerate().filter(|(_, day)| !(min..=max).contains(*day)) {
                    self.add(
                        &format!("{pointer}/days/{at}"),
                        format!("must be {min} to {max}, which every month has, is {day}; or use last_day"),
                    );
                }
            }
        }
    }

    fn disks(&mut self, named: &[String]) {
        if named.len() > DISKS_NAMED_MAX {
            self.add("/disks/disks", format!("must name at most {DISKS_NAMED_MAX}, names {}", named.len()));
        }
        for (at, name) in named.iter().enumerate() {
            if name.trim().is_empty() || name.chars().any(char::is_control) {
                self.add(
                    &format!("/disks/disks/{at}"),
                    format!("must be a disk's name, in printable letters; is {name:?}"),
                );
            } else if named[..at].contains(name) {
                self.add(&format!("/disks/disks/{at}"), format!("{name} is named twice"));
            }
        }
    }
}

/// The more often, the shorter: the snapshots are many. Azure's figures; that for 8 hours lies between them.
fn snapshot_days_max(schedule: &Schedule) -> u16 {
    match schedule {
        Schedule::Hourly { every_hours: 4, .. } => 17,
        Schedule::Hourly { every_hours: 6, .. } => 22,
        Schedule::Hourly { every_hours: 8, .. } => 24,
        _ => ENHANCED_SNAPSHOT_DAYS,
    }
}

/// `HH:MM`, nothing else.
pub(super) fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i8>().ok().filter(|_| is_number)
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

/// A weekday, month or number as the document spells it.
fn word(value: &impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}
