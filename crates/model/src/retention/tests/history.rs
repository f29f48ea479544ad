//! Points as a server makes them: slot after slot, each standing for what was missed before it.

use crate::policy::{Policy, Transfer, Weekday};
use crate::retention::{Plan, Tier, covered, goes_to_vault, plan, stands_for};
use crate::{Origin, Point, PointId, Slot, VaultCopy};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

/// Ten minutes after its slot, a point; of those slots that `succeeds` says.
pub(super) fn history(
    policy: &Policy,
    from: Timestamp,
    before: Timestamp,
    mut succeeds: impl FnMut(&Slot) -> bool,
) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for slot in policy.slots(from, before) {
        if !succeeds(&slot) {
            continue;
        }
        let days = stands_for(&slot, covered(&points));
        let taken = slot.at.saturating_add(SignedDuration::from_mins(10)).unwrap();
        let mut point = point(points.len(), taken, Origin::Scheduled { slot, stands_for: days });
        if !goes_to_vault(policy, days) {
            point.vault = VaultCopy::Never;
        }
        points.push(point);
    }
    points
}

/// A point with a copy in each tier.
pub(super) fn point(number: usize, taken: Timestamp, origin: Origin) -> Point {
    Point {
        id: PointId(Uuid::from_u64_pair(4, number as u64)),
        taken,
        origin,
        in_snapshot_tier: true,
        vault: VaultCopy::There,
        pinned: false,
        locked_until: None,
        purge_at: None,
        archive: crate::ArchiveCopy::Never,
    }
}

/// The days whose slots' points the vault keeps, and what keeps each longest, with its date.
pub(super) fn kept(points: &[Point], policy: &Policy, now: &str) -> Vec<(Date, String)> {
    let plan = plan(points, policy, at(now));
    let in_vault = plan.copies.iter().filter(|copy| copy.tier == Tier::Vault && copy.is_kept());
    let slot = |id| points.iter().find(|point| point.id == id).and_then(Point::slot).expect("scheduled");
    in_vault.map(|copy| (slot(copy.point).day, copy.reasons[0].why.to_string())).collect()
}

/// The plan, carried out.
pub(super) fn carry_out(points: &[Point], plan: &Plan) -> Vec<Point> {
    let mut left = points.to_vec();
    for gone in plan.expired() {
        let point = left.iter_mut().find(|point| point.id == gone.point).expect("of these points");
        match gone.tier {
            Tier::Snapshot => point.in_snapshot_tier = false,
            Tier::Vault => point.vault = VaultCopy::Never,
        }
    }
    left.retain(|point| point.in_snapshot_tier || point.vault != VaultCopy::Never);
    left
}

/// Azure's worked example: points on Monday, Wednesday and Thursday at 10:00 Pacific time for a week; first and
/// third Wednesday and Thursday for 2 months; fourth Monday and Thursday of February and November for 4 years.
pub(super) fn azure_weekly() -> Policy {
    use crate::policy::*;
    let mut document = Policy::standard("America/Los_Angeles", "10:00");
    let weekdays = vec![Weekday::Monday, Weekday::Wednesday, Weekday::Thursday];
    document.schedule = Schedule::Weekly { weekdays: weekdays.clone(), time: "10:00".to_owned() };
    document.snapshot_days = 5;
    document.vault = VaultRetention {
        transfer: Transfer::LastOfDay,
        daily: None,
        weekly: Some(Weekly { weekdays, keep_weeks: 1 }),
        monthly: Some(Monthly {
            on: DaysOfMonth::Weekly {
                weekdays: vec![Weekday::Wednesday, Weekday::Thursday],
                weeks: vec![WeekOfMonth::First, WeekOfMonth::Third],
            },
            keep_months: 2,
        }),
        yearly: Some(Yearly {
            months: vec![Month::February, Month::November],
            on: DaysOfMonth::Weekly {
                weekdays: vec![Weekday::Monday, Weekday::Thursday],
                weeks: vec![WeekOfMonth::Fourth],
            },
            keep_years: 4,
        }),
        archive: None,
    };
    document.check().expect("valid")
}

/// Every 6 hours from 08:00; 7 days, Sundays for 4 weeks.
pub(super) fn hourly(transfer: Transfer) -> Policy {
    let mut document = Policy::enhanced("Europe/Berlin");
    document.schedule = crate::policy::Schedule::Hourly {
        every_hours: 6,
        window_start: "08:00".to_owned(),
        window_hours: 12,
    };
    document.snapshot_days = 2;
    document.vault = crate::policy::VaultRetention {
        transfer,
        daily: Some(crate::policy::Daily { keep_days: 7 }),
        weekly: Some(crate::policy::Weekly { weekdays: vec![Weekday::Sunday], keep_weeks: 4 }),
        ..crate::policy::VaultRetention::default()
    };
    document.check().expect("valid")
}
