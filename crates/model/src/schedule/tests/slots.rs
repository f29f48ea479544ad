//! Slots: worked examples where clocks change, and laws in many zones.

use super::{at, daily, hourly};
use crate::policy::{Policy, Schedule, Weekday};
use crate::schedule::Slot;
use jiff::civil::{Date, date};
use jiff::{SignedDuration, ToSpan};
use proptest::prelude::*;

fn instants(policy: &Policy, day: Date) -> Vec<String> {
    policy.slots_of(day).map(|slot| slot.at.to_string()).collect()
}

#[test]
fn times_that_are_left_out_or_come_twice() {
    let table = [
        // Left out: moved forward by as much as was left out.
        ("Europe/Berlin", "02:30", date(2026, 3, 29), "2026-03-29T01:30:00Z"),
        ("America/New_York", "02:30", date(2026, 3, 8), "2026-03-08T07:30:00Z"),
        // Lord Howe Island changes by half an hour: 02:15 is left out, and becomes 02:45.
        ("Australia/Lord_Howe", "02:15", date(2026, 10, 4), "2026-10-03T15:45:00Z"),
        // Egypt changes at midnight: 00:30 becomes 01:30 of the same day.
        ("Africa/Cairo", "00:30", date(2026, 4, 24), "2026-04-23T22:30:00Z"),
        // Twice: the first.
        ("Europe/Berlin", "02:30", date(2026, 10, 25), "2026-10-25T00:30:00Z"),
        ("America/New_York", "01:30", date(2026, 11, 1), "2026-11-01T05:30:00Z"),
        ("Australia/Lord_Howe", "01:45", date(2026, 4, 5), "2026-04-04T14:45:00Z"),
        // The day before and after: as ever.
        ("Europe/Berlin", "02:30", date(2026, 3, 28), "2026-03-28T01:30:00Z"),
        ("Europe/Berlin", "02:30", date(2026, 3, 30), "2026-03-30T00:30:00Z"),
    ];
    for (zone, time, day, expected) in table {
        assert_eq!(instants(&daily(zone, time), day), [expected], "{zone} {day} {time}");
    }
}

#[test]
fn a_day_that_is_left_out_has_no_slot() {
    // Samoa went from 29 to 31 December 2011.
    let policy = daily("Pacific/Apia", "12:00");
    let around: Vec<_> = policy.slots(at("2011-12-29T00:00:00Z"), at("2012-01-01T12:00:00Z")).collect();
    assert_eq!(around.iter().map(|slot| slot.day.day()).collect::<Vec<_>>(), [29, 31, 1]);
    assert_eq!(around[1].at.duration_since(around[0].at), SignedDuration::from_hours(24));

    // A window that started on the 29th has all its points: those after midnight are on the 31st.
    let policy = hourly("Pacific/Apia", 4, "19:30", 24);
    let late = policy.slots_of(date(2011, 12, 29)).last().unwrap();
    assert_eq!(late.at.to_zoned(policy.zone().clone()).datetime(), date(2011, 12, 31).at(15, 30, 0, 0));
    let just_before = late.at.saturating_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(policy.next_slot(just_before), Some(late));
}

#[test]
fn a_weekly_schedule_whose_day_is_left_out_waits_a_week() {
    let mut document = Policy::standard("Pacific/Apia", "12:00");
    let weekdays = vec![Weekday::Friday];
    document.schedule = Schedule::Weekly { weekdays: weekdays.clone(), time: "12:00".to_owned() };
    document.snapshot_days = 5;
    document.vault.daily = None;
    document.vault.weekly = Some(crate::policy::Weekly { weekdays, keep_weeks: 4 });
    let policy = document.check().unwrap();
    // Friday 30 December 2011 was left out.
    assert_eq!(policy.next_slot(at("2011-12-24T00:00:00Z")).unwrap().day, date(2012, 1, 6));
}

#[test]
fn hours_are_those_on_the_wall() {
    let policy = hourly("Europe/Berlin", 4, "00:00", 24);
    let hours = |day| {
        let slots = policy.slots_of(day).map(|slot| slot.at.to_zoned(policy.zone().clone()).hour());
        slots.collect::<Vec<_>>()
    };
    assert_eq!(hours(date(2026, 3, 29)), [0, 4, 8, 12, 16, 20]);
    assert_eq!(hours(date(2026, 10, 25)), [0, 4, 8, 12, 16, 20]);
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_it_started_on() {
    let policy = hourly("Europe/Berlin", 6, "18:00", 18);
    let slots: Vec<Slot> = policy.slots_of(date(2026, 1, 31)).collect();
    assert!(slots.iter().all(|slot| slot.day == date(2026, 1, 31)));
    assert_eq!(
        slots.iter().map(|slot| (slot.number, slot.closes_day)).collect::<Vec<_>>(),
        [(0, false), (1, false), (2, true)]
    );
    assert_eq!(slots[2].at.to_string(), "2026-02-01T05:00:00Z");
    // Found by its instant all the same.
    let found = policy.next_slot(at("2026-02-01T04:59:59Z")).unwrap();
    assert_eq!(found, slots[2]);
}

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "America/Nuuk",
    "Asia/Kathmandu",
    "Antarctica/Troll",
    "Africa/Casablanca",
];

prop_compose! {
    fn policies()(
        zone in 0..ZONES.len(),
        every in prop::option::of(prop::sample::select(vec![4_u8, 6, 8, 12, 24])),
        half_hours in 0..39_i64,
        more_hours in 0..24_u8,
    ) -> Policy {
        let time = format!("{:02}:{:02}", half_hours / 2, half_hours % 2 * 30);
        match every {
            None => daily(ZONES[zone], &time),
            Some(every) => hourly(ZONES[zone], every, &time, (every + more_hours).min(24)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In order, none at the same instant, all of a day's on each day there is.
    #[test]
    fn every_day_has_its_slots(policy in policies(), day in 0..20_000_i64) {
        let first = date(1985, 1, 1).saturating_add(day.days());
        let mut before: Option<Slot> = None;
        let mut per_day = None;
        for day in first.series(1.day()).take(40) {
            let slots: Vec<_> = policy.slots_of(day).collect();
            let exists = day.to_zoned(policy.zone().clone()).unwrap().date() == day;
            prop_assert_eq!(exists, !slots.is_empty());
            if exists {
                prop_assert_eq!(*per_day.get_or_insert(slots.len()), slots.len());
                prop_assert_eq!(slots.iter().filter(|slot| slot.closes_day).count(), 1);
            }
            for slot in slots {
                prop_assert!(before.is_none_or(|before| before.at < slot.at), "{:?} then {:?}", before, slot);
                before = Some(slot);
            }
        }
    }

    /// An interval has the slots of its parts, and the next slot is the first of those that follow.
    #[test]
    fn intervals_add_up(policy in policies(), start in 0..600_000_i64, hours in 0..600_i64, cut in 0..600_i64) {
        let from = at("1985-01-01T00:00:00Z").saturating_add(SignedDuration::from_hours(start)).unwrap();
        let before = from.saturating_add(SignedDuration::from_hours(hours)).unwrap();
        let middle = from.saturating_add(SignedDuration::from_hours(cut.min(hours))).unwrap();
        let whole: Vec<_> = policy.slots(from, before).collect();
        let parts: Vec<_> = policy.slots(from, middle).chain(policy.slots(middle, before)).collect();
        prop_assert_eq!(&whole, &parts);
        let mut stepped = Vec::new();
        let mut last = from.saturating_sub(SignedDuration::from_nanos(1)).unwrap();
        while let Some(slot) = policy.next_slot(last).filter(|slot| slot.at < before) {
            last = slot.at;
            stepped.push(slot);
        }
        prop_assert_eq!(whole, stepped);
    }
}
