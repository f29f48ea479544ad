//! What Windows' volume shadow copy service said.
//!
//! The agent's freeze starts a shadow copy: every writer (an application) is brought to rest, then the file
//! systems are flushed and held, and freeze returns. Thaw lets the copy finish, and only then does the agent
//! learn whether everybody stood still to the end. So the verdict comes with the thaw:
//!
//! - no error, in time: all writers took part;
//! - an error that names a writer: the file systems stood still, an application did not;
//! - anything else, above all that writes could not be held: nothing is known.

use crate::agent::Agent;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where the agent keeps the type of shadow copy, if it was changed.
const TYPE_KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\QEMU Guest Agent VSS Provider";
const TYPE_VALUE: &str = "VssOption";
/// Reading the registry runs a program.
const TYPE_WAIT: Duration = Duration::from_secs(5);

/// VSS_E_WRITERERROR_* and VSS_E_WRITER_*, as the agent writes them.
const WRITER_ERRORS: &[&str] = &[
    "writer",
    "0x800423f0",
    "800423f0",
    "800423f1",
    "800423f2",
    "800423f3",
    "800423f4",
    "80042319",
    "80042318",
];

/// How a volume shadow copy went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VssResult {
    /// Its type: `full` (the agent's default, which lets databases cut their logs), `copy`, and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether all writers took part to the end.
    pub complete: bool,
    /// What was reported, if not.
    pub complaint: Option<String>,
}

impl VssResult {
    /// One that is about to be made.
    pub(super) async fn begin(agent: &mut Agent) -> Self {
        let query = agent.run("reg", &["query", TYPE_KEY, "/v", TYPE_VALUE], TYPE_WAIT).await;
        let number = query.ok().filter(|run| run.exit == 0).and_then(|run| type_number(&run.stdout));
        Self { kind: type_name(number).to_owned(), complete: false, complaint: None }
    }

    /// Whether the complaint is of an application, while the file systems stood still.
    pub(super) fn is_of_a_writer(complaint: &str) -> bool {
        let complaint = complaint.to_ascii_lowercase();
        WRITER_ERRORS.iter().any(|error| complaint.contains(error)) && !complaint.contains("hold writes")
    }
}

/// From `    VssOption    REG_DWORD    0x5`.
fn type_number(output: &str) -> Option<u32> {
    let value = output.lines().find(|line| line.contains(TYPE_VALUE))?.split_whitespace().last()?;
    u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()
}

/// As VSS_BACKUP_TYPE counts them; the agent takes what it does not know for full.
fn type_name(number: Option<u32>) -> &'static str {
    match number {
        Some(2) => "incremental",
        Some(3) => "differential",
        Some(4) => "log",
        Some(5) => "copy",
        Some(6) => "other",
        _ => "full",
    }
}
