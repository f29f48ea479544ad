//! Starts after slots, and what is due.

use super::{at, daily, hourly, machine};
use crate::schedule::{Skip, Slot, expected_duration};
use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};

#[test]
fn starts_are_spread_evenly_and_stay() {
    let policy = daily("Europe/Berlin", "02:00");
    let slot = policy.slots_of(date(2026, 1, 15)).next().unwrap();
    let mut per_five_minutes = [0_u32; 24];
    for number in 0..12_000 {
        let delay = policy.start_of(&slot, machine(number)).duration_since(slot.at);
        per_five_minutes[usize::try_from(delay.as_secs() / 300).unwrap()] += 1;
    }
    // 500 are expected; chance alone stays within 5 standard deviations.
    assert!(per_five_minutes.iter().all(|count| (390..610).contains(count)), "{per_five_minutes:?}");
    // The same for ever: a changed hash would move every machine's start.
    assert_eq!(policy.start_of(&slot, machine(1)).to_string(), STARTS_FOR_EVER);
}

/// Of machine 1 for the slot of 15 January 2026.
const STARTS_FOR_EVER: &str = "2026-01-15T02:50:36Z";

#[test]
fn frequent_points_stay_apart() {
    let policy = hourly("UTC", 4, "00:00", 24);
    assert_eq!(policy.start_window(), SignedDuration::from_hours(1));
    let slots: Vec<Slot> = policy.slots_of(date(2026, 1, 15)).collect();
    for number in 0..100 {
        let starts: Vec<_> = slots.iter().map(|slot| policy.start_of(slot, machine(number))).collect();
        let gaps = starts.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        assert!(gaps.min().unwrap() >= SignedDuration::from_hours(3));
    }
}

/// Slots of a policy, from its first until a time, of which machine 7 has had `settled`.
fn due_at(now: &str, is_running: bool) -> (Option<Slot>, Vec<(String, Skip)>) {
    let policy = daily("UTC", "02:00");
    let due = policy.due(machine(7), at("2026-01-10T02:00:00Z"), at(now), is_running);
    (due.run, due.skipped.iter().map(|one| (one.slot.day.to_string(), one.why)).collect())
}

#[test]
fn missed_slots_are_caught_up_once() {
    assert_eq!(due_at("2026-01-11T01:59:59Z", false), (None, vec![]));
    let (run, skipped) = due_at("2026-01-13T12:00:00Z", false);
    assert_eq!(run.unwrap().day, date(2026, 1, 13));
    let missed = |day: &str| (day.to_owned(), Skip::Missed);
    assert_eq!(skipped, [missed("2026-01-11"), missed("2026-01-12")]);
}

#[test]
fn a_run_that_still_goes_on_has_the_next_one_skipped() {
    let (run, skipped) = due_at("2026-01-11T12:00:00Z", true);
    assert_eq!(run, None);
    assert_eq!(skipped, [("2026-01-11".to_owned(), Skip::StillRunning)]);
}

#[test]
fn nothing_starts_before_its_moment() {
    let policy = daily("UTC", "02:00");
    let slot = policy.slots_of(date(2026, 1, 11)).next().unwrap();
    let start = policy.start_of(&slot, machine(7));
    let just_before = start.saturating_sub(SignedDuration::from_secs(1)).unwrap();
    let due = |now: Timestamp| policy.due(machine(7), at("2026-01-10T02:00:00Z"), now, false);
    assert_eq!(due(just_before).run, None);
    assert_eq!(due(start).run, Some(slot));
}

#[test]
fn durations_are_expected_from_the_last_week() {
    let hours = |hours: &[i64]| hours.iter().map(|h| SignedDuration::from_hours(*h)).collect::<Vec<_>>();
    assert_eq!(expected_duration(&[]), None);
    assert_eq!(
        expected_duration(&hours(&[90, 90, 90, 1, 2, 9, 2, 1, 1, 2])),
        Some(SignedDuration::from_hours(2))
    );
}

#[test]
fn each_slot_starts_in_one_interval() {
    let policy = hourly("Europe/Berlin", 4, "08:00", 12);
    let hour =
        |count: i64| at("2026-03-28T00:00:00Z").saturating_add(SignedDuration::from_hours(count)).unwrap();
    let whole: Vec<_> = policy.starts(machine(3), hour(0), hour(72)).collect();
    let hours = (0..72).flat_map(|count| policy.starts(machine(3), hour(count), hour(count + 1)));
    assert_eq!(hours.collect::<Vec<_>>(), whole);
    assert_eq!(whole.len(), 9);
}
