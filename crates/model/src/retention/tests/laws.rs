//! The laws of retention, over policies and histories drawn at random.

use super::history::*;
use crate::policy::*;
use crate::retention::{Plan, Tier, difference, plan};
use crate::{Origin, Point, PointId, VaultCopy};
use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"];

/// How long each rule keeps; none: the policy does not have it.
#[derive(Clone, Copy, Debug)]
struct Keeps {
    snapshot: u16,
    days: u16,
    weeks: Option<u16>,
    months: Option<u16>,
    years: Option<u16>,
}

prop_compose! {
    fn keeps()(
        snapshot in 1..6_u16,
        days in 7..60_u16,
        weeks in prop::option::of(1..30_u16),
        months in prop::option::of(1..12_u16),
        years in prop::option::of(1..4_u16),
    ) -> Keeps {
        let weeks = weeks.map(|weeks| weeks.max(snapshot.div_ceil(7)));
        Keeps { snapshot, days, weeks, months, years }
    }
}

/// What a policy has beside how long it keeps.
#[derive(Clone, Debug)]
struct Shape {
    zone: usize,
    hourly: bool,
    transfer: Transfer,
    weekday: Weekday,
    week: WeekOfMonth,
    by_number: bool,
    month: Month,
}

prop_compose! {
    fn shapes()(
        zone in 0..ZONES.len(),
        hourly: bool,
        all: bool,
        weekday in prop::sample::select(Weekday::ALL.to_vec()),
        week in prop::sample::select(vec![WeekOfMonth::First, WeekOfMonth::Third, WeekOfMonth::Last]),
        by_number: bool,
        month in prop::sample::select(Month::ALL.to_vec()),
    ) -> Shape {
        let transfer = if hourly && all { Transfer::All } else { Transfer::LastOfDay };
        Shape { zone, hourly, transfer, weekday, week, by_number, month }
    }
}

fn policy(shape: &Shape, keeps: Keeps) -> Policy {
    let on = if shape.by_number {
        DaysOfMonth::Daily { days: vec![1, 15], last_day: true }
    } else {
        DaysOfMonth::Weekly { weekdays: vec![shape.weekday], weeks: vec![shape.week] }
    };
    let mut document = Policy::enhanced(ZONES[shape.zone]);
    document.schedule = if shape.hourly {
        Schedule::Hourly { every_hours: 8, window_start: "12:00".to_owned(), window_hours: 20 }
    } else {
        Schedule::Daily { time: "02:15".to_owned() }
    };
    document.snapshot_days = keeps.snapshot;
    document.vault = VaultRetention {
        transfer: shape.transfer,
        daily: Some(Daily { keep_days: keeps.days }),
        weekly: keeps.weeks.map(|keep_weeks| Weekly { weekdays: vec![shape.weekday], keep_weeks }),
        monthly: keeps.months.map(|keep_months| Monthly { on: on.clone(), keep_months }),
        yearly: keeps.years.map(|keep_years| Yearly { months: vec![shape.month], on, keep_years }),
        archive: None,
    };
    document.check().expect("valid")
}

/// What people did to a point.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Nothing,
    Pinned,
    LockedForDays(i64),
    PurgedAfterDays(i64),
    LostSnapshot,
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        12 => Just(Deed::Nothing),
        1 => Just(Deed::Pinned),
        1 => (0..400_i64).prop_map(Deed::LockedForDays),
        1 => (0..60_i64).prop_map(Deed::PurgedAfterDays),
        2 => Just(Deed::LostSnapshot),
    ]
}

/// A machine: its policy, its points, and now.
#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    keeps: Keeps,
    policy: Policy,
    points: Vec<Point>,
    now: Timestamp,
}

prop_compose! {
    fn cases()(
        shape in shapes(),
        keeps in keeps(),
        start in 0..700_i64,
        length in 1..90_i64,
        luck in prop::collection::vec(0..10_u8, 1..20),
        deeds in prop::collection::vec(deeds(), 1..20),
        on_demand in prop::collection::vec((0..100_i64, 0..100_i64), 0..4),
        age in 0..500_i64,
    ) -> Case {
        let days = |count: i64| SignedDuration::from_hours(24 * count);
        let policy = policy(&shape, keeps);
        // 2011, for Samoa's missing day.
        let from = at("2010-09-01T00:00:00Z").saturating_add(days(start)).unwrap();
        let end = from.saturating_add(days(length)).unwrap();
        let mut turns = luck.iter().cycle();
        let mut points = history(&policy, from, end, |_| turns.next().is_some_and(|luck| *luck < 8));
        for (point, deed) in points.iter_mut().zip(deeds.iter().cycle()) {
            match deed {
                Deed::Nothing => {}
                Deed::Pinned => point.pinned = true,
                Deed::LockedForDays(count) => {
                    point.locked_until = Some(point.taken.saturating_add(days(*count)).unwrap());
                }
                Deed::PurgedAfterDays(count) => {
                    point.purge_at = Some(point.taken.saturating_add(days(*count)).unwrap());
                }
                Deed::LostSnapshot => point.in_snapshot_tier = point.vault != VaultCopy::There,
            }
        }
        for (after, keep) in on_demand {
            let taken = from.saturating_add(days(after)).unwrap();
            let keep_until = taken.saturating_add(days(keep)).unwrap();
            points.push(point(points.len(), taken, Origin::OnDemand { keep_until }));
        }
        Case { shape, keeps, policy, points, now: from.saturating_add(days(age)).unwrap() }
    }
}

fn kept(plan: &Plan) -> BTreeSet<(PointId, Tier)> {
    plan.copies.iter().filter(|copy| copy.is_kept()).map(|copy| (copy.point, copy.tier)).collect()
}

/// What is promised to every point, said without looking at how it is computed.
fn check_promises(case: &Case, plan: &Plan) -> Result<(), TestCaseError> {
    let kept = kept(plan);
    let is_in = |point: &Point, tier| match tier {
        Tier::Snapshot => point.in_snapshot_tier,
        Tier::Vault => point.vault == VaultCopy::There,
    };
    for tier in [Tier::Snapshot, Tier::Vault] {
        for only_scheduled in [false, true] {
            let mut living = case.points.iter().filter(|point| is_in(point, tier) && !point.is_deleted());
            let newest = living.by_ref().filter(|p| !only_scheduled || p.slot().is_some());
            if let Some(newest) = newest.max_by_key(|point| (point.taken, point.id)) {
                prop_assert!(kept.contains(&(newest.id, tier)), "the newest is lost");
            }
        }
    }
    for point in &case.points {
        let vault_kept = kept.contains(&(point.id, Tier::Vault));
        let any_kept = vault_kept || kept.contains(&(point.id, Tier::Snapshot));
        let in_vault = point.vault == VaultCopy::There;
        prop_assert!(any_kept || !point.pinned, "a pinned point is lost");
        prop_assert!(vault_kept || !in_vault || point.locked_until.is_none_or(|end| end <= case.now));
        prop_assert!(any_kept || point.purge_at.is_none_or(|end| end <= case.now), "purged too early");
        let snapshot_kept = kept.contains(&(point.id, Tier::Snapshot));
        prop_assert!(vault_kept || !in_vault || !snapshot_kept, "the snapshot outlives its copy");
        if in_vault && !point.is_deleted() {
            check_classes(case, point, plan)?;
        }
    }
    Ok(())
}

/// A point in the vault is kept as long as each rule that its own day falls under.
fn check_classes(case: &Case, point: &Point, plan: &Plan) -> Result<(), TestCaseError> {
    let Some(slot) = point.slot() else { return Ok(()) };
    let expiry = plan.of(point.id, Tier::Vault).and_then(|copy| copy.expiry()).expect("it has a class");
    let at_least = |days: i64| {
        // An hour for changes of clocks; on Samoa a day, for the one that was left out.
        let slack = if ZONES[case.shape.zone] == "Pacific/Apia" { 25 } else { 1 };
        let end = point.taken.saturating_add(SignedDuration::from_hours(days * 24 - slack)).unwrap();
        expiry >= end
    };
    prop_assert!(at_least(case.keeps.days.into()));
    if !slot.closes_day {
        return Ok(());
    }
    let day = slot.day;
    if let Some(weeks) = case.keeps.weeks.filter(|_| Weekday::of(day) == case.shape.weekday) {
        prop_assert!(at_least(i64::from(weeks) * 7));
    }
    let is_tagged = if case.shape.by_number {
        [1, 15, day.days_in_month()].contains(&day.day())
    } else {
        let nth = (day.day() - 1) / 7;
        let is_last = day.day() + 7 > day.days_in_month();
        let is_week = match case.shape.week {
            WeekOfMonth::First => nth == 0,
            WeekOfMonth::Third => nth == 2,
            _ => is_last,
        };
        Weekday::of(day) == case.shape.weekday && is_week
    };
    if let Some(months) = case.keeps.months.filter(|_| is_tagged) {
        prop_assert!(at_least(i64::from(months) * 28));
    }
    if let Some(years) = case.keeps.years.filter(|_| is_tagged && Month::of(day) == case.shape.month) {
        prop_assert!(at_least(i64::from(years) * 365));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn promises_are_kept(case in cases()) {
        check_promises(&case, &plan(&case.points, &case.policy, case.now))?;
    }

    #[test]
    fn longer_retention_never_loses_more(case in cases(), more in keeps()) {
        let longer = Keeps {
            snapshot: case.keeps.snapshot.max(more.snapshot),
            days: case.keeps.days.max(more.days),
            weeks: case.keeps.weeks.max(more.weeks),
            months: case.keeps.months.max(more.months),
            years: case.keeps.years.max(more.years),
        };
        let longer = policy(&case.shape, longer);
        let difference = difference(&case.points, &case.policy, &longer, case.now);
        prop_assert!(difference.lost.is_empty() && difference.shorter.is_empty(), "{:?}", difference);
    }

    #[test]
    fn the_order_of_points_does_not_matter(case in cases(), seed: u64) {
        let mut shuffled = case.points.clone();
        let mut random = crate::chance::Random::new(seed);
        for at in (1..shuffled.len()).rev() {
            let other = usize::try_from(random.below(at as u64 + 1)).unwrap();
            shuffled.swap(at, other);
        }
        prop_assert_eq!(plan(&case.points, &case.policy, case.now), plan(&shuffled, &case.policy, case.now));
    }

    /// Once what expired is gone, the rest stays as it was: a plan carried out plans nothing more.
    #[test]
    fn what_is_gone_changes_nothing(case in cases()) {
        let first = plan(&case.points, &case.policy, case.now);
        let left = carry_out(&case.points, &first);
        let second = plan(&left, &case.policy, case.now);
        prop_assert_eq!(second.expired().count(), 0);
        let (kept, still): (Vec<_>, Vec<_>) = (
            first.copies.iter().filter(|copy| copy.is_kept()).map(|copy| (copy.point, copy.tier, copy.fate)).collect(),
            second.copies.iter().map(|copy| (copy.point, copy.tier, copy.fate)).collect(),
        );
        prop_assert_eq!(kept, still);
    }

    /// What expired stays so as time goes on.
    #[test]
    fn time_brings_nothing_back(case in cases(), days in 0..400_i64) {
        let later = case.now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap();
        let (now, later) = (plan(&case.points, &case.policy, case.now), plan(&case.points, &case.policy, later));
        prop_assert!(kept(&later).is_subset(&kept(&now)));
    }

    /// However many points somebody makes on demand, whenever they say: no scheduled one goes earlier.
    #[test]
    fn extra_points_displace_nothing(case in cases(), extra in prop::collection::vec(0..500_i64, 1..20)) {
        let mut flooded = case.points.clone();
        for (number, day) in extra.into_iter().enumerate() {
            let taken = at("2010-09-01T00:00:00Z").saturating_add(SignedDuration::from_hours(24 * day)).unwrap();
            flooded.push(point(1000 + number, taken, Origin::OnDemand { keep_until: taken }));
        }
        let scheduled = |plan: &Plan| {
            let is_scheduled = |id: PointId| case.points.iter().any(|p| p.id == id && p.slot().is_some());
            kept(plan).into_iter().filter(|(id, _)| is_scheduled(*id)).collect::<BTreeSet<_>>()
        };
        let before = scheduled(&plan(&case.points, &case.policy, case.now));
        prop_assert_eq!(before, scheduled(&plan(&flooded, &case.policy, case.now)));
    }

    /// In an immutable vault each expiry is written back as a lock. Then it only grows, under any policy.
    #[test]
    fn locked_expiries_only_grow(case in cases(), shape in shapes(), other in keeps(), days in 0..100_i64) {
        let mut points = case.points.clone();
        let before = plan(&points, &case.policy, case.now);
        for point in points.iter_mut().filter(|point| point.vault == VaultCopy::There) {
            point.locked_until = before.of(point.id, Tier::Vault).and_then(|copy| copy.expiry());
        }
        let later = case.now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap();
        let after = plan(&points, &policy(&shape, other), later);
        for copy in before.copies.iter().filter(|copy| copy.tier == Tier::Vault) {
            let after = after.of(copy.point, Tier::Vault).expect("the same copies");
            prop_assert!(after.expiry() >= copy.expiry());
            prop_assert!(after.is_kept() || copy.expiry().is_some_and(|end| end <= later));
        }
    }

    /// The dry run says what the plans say: each copy once, lost or saved exactly if so.
    #[test]
    fn the_difference_is_that_of_the_plans(case in cases(), shape in shapes(), other in keeps()) {
        let new = policy(&shape, other);
        let (old_plan, new_plan) =
            (plan(&case.points, &case.policy, case.now), plan(&case.points, &new, case.now));
        let difference = difference(&case.points, &case.policy, &new, case.now);
        let lost: BTreeSet<_> = difference.lost.iter().map(|change| (change.point, change.tier)).collect();
        prop_assert_eq!(&lost, &kept(&old_plan).difference(&kept(&new_plan)).copied().collect());
        let longer: BTreeSet<_> = difference.longer.iter().map(|change| (change.point, change.tier)).collect();
        let saved = kept(&new_plan).difference(&kept(&old_plan)).copied().collect::<BTreeSet<_>>();
        prop_assert!(saved.is_subset(&longer));
        let listed = difference.lost.len() + difference.shorter.len() + difference.longer.len();
        prop_assert_eq!(listed + difference.same, old_plan.copies.len());
    }

    /// However a year of success and failure went: every day that some rule tagged has a point that stands for it.
    #[test]
    fn every_day_is_stood_for_once(case in cases(), luck in prop::collection::vec(0..10_u8, 1..40)) {
        let from = at("2011-06-01T00:00:00Z");
        let before = at("2012-06-01T00:00:00Z");
        let mut turns = luck.iter().cycle();
        let points = history(&case.policy, from, before, |_| turns.next().is_some_and(|luck| *luck < 3));
        let mut stood_for = points.iter().filter_map(|point| match point.origin {
            Origin::Scheduled { stands_for, .. } => stands_for,
            Origin::OnDemand { .. } => None,
        });
        let Some(first) = stood_for.next() else { return Ok(()) };
        let mut last = first.last;
        for days in stood_for {
            prop_assert_eq!(days.first, last.tomorrow().unwrap());
            last = days.last;
        }
        prop_assert!(first.first >= date(2011, 5, 30));
    }
}
