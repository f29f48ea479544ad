//! The simulation accounts for every slot, keeps the limits, and is a function of its seed.

use super::*;

fn small(seed: u64) -> Scenario {
    Scenario {
        machines: 500,
        machines_per_host: 20,
        days: 9,
        limits: Limits { per_host: 2, per_store: 20, overall: 30 },
        ..Scenario::standard(seed)
    }
}

#[test]
fn every_slot_is_accounted_for() {
    let report = simulate(&small(1));
    assert_eq!(report.slots, report.runs + report.still_running + report.missed);
    // 9 days of 80 % once and 15 % six times a day, and a weekly one: about 1.75 slots a machine and day.
    assert!((7_000..9_000).contains(&report.slots), "{report}");
    assert!(report.caught_up > 0 && report.missed > 0, "{report}");
    assert!(report.peak <= 30, "{report}");
    assert!(report.lateness.p50 <= report.lateness.p99 && report.lateness.p99 <= report.lateness.max);
    assert!((0.0..=1.0).contains(&report.fairness), "{report}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    assert_eq!(simulate(&small(1)), simulate(&small(1)));
    assert_ne!(simulate(&small(1)), simulate(&small(2)));
}

#[test]
fn with_room_for_all_nothing_waits() {
    let roomy = Limits { per_host: 500, per_store: 500, overall: 500 };
    let report = simulate(&Scenario { limits: roomy, outage_hours: 0, ..small(1) });
    assert_eq!((report.lateness.max, report.missed, report.caught_up), (0, 0, 0), "{report}");
    assert_eq!(report.fairness, 1.0);
}
