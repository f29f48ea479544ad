//! The laws of archiving, over histories drawn at random, and a year as an example.

use super::*;
use crate::policy::{
    ArchiveAfter, Daily, DaysOfMonth, Month, Monthly, VaultRetention, Weekday, Weekly, Yearly,
};
use crate::retention::{covered, stands_for};
use jiff::SignedDuration;
use proptest::prelude::*;
use uuid::Uuid;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// Days, weeks, months and years that a policy keeps, and the months after which it archives.
type Keeps = (u16, Option<u16>, u16, Option<u16>, Option<u16>);

fn policy((keep_days, weeks, months, years, after): Keeps) -> Policy {
    let mut document = Policy::standard("Europe/Berlin", "02:15");
    document.snapshot_days = 1;
    let on = DaysOfMonth::Daily { days: vec![1, 15], last_day: false };
    document.vault = VaultRetention {
        daily: Some(Daily { keep_days }),
        weekly: weeks.map(|keep_weeks| Weekly { weekdays: vec![Weekday::Sunday], keep_weeks }),
        monthly: Some(Monthly { on: on.clone(), keep_months: months }),
        yearly: years.map(|keep_years| Yearly { months: vec![Month::January], on, keep_years }),
        archive: after.map(|after_months| ArchiveAfter { after_months }),
        ..VaultRetention::default()
    };
    document.check().expect("valid")
}

/// One point a day, of `count` days; what people did to it follows from its number.
fn history(policy: &Policy, count: i64, deeds: &[u8]) -> Vec<Point> {
    let from = at("2025-01-01T00:00:00Z");
    let mut points: Vec<Point> = Vec::new();
    for slot in policy.slots(from, from + days(count)) {
        let number = points.len();
        let stands_for = stands_for(&slot, covered(&points));
        let deed = deeds[number % deeds.len()];
        let since = slot.at + days(1);
        let there = |near| ArchiveCopy::There { since, stored_bytes: 1, near };
        points.push(Point {
            id: PointId(Uuid::from_u64_pair(4, number as u64)),
            taken: slot.at + SignedDuration::from_mins(10),
            origin: match deed {
                1 => Origin::OnDemand { keep_until: slot.at + days(900) },
                _ => Origin::Scheduled { slot, stands_for },
            },
            in_snapshot_tier: deed == 2,
            vault: if deed == 3 { VaultCopy::Never } else { VaultCopy::There },
            pinned: deed == 4,
            locked_until: (deed == 5).then_some(slot.at + days(2000)),
            purge_at: (deed == 6).then_some(slot.at + days(500)),
            archive: match deed {
                7 => ArchiveCopy::Expected,
                8 => there(Near::Held { until: slot.at + days(300) }),
                9 => there(Near::Dropped { purge_at: slot.at + days(300) }),
                10 => there(Near::Gone {}),
                _ => ArchiveCopy::Never,
            },
        });
    }
    points
}

fn gone(points: &[Point], policy: &Policy, now: Timestamp) -> Vec<PointId> {
    let moves = plan(points, policy, now).into_iter();
    moves.filter(|one| matches!(one.fate, Move::Goes { .. })).map(|one| one.point).collect()
}

prop_compose! {
    fn keeps()(
        keep_days in 7..200_u16,
        weeks in prop::option::of(1..40_u16),
        months in 9..40_u16,
        years in prop::option::of(1..4_u16),
        after in 3..20_u16,
    ) -> Keeps {
        // One of the rules must outlast the months, or the policy is refused.
        (keep_days, weeks, months.max(after + MONTHS_LEFT_MIN), years, Some(after))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_moves_may(
        keeps in keeps(),
        count in 1..500_i64,
        age in 0..1200_i64,
        deeds in prop::collection::vec(0..14_u8, 1..30),
    ) {
        let policy = policy(keeps);
        let points = history(&policy, count, &deeds);
        let now = at("2025-01-01T00:00:00Z") + days(age);
        let moved = gone(&points, &policy, now);
        let zone = policy.zone();
        let in_vault = points.iter().filter(|one| one.vault == VaultCopy::There && !one.is_deleted());
        let newest = in_vault.clone().max_by_key(|one| (one.taken, one.id)).map(|one| one.id);
        let scheduled = in_vault.filter(|one| one.slot().is_some()).max_by_key(|one| (one.taken, one.id));
        for point in points.iter().filter(|point| moved.contains(&point.id)) {
            prop_assert!(!point.pinned && !point.is_deleted() && !point.in_snapshot_tier);
            prop_assert!(point.vault == VaultCopy::There && !point.archive.is_there());
            prop_assert!(Some(point.id) != newest && Some(point.id) != scheduled.map(|one| one.id));
            let slot = point.slot().expect("it was scheduled");
            let Origin::Scheduled { stands_for: Some(stood), .. } = point.origin else { panic!("a day's last") };
            // Said without classes: one of the days it stands for is tagged.
            let mut tagged = std::iter::successors(Some(stood.first), |day| day.tomorrow().ok());
            let mut tagged = tagged.by_ref().take_while(|day| *day <= stood.last);
            prop_assert!(tagged.any(|day| [1, 15].contains(&day.day())), "{}", slot.day);
            prop_assert!(Keep::Days(keeps.0).end(point.taken, zone) <= now);
            prop_assert!(Keep::Months(keeps.4.expect("on")).end(point.taken, zone) <= now);
            let longest = [Keep::Months(keeps.2)].into_iter().chain(keeps.3.map(Keep::Years));
            let ends = longest.map(|keep| keep.end(point.taken, zone)).chain(point.locked_until);
            prop_assert!(ends.max().expect("one") >= Keep::Months(MONTHS_LEFT_MIN).end(now, zone));
        }
        // What is left out stays out, and nothing moves twice.
        let mut after: Vec<Point> = points.clone();
        for point in after.iter_mut().filter(|point| moved.contains(&point.id)) {
            point.archive = ArchiveCopy::There { since: now, stored_bytes: 0, near: Near::Held { until: now } };
        }
        prop_assert!(gone(&after, &policy, now).is_empty());
        let over = over(&after, now);
        prop_assert!(moved.iter().all(|point| over.contains(point)), "what was moved is dropped");
        // Archiving keeps and expires nothing.
        prop_assert_eq!(retention_plan(&points, &policy, now), retention_plan(&after, &policy, now));
    }

    #[test]
    fn more_months_never_move_more_and_off_is_off(
        keeps in keeps(),
        more in 1..12_u16,
        age in 0..1200_i64,
        deeds in prop::collection::vec(0..14_u8, 1..30),
    ) {
        let points = history(&policy(keeps), 400, &deeds);
        let now = at("2025-01-01T00:00:00Z") + days(age);
        let sooner = gone(&points, &policy(keeps), now);
        let later = keeps.4.map(|after| (after + more).min(keeps.2 - MONTHS_LEFT_MIN).max(after));
        let later = gone(&points, &policy((keeps.0, keeps.1, keeps.2, keeps.3, later)), now);
        prop_assert!(later.iter().all(|point| sooner.contains(point)));
        prop_assert!(gone(&points, &policy((keeps.0, keeps.1, keeps.2, keeps.3, None)), now).is_empty());
    }

    #[test]
    fn what_leaves_the_vault_tier_is_in_the_archive_whole(
        age in 0..1200_i64,
        deeds in prop::collection::vec(0..14_u8, 1..30),
    ) {
        let points = history(&policy((7, None, 24, None, Some(3))), 400, &deeds);
        let now = at("2025-01-01T00:00:00Z") + days(age);
        for id in over(&points, now) {
            let point = points.iter().find(|point| point.id == id).expect("one of these");
            prop_assert!(point.archive.is_there() && !point.is_deleted() && !point.is_near(now));
        }
    }
}

#[test]
fn a_year_of_points_moves_month_after_month() {
    let policy = policy((30, Some(8), 24, None, Some(3)));
    let points = history(&policy, 200, &[0]);
    let now = at("2025-06-10T00:00:00Z");
    let day = |id: PointId| {
        let point = points.iter().find(|point| point.id == id).expect("one of these");
        point.slot().expect("scheduled").day.to_string()
    };
    let moved: Vec<_> = gone(&points, &policy, now).into_iter().map(day).collect();
    // June's first week is not three months behind March's tenth; the first of each month and its middle are tagged.
    assert_eq!(moved, ["2025-01-01", "2025-01-15", "2025-02-01", "2025-02-15", "2025-03-01"]);
    let why = |at: usize| match plan(&points, &policy, now)[at].fate {
        Move::Stays(why) => why.to_string(),
        Move::Goes { expires } => format!("goes, expires {expires}"),
    };
    assert_eq!(why(1), "no monthly or yearly rule keeps it");
    assert_eq!(why(73), "it is old enough on 2025-06-15T00:25:00Z");
    assert!(
        why(134).starts_with("the daily rule keeps it until") || why(134).contains("no monthly"),
        "{}",
        why(134)
    );
    assert_eq!(why(199), "it is the newest point");
    assert_eq!(why(0), "goes, expires 2027-01-01T01:25:00Z");
}

#[test]
fn a_point_is_where_people_are_told() {
    let now = at("2026-01-01T00:00:00Z");
    let mut point = history(&policy((7, None, 24, None, None)), 1, &[0]).remove(0);
    assert_eq!(point.tiers(now), "Vault");
    let held = Near::Held { until: now + days(1) };
    point.archive = ArchiveCopy::There { since: now, stored_bytes: 0, near: held };
    assert_eq!((point.tiers(now), point.is_near(now)), ("Archive and vault", true));
    assert_eq!((point.tiers(now + days(1)), point.is_near(now + days(1))), ("Archive", false));
    point.archive = point.archive.with_near(Near::Gone {});
    assert_eq!(point.tiers(now), "Archive");
}
