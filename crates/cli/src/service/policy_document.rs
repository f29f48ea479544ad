//! What a policy says: read from a file, or made of a few words of the command line.

use crate::failure::Told;
use anyhow::{Context as _, Result};
use clap::{ArgGroup, Args as ClapArgs, ValueEnum};
use jiff::tz::TimeZone;
use model::Policy;
use model::policy::{
    ArchiveAfter, ConsistencyWish, Daily, DaysOfMonth, Month, Monthly, PolicyDocument, PolicyKind, Schedule,
    Transfer, VaultRetention, WeekOfMonth, Weekday, Weekly, Yearly,
};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A policy is a page of text; a longer file is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Where words say no number: a month of days, and a quarter of weeks where there are no days.
const KEEP_DAYS: u16 = 30;
const KEEP_WEEKS: u16 = 12;
/// A standard policy that runs weekly has this and no other.
const WEEKLY_SNAPSHOT_DAYS: u16 = 5;

#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("schedule").required(true).args(["file", "daily", "weekly", "hourly"])))]
pub(crate) struct DocumentArgs {
    /// A JSON or YAML file that says it all; `-` for standard input. docs/policy.md tells what it holds.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["zone", "keep_days", "keep_weeks", "keep_months",
          "keep_years", "archive_after", "snapshot_days", "window_start", "window_hours", "consistency", "transfer_all"])]
    file: Option<PathBuf>,
    /// Every day at this time.
    #[arg(long, value_name = "HH:MM")]
    daily: Option<String>,
    /// On some days of the week at a time, as sunday@23:00 or saturday,sunday@23:00.
    #[arg(long, value_name = "DAYS@HH:MM")]
    weekly: Option<String>,
    /// Every so many hours of a window: 4, 6, 8, 12 or 24.
    #[arg(long, value_name = "HOURS")]
    hourly: Option<u8>,
    /// When the window starts.
    #[arg(long, value_name = "HH:MM", conflicts_with_all = ["daily", "weekly"], default_value = "08:00")]
    window_start: String,
    /// How long the window is.
    #[arg(long, value_name = "HOURS", conflicts_with_all = ["daily", "weekly"], default_value_t = 24)]
    window_hours: u8,
    /// The time zone of all days and times, as Europe/Berlin [default: this host's].
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// How many days a point stays in the snapshot tier.
    #[arg(long, value_name = "DAYS")]
    snapshot_days: Option<u16>,
    /// Keep every day's point for so many days [default: 30].
    #[arg(long, value_name = "DAYS", conflicts_with = "weekly")]
    keep_days: Option<u16>,
    /// Keep Sundays' points (with --weekly: those of its days) for so many weeks [default with --weekly: 12].
    #[arg(long, value_name = "WEEKS")]
    keep_weeks: Option<u16>,
    /// Keep points of a month's first Sunday (with --weekly: of its first such days) for so many months.
    #[arg(long, value_name = "MONTHS")]
    keep_months: Option<u16>,
    /// Keep those of January for so many years.
    #[arg(long, value_name = "YEARS")]
    keep_years: Option<u16>,
    /// Move those of months and years to the vault's archive store when they are so many months old, 3 or more.
    #[arg(long, value_name = "MONTHS")]
    archive_after: Option<u16>,
    /// Copy all of a day's points into the vault, not only the last.
    #[arg(long, conflicts_with_all = ["daily", "weekly"])]
    transfer_all: bool,
    /// What to ask of the guest.
    #[arg(long, value_enum, default_value_t = Wish::Application)]
    consistency: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wish {
    /// Applications at rest; else file systems; else as after a power cut.
    Application,
    /// File systems at rest; else as after a power cut.
    FileSystem,
    /// As after a power cut.
    Crash,
}

impl DocumentArgs {
    /// The document. Whether it makes sense is for the server to say.
    pub(super) fn document(&self) -> Result<PolicyDocument> {
        match &self.file {
            Some(path) => read(path),
            None => self.of_words(),
        }
    }

    fn of_words(&self) -> Result<PolicyDocument> {
        let zone = self.zone.clone().unwrap_or_else(this_zone);
        let mut document = Policy::standard(&zone, self.daily.as_deref().unwrap_or_default());
        document.consistency = match self.consistency {
            Wish::Application => ConsistencyWish::Application,
            Wish::FileSystem => ConsistencyWish::FileSystem,
            Wish::Crash => ConsistencyWish::Crash,
        };
        let mut weekdays = vec![Weekday::Sunday];
        if let Some(weekly) = &self.weekly {
            let (days, time) = read_weekly(weekly)?;
            weekdays = days;
            document.schedule = Schedule::Weekly { weekdays: weekdays.clone(), time };
            document.snapshot_days = WEEKLY_SNAPSHOT_DAYS;
        }
        if let Some(every_hours) = self.hourly {
            let (window_start, window_hours) = (self.window_start.clone(), self.window_hours);
            document.schedule = Schedule::Hourly { every_hours, window_start, window_hours };
            document.kind = PolicyKind::Enhanced;
        }
        document.snapshot_days = self.snapshot_days.unwrap_or(document.snapshot_days);
        document.vault = self.retention(weekdays);
        Ok(document)
    }

    fn retention(&self, weekdays: Vec<Weekday>) -> VaultRetention {
        let is_weekly = self.weekly.is_some();
        let keep_weeks = self.keep_weeks.or(is_weekly.then_some(KEEP_WEEKS));
        let weeks = vec![WeekOfMonth::First];
        let on = DaysOfMonth::Weekly { weekdays: weekdays.clone(), weeks };
        VaultRetention {
            transfer: if self.transfer_all { Transfer::All } else { Transfer::LastOfDay },
            daily: (!is_weekly).then_some(Daily { keep_days: self.keep_days.unwrap_or(KEEP_DAYS) }),
            weekly: keep_weeks.map(|keep_weeks| Weekly { weekdays, keep_weeks }),
            monthly: self.keep_months.map(|keep_months| Monthly { on: on.clone(), keep_months }),
            yearly: self.keep_years.map(|keep_years| Yearly { months: vec![Month::January], on, keep_years }),
            archive: self.archive_after.map(|after_months| ArchiveAfter { after_months }),
        }
    }
}

/// `saturday,sunday@23:00`.
fn read_weekly(text: &str) -> Result<(Vec<Weekday>, String)> {
    let wrong =
        || Told::usage(format!("'{text}' names no days and time"), "write it as saturday,sunday@23:00");
    let (days, time) = text.split_once('@').ok_or_else(wrong)?;
    let day = |day: &str| serde_json::from_value(day.trim().to_lowercase().into()).map_err(|_| wrong());
    Ok((days.split(',').map(day).collect::<Result<_>>()?, time.to_owned()))
}

fn this_zone() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

fn read(path: &Path) -> Result<PolicyDocument> {
    let doing = || format!("read the policy {}", path.display());
    let file: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).with_context(doing)?),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(doing)?;
    parse(&text).map_err(|error| {
        Told::usage(format!("{}: {error}", doing()), "docs/policy.md tells what a policy says")
    })
}

/// JSON, or YAML.
fn parse(text: &str) -> std::result::Result<PolicyDocument, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    // By way of JSON's values, so that both mean the same.
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        document: DocumentArgs,
    }

    fn of(line: &str) -> PolicyDocument {
        let line =
            Line::try_parse_from(format!("x {line}").split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        line.document.document().expect("a document")
    }

    #[test]
    fn words_make_policies_that_make_sense() {
        for line in [
            "--daily 23:00",
            "--daily 23:00 --keep-days 180 --keep-weeks 12 --keep-months 60 --keep-years 10 --zone Europe/Berlin",
            "--weekly sunday@03:30",
            "--weekly monday,thursday@03:30 --keep-weeks 52 --keep-months 12",
            "--hourly 4",
            "--hourly 6 --window-start 06:00 --window-hours 12 --snapshot-days 3 --transfer-all",
        ] {
            let checked = of(&format!("{line} --consistency crash")).check();
            assert!(checked.is_ok(), "{line}: {checked:?}");
        }
        assert_eq!(of("--daily 23:00 --zone Europe/Berlin"), Policy::standard("Europe/Berlin", "23:00"));
    }

    #[test]
    fn lines_that_say_nothing_or_two_things_are_refused() {
        for line in ["", "--daily 23:00 --hourly 4", "--file x --zone UTC", "--daily 1:00 --window-hours 4"] {
            assert!(Line::try_parse_from(format!("x {line}").split_whitespace()).is_err(), "{line}");
        }
        for wrong in ["sunday", "someday@23:00", "@23:00"] {
            assert!(read_weekly(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_says_the_same_in_json_and_in_yaml() {
        let document = Policy::enhanced("Europe/Berlin");
        let json = serde_json::to_string_pretty(&document).expect("plain data");
        let yaml = serde_saphyr::to_string(&document).expect("plain data");
        assert_eq!((parse(&json), parse(&yaml)), (Ok(document.clone()), Ok(document)));
        let by_hand = "type: standard\ntime_zone: UTC\nschedule:\n  frequency: daily\n  time: 23:00\n\
                       snapshot_days: 2\nvault:\n  daily:\n    keep_days: 30\n";
        assert_eq!(parse(by_hand), Ok(Policy::standard("UTC", "23:00")));
        assert!(parse("type: standard\nnonsense: 1\n").expect_err("a field too many").contains("nonsense"));
        assert!(parse("a letter").is_err() && parse("").is_err() && parse("{").is_err());
    }
}
