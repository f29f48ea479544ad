//! Which drills are due: at most one for a machine, in the policy's window.

use crate::chance::mix;
use crate::policy::{DrillRhythm, Weekday};
use crate::{MachineId, PointId, Policy};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Drills of many machines begin spread over this part of a window: those that wait for others must begin, too.
const SPREAD_PART: i32 = 2;

/// When drills of a policy may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillWindow {
    /// From then on.
    pub start: Timestamp,
    /// And before then.
    pub end: Timestamp,
}

/// What is known of a machine's drills and points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillHistory {
    /// Its newest point that can be read; none: there is nothing to try.
    pub newest: Option<PointId>,
    /// Points since the last one that was tried, that one not counted.
    pub points_since: u64,
    /// Whether a drill of it waits or runs.
    pub is_running: bool,
}

/// A drill that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDrill {
    /// Of this point.
    pub point: PointId,
    /// Not before.
    pub start: Timestamp,
    /// It is left out if nobody has begun it by then.
    pub until: Timestamp,
    /// What it is for: there is one drill for each.
    pub slot: String,
}

impl Policy {
    /// The window for drills that is open at an instant.
    ///
    /// One that runs past midnight belongs to the day it started on.
    pub fn drill_window(&self, now: Timestamp) -> Option<DrillWindow> {
        let drills = self.document().drills.as_ref()?;
        let (time, today) = (drills.start()?, self.day_of(now));
        let days = [Some(today), today.checked_sub(1.day()).ok()];
        days.into_iter().flatten().find_map(|day| {
            let is_day = match drills.every {
                DrillRhythm::Never {} => false,
                DrillRhythm::Weekly { weekday } => Weekday::of(day) == weekday,
                DrillRhythm::Points { .. } => true,
            };
            let start = day.to_datetime(time).to_zoned(self.zone().clone()).ok()?.timestamp();
            let end = start.checked_add(SignedDuration::from_hours(drills.window_hours.into())).ok()?;
            (is_day && start <= now && now < end).then_some(DrillWindow { start, end })
        })
    }

    /// The drill that is due for a machine, if any. Asked again it is the same one, by its slot.
    pub fn drill_due(&self, machine: MachineId, history: &DrillHistory, now: Timestamp) -> Option<DueDrill> {
        let window = self.drill_window(now)?;
        let point = history.newest.filter(|_| !history.is_running)?;
        let slot = match self.document().drills.as_ref()?.every {
            DrillRhythm::Never {} => return None,
            DrillRhythm::Weekly { .. } => window.start.to_string(),
            DrillRhythm::Points { count } if history.points_since >= count.into() => point.to_string(),
            DrillRhythm::Points { .. } => return None,
        };
        Some(DueDrill { point, start: window.start_of(machine), until: window.end, slot })
    }
}

impl DrillWindow {
    /// When a machine's drill begins: the same for ever for the same machine and window, spread evenly for many.
    fn start_of(&self, machine: MachineId) -> Timestamp {
        let spread = (self.end.duration_since(self.start) / SPREAD_PART).as_secs().unsigned_abs();
        let (high, low) = machine.0.as_u64_pair();
        let hash = mix(mix(mix(high) ^ low) ^ self.start.as_second().cast_unsigned());
        let delay = (u128::from(hash) * u128::from(spread)) >> u64::BITS;
        self.start.saturating_add(SignedDuration::from_secs(delay as i64)).expect("a duration, not a span")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DrillOptions, Drills, PolicyDocument};
    use uuid::Uuid;

    fn policy(every: DrillRhythm, window_start: &str, window_hours: u8) -> Policy {
        let (window_start, options) = (window_start.to_owned(), DrillOptions::default());
        let drills = Some(Drills { every, window_start, window_hours, proof_days: 30, options });
        PolicyDocument { drills, ..Policy::standard("Europe/Berlin", "23:00") }.check().expect("a policy")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn history(points_since: u64) -> DrillHistory {
        DrillHistory { newest: Some(PointId(Uuid::from_u128(9))), points_since, is_running: false }
    }

    const SUNDAY: DrillRhythm = DrillRhythm::Weekly { weekday: Weekday::Sunday };

    #[test]
    fn a_week_has_one_drill_in_its_window() {
        let policy = policy(SUNDAY, "22:00", 6);
        let machine = MachineId(Uuid::from_u128(7));
        let due = |now: &str| policy.drill_due(machine, &history(1), at(now));
        // 2026-11-22 is a Sunday; Berlin is an hour ahead of UTC.
        assert_eq!(due("2026-11-22T20:59:59Z"), None);
        let first = due("2026-11-22T21:00:00Z").expect("it is due");
        // After midnight it is still Sunday's.
        assert_eq!(due("2026-11-23T02:59:59Z").as_ref(), Some(&first));
        assert_eq!(due("2026-11-23T03:00:00Z"), None);
        assert!(first.start >= at("2026-11-22T21:00:00Z") && first.start < at("2026-11-23T00:00:00Z"));
        assert_eq!(first.until, at("2026-11-23T03:00:00Z"));
        let next = due("2026-11-29T22:00:00Z").expect("it is due");
        assert!(next.slot != first.slot && next.point == first.point, "the same point once a week");
        let other = policy.drill_due(MachineId(Uuid::from_u128(8)), &history(1), at("2026-11-22T21:00:00Z"));
        assert_ne!(other.expect("it is due").start, first.start);
    }

    #[test]
    fn every_nth_point_is_tried_within_any_days_window() {
        let policy = policy(DrillRhythm::Points { count: 3 }, "10:00", 4);
        let machine = MachineId(Uuid::from_u128(7));
        let due = |since, now: &str| policy.drill_due(machine, &history(since), at(now));
        assert_eq!(due(2, "2026-11-24T10:00:00Z"), None);
        assert_eq!(due(3, "2026-11-24T08:59:00Z"), None);
        let first = due(3, "2026-11-24T09:00:00Z").expect("it is due");
        assert_eq!(first.slot, first.point.to_string());
        assert!(due(30, "2026-11-27T12:59:59Z").is_some());
    }

    #[test]
    fn nothing_is_tried_beside_another_drill_or_without_a_point_or_a_wish() {
        let (machine, now) = (MachineId(Uuid::from_u128(7)), at("2026-11-22T12:00:00Z"));
        let weekly = policy(SUNDAY, "10:00", 8);
        assert_eq!(weekly.drill_due(machine, &DrillHistory { is_running: true, ..history(9) }, now), None);
        assert_eq!(weekly.drill_due(machine, &DrillHistory { newest: None, ..history(9) }, now), None);
        let never = policy(DrillRhythm::Never {}, "00:00", 24);
        assert_eq!((never.drill_window(now), never.drill_due(machine, &history(9), now)), (None, None));
        let silent = Policy::standard("UTC", "23:00").check().expect("a policy");
        assert_eq!(silent.drill_window(now), None);
    }

    #[test]
    fn a_window_on_a_day_that_changes_its_clocks_keeps_its_length() {
        // Berlin has no 02:30 on 2026-03-29: it begins at 03:30.
        let policy = policy(SUNDAY, "02:30", 2);
        let window = policy.drill_window(at("2026-03-29T01:30:00Z")).expect("open");
        assert_eq!((window.start, window.end), (at("2026-03-29T01:30:00Z"), at("2026-03-29T03:30:00Z")));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        let drills = |text: &str| {
            let mut document = serde_json::to_value(Policy::standard("UTC", "23:00")).expect("plain data");
            document["drills"] = serde_json::from_str(text).expect("JSON");
            let document: PolicyDocument = serde_json::from_value(document).expect("a document");
            let told = document.check().err().map(|found| found.0).unwrap_or_default();
            told.into_iter().map(|one| one.pointer).collect::<Vec<_>>()
        };
        assert!(drills(r#"{"every":{"rhythm":"weekly","weekday":"sunday"}}"#).is_empty());
        assert_eq!(
            drills(
                r#"{"every":{"rhythm":"points","count":0},"window_start":"25:00","window_hours":0,"proof_days":400,
                    "options":{"checks":[{"name":"a","command":" "},{"name":"a","command":"true","limit_s":0}],
                    "boot_limit_s":0,"memory_mib":0}}"#
            ),
            [
                "/drills/window_start",
                "/drills/window_hours",
                "/drills/proof_days",
                "/drills/every/count",
                "/drills/options/checks/0/command",
                "/drills/options/checks/1/limit_s",
                "/drills/options/checks/1/name",
                "/drills/options/boot_limit_s",
                "/drills/options/memory_mib"
            ]
        );
    }
}
