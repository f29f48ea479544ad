//! Worked examples: Azure's own, missed days, and where calendars are odd.

use super::history::*;
use crate::policy::{Daily, Policy, Schedule, Transfer, VaultRetention, Weekday, Weekly};
use crate::retention::{Fate, Keep, Tier, Until, Why, difference, plan};
use crate::{Origin, Point, PointId, VaultCopy};
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

fn daily(days: u16) -> Policy {
    let mut document = Policy::standard("Europe/Berlin", "22:00");
    document.vault.daily = Some(Daily { keep_days: days });
    document.check().unwrap()
}

fn weekly_on(weekday: Weekday, weeks: u16) -> Policy {
    let mut document = Policy::standard("Europe/Berlin", "22:00");
    document.schedule = Schedule::Weekly { weekdays: vec![weekday], time: "22:00".to_owned() };
    document.snapshot_days = 5;
    document.vault = VaultRetention {
        weekly: Some(Weekly { weekdays: vec![weekday], keep_weeks: weeks }),
        ..VaultRetention::default()
    };
    document.check().unwrap()
}

fn days(kept: &[(Date, String)]) -> Vec<i8> {
    kept.iter().map(|(day, _)| day.day()).collect()
}

fn row(day: Date, why: &str) -> (Date, String) {
    (day, why.to_owned())
}

/// January and February 2026, day after day.
fn two_months(policy: &Policy, missed: &[Date]) -> Vec<Point> {
    history(policy, at("2026-01-01T00:00:00Z"), at("2026-03-01T00:00:00Z"), |slot| {
        !missed.contains(&slot.day)
    })
}

#[test]
fn azures_weekly_example() {
    let policy = azure_weekly();
    let points = two_months(&policy, &[]);
    assert_eq!(
        kept(&points, &policy, "2026-03-01T00:00:00Z"),
        [
            // First and third of January and February: the very first has some hours left of its 2 months.
            row(date(2026, 1, 1), "monthly"),
            row(date(2026, 1, 7), "monthly"),
            row(date(2026, 1, 15), "monthly"),
            row(date(2026, 1, 21), "monthly"),
            row(date(2026, 2, 4), "monthly"),
            row(date(2026, 2, 5), "monthly"),
            row(date(2026, 2, 18), "monthly"),
            row(date(2026, 2, 19), "monthly"),
            // The fourth Monday and Thursday of February; the Wednesday between them is of the last week.
            row(date(2026, 2, 23), "yearly"),
            row(date(2026, 2, 25), "weekly"),
            row(date(2026, 2, 26), "the newest point"),
        ]
    );
    let newest = plan(&points, &policy, at("2026-03-01T00:00:00Z")).copies.pop().unwrap();
    assert_eq!(newest.expiry(), Some(at("2030-02-26T18:10:00Z")));
    let later = kept(&points, &policy, "2029-12-31T00:00:00Z");
    assert_eq!(days(&later), [23, 26]);
    // At the end of its 4 years only the newest is left, and it stays: nothing came after it.
    assert_eq!(days(&kept(&points, &policy, "2040-01-01T00:00:00Z")), [26]);
}

#[test]
fn longer_and_shorter_apply_to_what_is_there() {
    let points = two_months(&daily(30), &[]);
    let now = at("2026-03-01T00:00:00Z");
    assert_eq!(kept(&points, &daily(30), "2026-03-01T00:00:00Z").len(), 30);
    let shorter = difference(&points, &daily(30), &daily(7), now);
    assert_eq!((shorter.lost.len(), shorter.shorter.len(), shorter.longer.len()), (23, 7, 0));
    // The newest is among those kept for less; that it stays longer is not for any date.
    let newest = shorter.shorter.iter().find(|change| change.after.0 == Fate::Kept(Until::Open));
    assert!(newest.is_some_and(|change| change.after.1 < change.before.1));
    let longer = difference(&points, &daily(30), &daily(60), now);
    assert_eq!((longer.lost.len(), longer.shorter.len()), (0, 0));
    // 30 live longer; 29 more had expired, and are saved if they were not collected yet.
    assert_eq!(longer.longer.len(), 59);
    assert_eq!(
        difference(&points, &daily(30), &daily(30), now).same,
        plan(&points, &daily(30), now).copies.len()
    );
}

#[test]
fn from_daily_to_weekly_and_back() {
    let points = two_months(&daily(30), &[]);
    let sundays = kept(&points, &weekly_on(Weekday::Sunday, 4), "2026-03-01T00:00:00Z");
    // Dailies are no longer kept, Sundays are; the newest in the vault and in the snapshot tier anyway.
    assert_eq!(days(&sundays[..4]), [1, 8, 15, 22]);
    assert!(sundays[4..].iter().all(|(day, why)| *day > date(2026, 2, 22) && why != "weekly"));
    // Weeklies are kept for what is left of 30 days.
    let points = two_months(&weekly_on(Weekday::Sunday, 20), &[]);
    assert_eq!(days(&kept(&points, &daily(30), "2026-03-01T00:00:00Z")), [1, 8, 15, 22]);
}

#[test]
fn a_missed_day_has_a_substitute() {
    let mut document = Policy::standard("Europe/Berlin", "22:00");
    document.vault.daily = Some(Daily { keep_days: 7 });
    document.vault.weekly = Some(Weekly { weekdays: vec![Weekday::Sunday], keep_weeks: 20 });
    let policy = document.check().unwrap();
    // Sunday the 8th fails; so do Sunday the 15th and the two days after it.
    let missed = [8, 15, 16, 17].map(|day| date(2026, 2, day));
    let points = two_months(&policy, &missed);
    let february: Vec<_> = kept(&points, &policy, "2026-05-01T00:00:00Z");
    let february: Vec<_> = february.into_iter().filter(|(day, _)| day.month() == 2).collect();
    assert_eq!(
        february,
        [
            row(date(2026, 2, 1), "weekly"),
            row(date(2026, 2, 9), "weekly, as a substitute for 2026-02-08"),
            row(date(2026, 2, 18), "weekly, as a substitute for 2026-02-15"),
            row(date(2026, 2, 22), "weekly"),
            row(date(2026, 2, 28), "the newest point"),
        ]
    );
}

#[test]
fn of_an_hourly_policy_the_last_of_a_day_goes_to_the_vault_or_the_next_one() {
    let policy = hourly(Transfer::LastOfDay);
    // 08:00 and 14:00 each day; on Sunday the 8th 14:00 fails.
    let failed = |slot: &crate::Slot| slot.day == date(2026, 2, 8) && slot.closes_day;
    let points = history(&policy, at("2026-02-06T00:00:00Z"), at("2026-02-10T00:00:00Z"), |s| !failed(s));
    let in_vault: Vec<_> = points
        .iter()
        .filter(|point| point.vault == VaultCopy::There)
        .map(|point| point.slot().map(|slot| (slot.day.day(), slot.number)).unwrap())
        .collect();
    assert_eq!(in_vault, [(6, 1), (7, 1), (9, 0), (9, 1)]);
    // Monday's first carries Sunday's class, its last is an ordinary Monday.
    assert_eq!(
        kept(&points, &policy, "2026-02-20T00:00:00Z"),
        [
            row(date(2026, 2, 9), "weekly, as a substitute for 2026-02-08"),
            row(date(2026, 2, 9), "the newest point")
        ]
    );
}

#[test]
fn if_all_points_go_to_the_vault_a_day_has_one_that_is_weekly() {
    let policy = hourly(Transfer::All);
    let points = history(&policy, at("2026-02-06T00:00:00Z"), at("2026-02-16T00:00:00Z"), |_| true);
    assert!(points.iter().all(|point| point.vault == VaultCopy::There));
    let of_the_8th: Vec<_> = kept(&points, &policy, "2026-02-15T23:00:00Z")
        .into_iter()
        .filter(|(day, _)| *day == date(2026, 2, 8))
        .collect();
    assert_eq!(of_the_8th, [row(date(2026, 2, 8), "weekly")]);
}

#[test]
fn on_demand_points_keep_their_own_expiry() {
    let mut points = two_months(&daily(30), &[]);
    let taken = at("2026-02-10T12:00:00Z");
    let keep_until = at("2026-03-12T12:00:00Z");
    points.push(point(900, taken, Origin::OnDemand { keep_until }));
    for policy in [daily(7), daily(90)] {
        let plan = plan(&points, &policy, at("2026-03-01T00:00:00Z"));
        let copy = plan.of(points[points.len() - 1].id, Tier::Vault).unwrap();
        assert_eq!(copy.fate, Fate::Kept(Until::At(keep_until)));
    }
}

#[test]
fn what_waits_for_its_transfer_stays() {
    let policy = hourly(Transfer::LastOfDay);
    let mut points = history(&policy, at("2026-02-06T00:00:00Z"), at("2026-02-10T00:00:00Z"), |_| true);
    points[1].vault = VaultCopy::Expected;
    let plan = plan(&points, &policy, at("2026-03-01T00:00:00Z"));
    let waiting = plan.of(points[1].id, Tier::Snapshot).unwrap();
    assert_eq!((waiting.reasons[0].why, waiting.fate), (Why::AwaitsTransfer, Fate::Kept(Until::Open)));
    assert_eq!(plan.of(points[0].id, Tier::Snapshot).unwrap().fate, {
        let end = points[0].taken.saturating_add(SignedDuration::from_hours(48)).unwrap();
        Fate::Expired(Some(end))
    });
}

#[test]
fn deleted_points_wait_for_their_purge_and_outdate_nothing() {
    let policy = daily(7);
    let mut points = two_months(&policy, &[]);
    let (newest, last_left) = (points.len() - 1, points.len() - 2);
    points[newest].purge_at = Some(at("2026-03-14T00:00:00Z"));
    let plan_at = |now: &str| plan(&points, &policy, at(now));
    let vault = |plan: &crate::retention::Plan, id: PointId| plan.of(id, Tier::Vault).unwrap().clone();
    let before = plan_at("2026-03-13T00:00:00Z");
    assert!(vault(&before, points[newest].id).is_kept());
    assert!(vault(&before, points[last_left].id).is_kept(), "the newest of those that are left");
    assert!(!vault(&plan_at("2026-03-14T00:00:00Z"), points[newest].id).is_kept());
}

#[test]
fn ends_are_in_the_calendar_of_the_zone() {
    let end = |keep: Keep, from: &str, zone: &str| {
        let zone = TimeZone::get(zone).unwrap();
        let from: Timestamp =
            from.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone.clone()).unwrap().into();
        keep.end(from, &zone).to_zoned(zone).datetime().to_string()
    };
    // The same time of day, on either side of a change of clocks.
    assert_eq!(end(Keep::Days(7), "2026-03-25T22:00", "Europe/Berlin"), "2026-04-01T22:00:00");
    assert_eq!(end(Keep::Weeks(1), "2026-10-28T22:00", "America/New_York"), "2026-11-04T22:00:00");
    // Left out: later by what was left out. On Lord Howe Island half an hour, on Samoa once a day.
    assert_eq!(end(Keep::Days(7), "2026-09-27T02:15", "Australia/Lord_Howe"), "2026-10-04T02:45:00");
    assert_eq!(end(Keep::Days(1), "2011-12-29T12:00", "Pacific/Apia"), "2011-12-31T12:00:00");
    // Months end where they end.
    assert_eq!(end(Keep::Months(1), "2026-01-31T12:00", "UTC"), "2026-02-28T12:00:00");
    assert_eq!(end(Keep::Years(1), "2028-02-29T12:00", "UTC"), "2029-02-28T12:00:00");
    assert_eq!(end(Keep::Years(99), "9950-01-01T00:00", "UTC"), "9999-12-30T22:00:00.999999999");
}
