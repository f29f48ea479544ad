//! What is asked for.

use crate::error::{Doing, Result};
use model::drill::Check;
use regex::bytes::{Regex, RegexBuilder};
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;
use vault::Point;

/// A pattern's compiled size: far more than people write.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A point that is to be tried out.
#[derive(Clone, Debug)]
pub struct DrillRequest {
    /// The drill's own id, never used before: the machine's uuid, and what its addresses are made of.
    pub id: Uuid,
    /// The point.
    pub point: Point,
    /// The libvirt that runs it, if it is a machine of libvirt's; none: this host's.
    pub libvirt: Option<String>,
    /// Where drills have their folders. Its path must be short: they hold sockets. It needs room for what the guest
    /// writes meanwhile.
    pub scratch: PathBuf,
    /// Virtual processors; none: as many as the machine had.
    pub cpus: Option<u32>,
    /// Memory in bytes; none: as much as the machine had.
    pub memory_bytes: Option<u64>,
    /// What shows that the guest is up.
    pub sign: Sign,
    /// How long that may take.
    pub boot_limit: Duration,
    /// What is asked in the guest then. Needs its agent.
    pub checks: Vec<Check>,
}

/// What shows that a guest is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Its agent answers.
    Agent,
    /// This regular expression is found in what its console said.
    Console(String),
}

impl DrillRequest {
    /// The usual limit: a server with services that wait for a network which is not there.
    pub const BOOT_LIMIT: Duration = Duration::from_secs(300);
}

/// A request's patterns, ready to be used.
pub(super) struct Patterns {
    /// What the console must show; none if the agent is waited for.
    pub(super) console: Option<Regex>,
    /// What each check must print.
    pub(super) checks: Vec<Option<Regex>>,
}

impl Patterns {
    /// # Errors
    /// `Invalid` for what is no regular expression.
    pub(super) fn of(request: &DrillRequest) -> Result<Self> {
        let console = match &request.sign {
            Sign::Agent => None,
            Sign::Console(pattern) => Some(compile(pattern, "the console's pattern")?),
        };
        let check = |check: &Check| {
            let pattern = check.pattern.as_deref();
            pattern
                .map(|pattern| compile(pattern, &format!("the pattern of the check {}", check.name)))
                .transpose()
        };
        Ok(Self { console, checks: request.checks.iter().map(check).collect::<Result<_>>()? })
    }
}

fn compile(pattern: &str, what: &str) -> Result<Regex> {
    // `^` and `$` are a line's, however it ends.
    let built = RegexBuilder::new(pattern).multi_line(true).crlf(true).size_limit(PATTERN_BYTES_MAX).build();
    let invalid = |e| block::Error::caused(block::ErrorKind::Invalid, "it is no regular expression", e);
    built.map_err(invalid).doing(|| format!("read {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_lines() {
        let pattern = compile("^[0-9]+ rows$", "a pattern").expect("a pattern");
        assert!(pattern.is_match(b"hello\r\n12 rows\r\nbye") && pattern.is_match(b"12 rows\n"));
        assert!(!pattern.is_match(b"some 12 rows") && compile("(", "a pattern").is_err());
    }
}
