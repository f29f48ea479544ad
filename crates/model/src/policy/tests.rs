//! The JSON shape, and every rule of a policy: broken alone it is found alone, at its place.

use super::*;
use serde_json::{Value, json};

fn document(json: Value) -> PolicyDocument {
    serde_json::from_value(json).expect("the shape is right")
}

fn hourly() -> Value {
    serde_json::to_value(Policy::enhanced("Europe/Berlin")).unwrap()
}

fn daily() -> Value {
    serde_json::to_value(Policy::standard("Europe/Berlin", "22:00")).unwrap()
}

/// Azure's worked example: Monday, Wednesday and Thursday at 10:00 Pacific time.
fn weekly() -> Value {
    json!({
        "type": "standard",
        "time_zone": "America/Los_Angeles",
        "schedule": { "frequency": "weekly", "weekdays": ["monday", "wednesday", "thursday"], "time": "10:00" },
        "snapshot_days": 5,
        "vault": {
            "weekly": { "weekdays": ["monday", "wednesday", "thursday"], "keep_weeks": 1 },
            "monthly": {
                "on": { "format": "weekly", "weekdays": ["wednesday", "thursday"], "weeks": ["first", "third"] },
                "keep_months": 2
            },
            "yearly": {
                "months": ["february", "november"],
                "on": { "format": "weekly", "weekdays": ["monday", "thursday"], "weeks": ["fourth"] },
                "keep_years": 4
            }
        }
    })
}

/// The places of all faults after some places were given other values.
fn faults(mut json: Value, changes: &[(&str, Value)]) -> Vec<String> {
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = json.pointer_mut(parent).expect("the parent is there");
        match parent {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[key] = value.clone(),
        }
    }
    let Err(Violations(faults)) = document(json).check() else { return Vec::new() };
    faults.into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn the_documented_shape_is_the_shape() {
    let source = include_str!("document.rs");
    let lines = source.lines().skip_while(|line| !line.ends_with("```json")).skip(1);
    let json: String =
        lines.take_while(|line| !line.ends_with("```")).map(|line| line.trim_start_matches("///")).collect();
    let written: Value = serde_json::from_str(&json).unwrap();
    let document: PolicyDocument = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), written, "nothing is left out, nothing is added");
    document.check().unwrap();
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for pointer in ["", "/schedule", "/vault", "/vault/daily", "/vault/monthly/on", "/disks"] {
        let mut json = hourly();
        json.pointer_mut(pointer).unwrap()["kepp_days"] = json!(1);
        let error = serde_json::from_value::<PolicyDocument>(json).unwrap_err().to_string();
        assert!(error.contains("kepp_days"), "{pointer}: {error}");
    }
}

#[test]
fn the_defaults_and_the_example_are_valid() {
    for json in [hourly(), daily(), weekly()] {
        assert_eq!(faults(json, &[]), [""; 0]);
    }
}

#[test]
fn each_rule_is_found_at_its_place() {
    let days = |days: Value| json!({ "format": "daily", "days": days });
    let table = [
        (daily(), "/time_zone", json!("Europe/Nowhere"), "/time_zone"),
        (daily(), "/schedule/time", json!("24:00"), "/schedule/time"),
        (daily(), "/schedule/time", json!("7:30"), "/schedule/time"),
        (daily(), "/schedule/time", json!("+1:30"), "/schedule/time"),
        (daily(), "/snapshot_days", json!(6), "/snapshot_days"),
        (daily(), "/snapshot_days", json!(0), "/snapshot_days"),
        (daily(), "/vault/daily", Value::Null, "/vault/daily"),
        (daily(), "/vault/daily/keep_days", json!(6), "/vault/daily/keep_days"),
        (daily(), "/vault/daily/keep_days", json!(10_000), "/vault/daily/keep_days"),
        (daily(), "/vault/transfer", json!("all"), "/vault/transfer"),
        (daily(), "/disks", json!({ "select": "include", "disks": ["vdb", "vdb"] }), "/disks/disks/1"),
        (daily(), "/disks", json!({ "select": "exclude", "disks": [" "] }), "/disks/disks/0"),
        (daily(), "/disks", json!({ "select": "exclude", "disks": ["a\nb"] }), "/disks/disks/0"),
        (hourly(), "/schedule/every_hours", json!(5), "/schedule/every_hours"),
        (hourly(), "/schedule/window_start", json!("20:00"), "/schedule/window_start"),
        (hourly(), "/schedule/window_hours", json!(25), "/schedule/window_hours"),
        (hourly(), "/snapshot_days", json!(18), "/snapshot_days"),
        (hourly(), "/vault/daily/keep_days", json!(7), ""),
        (hourly(), "/vault/weekly/weekdays", json!([]), "/vault/weekly/weekdays"),
        (hourly(), "/vault/weekly/keep_weeks", json!(5164), "/vault/weekly/keep_weeks"),
        (hourly(), "/vault/monthly/keep_months", json!(0), "/vault/monthly/keep_months"),
        (hourly(), "/vault/monthly/on", days(json!([])), "/vault/monthly/on/days"),
        (hourly(), "/vault/monthly/on", days(json!([1, 29])), "/vault/monthly/on/days/1"),
        (hourly(), "/vault/monthly/on/weeks", json!(["first", "first"]), "/vault/monthly/on/weeks/1"),
        (hourly(), "/vault/yearly/months", json!([]), "/vault/yearly/months"),
        (hourly(), "/vault/yearly/keep_years", json!(100), "/vault/yearly/keep_years"),
        (hourly(), "/vault/archive", json!({ "after_months": 3 }), ""),
        (hourly(), "/vault/archive", json!({ "after_months": 2 }), "/vault/archive/after_months"),
        (hourly(), "/vault/archive", json!({ "after_months": 115 }), "/vault/archive/after_months"),
        (daily(), "/vault/archive", json!({ "after_months": 3 }), "/vault/archive"),
        (weekly(), "/snapshot_days", json!(4), "/snapshot_days"),
        (weekly(), "/vault/daily", json!({ "keep_days": 7 }), "/vault/daily"),
        (weekly(), "/vault/weekly", Value::Null, "/vault/weekly"),
        (weekly(), "/vault/weekly/weekdays", json!(["monday", "thursday"]), "/vault/weekly/weekdays"),
        (weekly(), "/vault/monthly/on/weekdays/0", json!("sunday"), "/vault/monthly/on/weekdays/0"),
        (weekly(), "/vault/monthly/on", days(json!([1])), "/vault/monthly/on/format"),
    ];
    for (json, pointer, value, place) in table {
        let expected: &[&str] = if place.is_empty() { &[] } else { &[place] };
        assert_eq!(faults(json, &[(pointer, value.clone())]), expected, "{pointer} = {value}");
    }
}

#[test]
fn retention_below_the_snapshot_tier_is_refused() {
    let short = [("/snapshot_days", json!(10)), ("/vault/daily/keep_days", json!(9))];
    assert_eq!(faults(hourly(), &short), ["/vault/daily/keep_days"]);
}

#[test]
fn several_points_a_day_need_the_enhanced_type() {
    let standard = [("/type", json!("standard")), ("/snapshot_days", json!(5))];
    assert_eq!(faults(hourly(), &standard), ["/schedule/frequency"]);
}

#[test]
fn an_interval_that_the_window_cuts_off_is_refused() {
    let short = [("/schedule/every_hours", json!(8)), ("/schedule/window_hours", json!(6))];
    assert_eq!(faults(hourly(), &short), ["/schedule/window_hours"]);
}

#[test]
fn more_points_than_can_be_carried_are_refused() {
    let all = ("/vault/transfer", json!("all"));
    // 6 a day for 1600 days are 9,600, and some months and years beyond; for 1700 days they are 10,200.
    let keep = |days: u16| ("/vault/daily/keep_days", json!(days));
    assert_eq!(faults(hourly(), &[all.clone(), keep(1600)]), [""; 0]);
    assert_eq!(faults(hourly(), &[all, keep(1700)]), ["/vault"]);
}

#[test]
fn all_faults_are_found_at_once_and_said_in_words() {
    let broken = document(json!({
        "type": "standard",
        "time_zone": "CET-ish",
        "schedule": { "frequency": "weekly", "weekdays": ["monday", "monday"], "time": "25:61" },
        "snapshot_days": 9,
        "vault": { "daily": { "keep_days": 3 }, "monthly": { "on": { "format": "daily", "days": [31] }, "keep_months": 0 } },
        "disks": { "select": "include", "disks": [""] }
    }));
    let expected = "\
/time_zone: must be the IANA name of a time zone, such as Europe/Berlin; 'CET-ish' is none
/schedule/weekdays/1: monday is named twice
/schedule/time: must be a time of day from 00:00 to 23:59; '25:61' is none
/snapshot_days: must be 5 in a standard policy that runs weekly, is 9
/vault/daily/keep_days: a point must stay in the vault at least as long as in the snapshot tier: 3 days are fewer than snapshot_days, 9
/vault/daily: has no meaning in a weekly schedule; use weekly
/vault/weekly: is needed: without it most points would be kept by no rule
/vault/monthly/on/format: must be weekly in a weekly schedule: a day of the month is seldom one of its weekdays
/vault/daily/keep_days: must be 7 to 9999, is 3
/vault/monthly/on/days/0: must be 1 to 28, which every month has, is 31; or use last_day
/vault/monthly/keep_months: must be 1 to 1188, is 0
/disks/disks/0: must be a disk's name, in printable letters; is \"\"";
    assert_eq!(broken.check().unwrap_err().to_string(), expected);
}
