//! The record that the guest's freeze hook leaves in `/run/strongroom/freeze-result`.

use serde::{Deserialize, Serialize};

/// One script that the hook ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookResult {
    /// When it ran.
    pub phase: HookPhase,
    /// Its name, as `postgresql`.
    pub name: String,
    /// Its exit code.
    pub exit: i32,
    /// How long it took.
    pub ms: u64,
}

/// When a script ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPhase {
    /// Before the file systems were frozen.
    Freeze,
    /// After they were thawed.
    Thaw,
}

/// Reads a record. The guest is not trusted: what is not exactly a finished record of this freeze is refused,
/// with a reason for people.
pub(super) fn parse(record: &[u8], token: &str) -> Result<Vec<HookResult>, String> {
    let text = std::str::from_utf8(record).map_err(|_| "the hook's record is no text")?;
    let mut lines = text.lines();
    if lines.next() != Some("strongroom-freeze 1") {
        return Err("the hook's record is of an unknown version".to_owned());
    }
    if lines.next().and_then(|line| line.strip_prefix("token ")) != Some(token) {
        return Err("the hook's record is of another freeze: the agent did not run our hook".to_owned());
    }
    let mut results = Vec::new();
    for line in lines.by_ref() {
        if line == "done" {
            return Ok(results);
        }
        results.push(
            parse_script(line).ok_or_else(|| format!("the hook's record has a strange line: {line:.80}"))?,
        );
    }
    Err("the hook's record breaks off".to_owned())
}

fn parse_script(line: &str) -> Option<HookResult> {
    let words: Vec<&str> = line.split(' ').collect();
    let [phase, name, "exit", exit, "ms", ms] = words[..] else { return None };
    let phase = match phase {
        "freeze" => HookPhase::Freeze,
        "thaw" => HookPhase::Thaw,
        _ => return None,
    };
    Some(HookResult { phase, name: name.to_owned(), exit: exit.parse().ok()?, ms: ms.parse().ok()? })
}

/// Why these scripts do not make the point application-consistent; `None` if they do.
pub(super) fn objection(results: &[HookResult]) -> Option<String> {
    if !results.iter().any(|script| script.phase == HookPhase::Freeze) {
        return Some("no application has a freeze script in the guest".to_owned());
    }
    let failed = results.iter().find(|script| script.exit != 0)?;
    Some(format!("the script {} ended with exit code {}", failed.name, failed.exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "strongroom-freeze 1\ntoken t1\nfreeze pg exit 0 ms 40\nthaw pg exit 0 ms 2\ndone\n";

    #[test]
    fn a_finished_record_of_this_freeze_is_read() {
        let results = parse(GOOD.as_bytes(), "t1").unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(
            (results[0].phase, results[0].name.as_str(), results[0].ms),
            (HookPhase::Freeze, "pg", 40)
        );
        assert_eq!(objection(&results), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            GOOD.replace("t1", "t2"),
            GOOD.replace("done\n", ""),
            GOOD.replace("freeze 1", "freeze 2"),
            GOOD.replace("exit 0 ms 40", "exit zero ms 40"),
            GOOD.replace("freeze pg", "freeze p g"),
            String::new(),
        ];
        for record in bad {
            assert!(parse(record.as_bytes(), "t1").is_err(), "{record}");
        }
    }

    #[test]
    fn no_script_or_a_failed_one_proves_nothing() {
        assert!(objection(&parse(b"strongroom-freeze 1\ntoken t\ndone\n", "t").unwrap()).is_some());
        let failed = GOOD.replace("freeze pg exit 0", "freeze pg exit 3");
        assert!(objection(&parse(failed.as_bytes(), "t1").unwrap()).unwrap().contains("pg"));
    }
}
