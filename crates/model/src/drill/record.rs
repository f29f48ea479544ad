//! What a drill came to.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A command that is run in the guest, and what it must come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Check {
    /// What it is called.
    pub name: String,
    /// For the guest's shell: `/bin/sh`, or `cmd.exe` of Windows.
    pub command: String,
    /// The exit code it must have.
    #[serde(default)]
    pub exit: i64,
    /// A regular expression that must be found in what it prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Seconds that it may take.
    #[serde(default = "Check::limit_s")]
    pub limit_s: u32,
}

impl Check {
    /// A check's usual limit: a question, no work.
    pub const LIMIT_S: u32 = 60;

    fn limit_s() -> u32 {
        Self::LIMIT_S
    }
}

/// What a drill says of its point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Verdict {
    /// The guest's agent answered, and all checks passed.
    Proved,
    /// The console showed what it was to show. Nobody in the guest was asked.
    BootedOnly,
    /// The point does not come up, or not as it should.
    Failed {
        /// How far it came.
        stage: DrillStage,
        /// What went wrong.
        reason: String,
    },
}

impl Verdict {
    /// Whether nothing went wrong.
    pub fn is_good(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proved => f.write_str("proved"),
            Self::BootedOnly => f.write_str("booted only"),
            Self::Failed { stage, reason } => write!(f, "failed to {stage}: {reason}"),
        }
    }
}

/// A part of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DrillStage {
    /// The point's bytes are read.
    Restore,
    /// QEMU takes the machine.
    Start,
    /// The guest shows its sign of life.
    Boot,
    /// The checks pass.
    Checks,
}

impl fmt::Display for DrillStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restore => "restore",
            Self::Start => "start",
            Self::Boot => "boot",
            Self::Checks => "pass its checks",
        })
    }
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CheckRecord {
    /// What it is called.
    pub name: String,
    /// Why it did not pass; none if it did.
    pub failure: Option<String>,
    /// The end of what it printed.
    pub output: String,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// All that a drill found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrillRecord {
    /// What it says of the point.
    pub verdict: Verdict,
    /// Milliseconds until the machine was started; none if it was not.
    pub restore_ms: Option<u64>,
    /// Milliseconds from then until its sign of life; none if there was none.
    pub boot_ms: Option<u64>,
    /// Bytes that were read from the vault for it.
    pub read_bytes: u64,
    /// What the guest says that it is.
    pub guest: Option<String>,
    /// What the checks came to, in their order.
    pub checks: Vec<CheckRecord>,
    /// The end of what the console said.
    pub console: String,
    /// What the original has and this machine had not, or had in another form.
    pub left_out: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_stored_as_it_reads() {
        let stage = DrillStage::Boot;
        let verdict = Verdict::Failed { stage, reason: "no agent".into() };
        let stored = json!({ "verdict": "failed", "stage": "boot", "reason": "no agent" });
        assert_eq!(serde_json::to_value(&verdict).unwrap(), stored);
        assert_eq!(serde_json::from_value::<Verdict>(stored).unwrap(), verdict);
        assert_eq!(verdict.to_string(), "failed to boot: no agent");
        let check: Check = serde_json::from_value(json!({ "name": "a", "command": "true" })).unwrap();
        assert_eq!((check.exit, check.pattern, check.limit_s), (0, None, 60));
    }
}
