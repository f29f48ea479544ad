//! A policy in a few words.

use super::words::{count, word};
use model::policy::{DaysOfMonth, PolicyDocument, Schedule};
use serde::Serialize;

/// When it runs.
pub(super) fn schedule(document: &PolicyDocument) -> String {
    let when = match &document.schedule {
        Schedule::Daily { time } => format!("daily {time}"),
        Schedule::Weekly { weekdays, time } => format!("{} {time}", words(weekdays)),
        Schedule::Hourly { every_hours, window_start, window_hours } => {
            format!("every {every_hours} h from {window_start} for {window_hours} h")
        }
    };
    format!("{when} {}", document.time_zone)
}

/// What stays in the vault.
pub(super) fn retention(document: &PolicyDocument) -> String {
    let vault = &document.vault;
    let daily = vault.daily.as_ref().map(|rule| count(rule.keep_days.into(), "day"));
    let weekly = vault
        .weekly
        .as_ref()
        .map(|rule| format!("{} of {}", count(rule.keep_weeks.into(), "week"), words(&rule.weekdays)));
    let monthly = vault
        .monthly
        .as_ref()
        .map(|rule| format!("{} of {}", count(rule.keep_months.into(), "month"), days(&rule.on)));
    let yearly = vault.yearly.as_ref().map(|rule| {
        let years = count(rule.keep_years.into(), "year");
        format!("{years} of {} of {}", days(&rule.on), words(&rule.months))
    });
    let archive = vault.archive.as_ref();
    let archive =
        archive.map(|rule| format!("in the archive after {}", count(rule.after_months.into(), "month")));
    [daily, weekly, monthly, yearly, archive].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn days(on: &DaysOfMonth) -> String {
    match on {
        DaysOfMonth::Weekly { weekdays, weeks } => format!("{} {}", words(weeks), words(weekdays)),
        DaysOfMonth::Daily { days, last_day } => {
            let days = days.iter().map(|day| format!("day {day}"));
            days.chain(last_day.then(|| "the last day".to_owned())).collect::<Vec<_>>().join(", ")
        }
    }
}

fn words(all: &[impl Serialize]) -> String {
    all.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Policy;

    #[test]
    fn a_policy_in_words() {
        let standard = Policy::standard("UTC", "23:00");
        assert_eq!((schedule(&standard), retention(&standard)), ("daily 23:00 UTC".into(), "30 days".into()));
        let enhanced = Policy::enhanced("Europe/Berlin");
        assert_eq!(schedule(&enhanced), "every 4 h from 08:00 for 24 h Europe/Berlin");
        let keeps =
            "180 days; 12 weeks of sunday; 60 months of first sunday; 10 years of first sunday of january";
        assert_eq!(retention(&enhanced), keeps);
    }
}
