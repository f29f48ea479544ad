//! A policy as people write it: the one JSON shape, before anything was checked.

use super::{DaysOfMonth, DiskSelection, Drills, Month, Weekday};
use serde::{Deserialize, Serialize};

/// A policy as it is written, stored and shown. [`check`](Self::check) makes a [`Policy`](super::Policy) of it.
///
/// ```json
/// {
///   "type": "enhanced",
///   "time_zone": "Europe/Berlin",
///   "schedule": { "frequency": "hourly", "every_hours": 4, "window_start": "08:00", "window_hours": 12 },
///   "snapshot_days": 7,
///   "vault": {
///     "transfer": "last_of_day",
///     "daily": { "keep_days": 180 },
///     "weekly": { "weekdays": ["sunday"], "keep_weeks": 12 },
///     "monthly": {
///       "on": { "format": "weekly", "weekdays": ["sunday"], "weeks": ["first"] },
///       "keep_months": 60
///     },
///     "yearly": {
///       "months": ["january"],
///       "on": { "format": "daily", "days": [1], "last_day": false },
///       "keep_years": 10
///     },
///     "archive": { "after_months": 6 }
///   },
///   "consistency": "application",
///   "disks": { "select": "exclude", "disks": ["scratch"] }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyDocument {
    /// What the policy may ask for.
    #[serde(rename = "type")]
    pub kind: PolicyKind,
    /// The IANA name of the time zone that all its days and times are in.
    pub time_zone: String,
    /// When a point is made.
    pub schedule: Schedule,
    /// How many days a point stays in the snapshot tier.
    pub snapshot_days: u16,
    /// What stays in the vault, and for how long.
    pub vault: VaultRetention,
    /// What to ask of the guest.
    #[serde(default)]
    pub consistency: ConsistencyWish,
    /// Which disks.
    #[serde(default)]
    pub disks: DiskSelection,
    /// Whether points are tried out; only when somebody asks if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drills: Option<Drills>,
}

/// The two types of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PolicyKind {
    /// One point a day, or on some days of the week; up to 5 days in the snapshot tier.
    Standard,
    /// Several points a day as well; up to 30 days in the snapshot tier.
    Enhanced,
}

/// When a point is made. Times are `HH:MM` in the policy's zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frequency", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Schedule {
    /// Once a day.
    Daily {
        /// When.
        time: String,
    },
    /// Once on some days of the week.
    Weekly {
        /// On which.
        weekdays: Vec<Weekday>,
        /// When.
        time: String,
    },
    /// At the start of a window and every so many hours until, and not at, its end. A window that runs past
    /// midnight belongs to the day it started on, with all its points.
    Hourly {
        /// 4, 6, 8, 12 or 24.
        every_hours: u8,
        /// 00:00 to 19:30.
        window_start: String,
        /// 4 to 24.
        window_hours: u8,
    },
}

/// What stays in the vault, and for how long. Each point belongs to every class whose days hold the day of its
/// slot, and stays as long as the longest of them says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VaultRetention {
    /// Which of a day's points get there.
    #[serde(default)]
    pub transfer: Transfer,
    /// Every day's. Needed unless the schedule is weekly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<Daily>,
    /// Those of some weekdays. Needed if the schedule is weekly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Weekly>,
    /// Those of some days of every month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<Monthly>,
    /// Those of some days of some months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<Yearly>,
    /// When points that months or years keep move to the vault's archive store; never if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveAfter>,
}

/// When points move to the archive: those that a monthly or yearly rule keeps for half a year yet, once no daily or
/// weekly rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ArchiveAfter {
    /// How old they are to be: 3 to 1188 months.
    pub after_months: u16,
}

/// Which of a day's points are copied into the vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Transfer {
    /// The day's last; if that fails, the next one that succeeds.
    #[default]
    LastOfDay,
    /// All. The day's last still is the one that weekly, monthly and yearly rules keep.
    All,
}

/// How long every day's points stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Daily {
    /// 7 to 9999.
    pub keep_days: u16,
}

/// How long points of some weekdays stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Weekly {
    /// Which weekdays.
    pub weekdays: Vec<Weekday>,
    /// 1 to 5163.
    pub keep_weeks: u16,
}

/// How long points of some days of every month stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Monthly {
    /// Which days.
    pub on: DaysOfMonth,
    /// 1 to 1188.
    pub keep_months: u16,
}

/// How long points of some days of some months stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Yearly {
    /// In which months.
    pub months: Vec<Month>,
    /// On which of their days.
    pub on: DaysOfMonth,
    /// 1 to 99.
    pub keep_years: u16,
}

/// What to ask of the guest. What was reached stands with each point: a guest that cannot do better gives less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ConsistencyWish {
    /// Applications at rest; else file systems; else as after a power cut.
    #[default]
    Application,
    /// File systems at rest; else as after a power cut.
    FileSystem,
    /// As after a power cut: the guest is not asked for anything.
    Crash,
}
