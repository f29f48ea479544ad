//! Whether, when and how points of a policy's machines are tried out.

use super::Weekday;
use super::check::{Faults, parse_time};
use crate::drill::Check;
use jiff::civil::Time;
use serde::{Deserialize, Serialize};

/// A window is a part of a day, or all of it.
const WINDOW_HOURS: (u16, u16) = (1, 24);
/// A year of a point a day.
const POINTS: (u16, u16) = (1, 366);
/// A proof is asked for once a year at the least.
const PROOF_DAYS: (u16, u16) = (1, 366);
/// Each is a start of a program in the guest; who has more to ask writes a script.
const CHECKS_MAX: usize = 16;
/// Characters of a check's name, and of a command or pattern.
const NAME_MAX: usize = 64;
const TEXT_MAX: usize = 4000;
/// Seconds that a guest may take to come up, and a check: a day.
const LIMIT_S: (u32, u32) = (1, 86_400);
/// More than any machine that QEMU runs has.
const CPUS_MAX: u32 = 4096;
/// A PiB: more than any host has.
const MEMORY_MIB_MAX: u64 = 1 << 30;

/// What a policy says of drills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Drills {
    /// How often.
    pub every: DrillRhythm,
    /// Drills begin from then on, in the policy's zone.
    #[serde(default = "Drills::window_start")]
    pub window_start: String,
    /// And for so many hours, 1 to 24. One that could not begin by then is left out.
    #[serde(default = "Drills::window_hours")]
    pub window_hours: u8,
    /// A machine whose last proved point is older than so many days stands in the report: 1 to 366.
    #[serde(default = "Drills::proof_days")]
    pub proof_days: u16,
    /// What is done in one.
    #[serde(default)]
    pub options: DrillOptions,
}

/// How often a machine's newest point is tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rhythm", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DrillRhythm {
    /// Only when somebody asks.
    Never {},
    /// Once a week.
    Weekly {
        /// In the window that starts on this day.
        weekday: Weekday,
    },
    /// When there are so many points since the last one that was tried.
    Points {
        /// 1 to 366.
        count: u16,
    },
}

/// What is done in a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrillOptions {
    /// Commands that are run in the guest.
    pub checks: Vec<Check>,
    /// A regular expression that its console must show, for guests without an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
    /// Seconds that it may take to come up.
    pub boot_limit_s: u32,
    /// Virtual processors; as many as the machine had if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory in MiB; as much as the machine had if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}

impl Default for DrillOptions {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            console: None,
            boot_limit_s: Self::BOOT_LIMIT_S,
            cpus: None,
            memory_mib: None,
        }
    }
}

impl Drills {
    /// A machine whose last proved point is older stands in the report, unless its policy says otherwise.
    pub const PROOF_DAYS: u16 = 30;

    fn window_start() -> String {
        "10:00".to_owned()
    }

    fn window_hours() -> u8 {
        8
    }

    fn proof_days() -> u16 {
        Self::PROOF_DAYS
    }

    /// When the window starts on the clock on the wall.
    pub(crate) fn start(&self) -> Option<Time> {
        parse_time(&self.window_start)
    }
}

impl DrillOptions {
    /// The usual time to come up: a server with services that wait for a network which is not there.
    pub const BOOT_LIMIT_S: u32 = 300;

    /// Everything that is wrong with them, each with its place below and its rule.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        faults.drill_options("", self);
        faults.0.into_iter().map(|one| (one.pointer, one.rule)).collect()
    }
}

impl Faults {
    pub(super) fn drills(&mut self, drills: &Drills) {
        self.time("/drills/window_start", &drills.window_start);
        self.range("/drills/window_hours", WINDOW_HOURS, drills.window_hours.into());
        self.range("/drills/proof_days", PROOF_DAYS, drills.proof_days);
        if let DrillRhythm::Points { count } = drills.every {
            self.range("/drills/every/count", POINTS, count);
        }
        self.drill_options("/drills/options", &drills.options);
    }

    fn drill_options(&mut self, at: &str, options: &DrillOptions) {
        if options.checks.len() > CHECKS_MAX {
            self.add(
                &format!("{at}/checks"),
                format!("must be at most {CHECKS_MAX}; write a script in the guest"),
            );
        }
        for (number, check) in options.checks.iter().take(CHECKS_MAX).enumerate() {
            let at = format!("{at}/checks/{number}");
            self.text(&format!("{at}/name"), &check.name, NAME_MAX);
            self.text(&format!("{at}/command"), &check.command, TEXT_MAX);
            if let Some(pattern) = &check.pattern {
                self.text(&format!("{at}/pattern"), pattern, TEXT_MAX);
            }
            self.seconds(&format!("{at}/limit_s"), check.limit_s);
            if options.checks[..number].iter().any(|other| other.name == check.name) {
                self.add(&format!("{at}/name"), format!("{} is named twice", check.name));
            }
        }
        if let Some(console) = &options.console {
            self.text(&format!("{at}/console"), console, TEXT_MAX);
        }
        self.seconds(&format!("{at}/boot_limit_s"), options.boot_limit_s);
        if options.cpus.is_some_and(|cpus| !(1..=CPUS_MAX).contains(&cpus)) {
            self.add(&format!("{at}/cpus"), format!("must be 1 to {CPUS_MAX}"));
        }
        if options.memory_mib.is_some_and(|mib| !(1..=MEMORY_MIB_MAX).contains(&mib)) {
            self.add(&format!("{at}/memory_mib"), format!("must be 1 to {MEMORY_MIB_MAX}"));
        }
    }

    /// A text that says something.
    fn text(&mut self, pointer: &str, text: &str, max: usize) {
        let length = text.chars().count();
        if text.trim().is_empty() || length > max || text.contains('\0') {
            self.add(pointer, format!("must have 1 to {max} characters, none of them a null; has {length}"));
        }
    }

    fn seconds(&mut self, pointer: &str, found: u32) {
        let (min, max) = LIMIT_S;
        if !(min..=max).contains(&found) {
            self.add(pointer, format!("must be {min} to {max} seconds, is {found}"));
        }
    }
}
