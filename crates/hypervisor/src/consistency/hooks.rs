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
    /// How long it took, all tries together.
    pub ms: u64,
    /// How often it was tried.
    #[serde(default = "once")]
    pub attempts: u32,
    /// It failed, and its configuration let the freeze go on.
    #[serde(default)]
    pub continued: bool,
}

fn once() -> u32 {
    1
}

/// A script that the hook did not run, because others than root could have changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedHook {
    /// Its name.
    pub name: String,
    /// What is wrong, as `writable-by-others`.
    pub reason: String,
}

/// What a record says.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) ran: Vec<HookResult>,
    pub(super) skipped: Vec<SkippedHook>,
}

impl Record {
    /// Whether nothing is there that the hook could run.
    pub(super) fn has_no_script(&self) -> bool {
        self.skipped.is_empty() && self.ran.is_empty()
    }
}

/// Lines of a record: a guest has a handful of scripts.
const LINES_MAX: usize = 256;
/// Bytes of a line: a script's name and a few numbers.
const LINE_BYTES_MAX: usize = 1024;

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
pub(super) fn parse(record: &[u8], token: &str) -> Result<Record, String> {
    let text = std::str::from_utf8(record).map_err(|_| "the hook's record is no text")?;
    let mut lines = text.lines();
    if !matches!(lines.next(), Some("strongroom-freeze 1" | "strongroom-freeze 2")) {
        return Err("the hook's record is of an unknown version".to_owned());
    }
    if lines.next().and_then(|line| line.strip_prefix("token ")) != Some(token) {
        return Err("the hook's record is of another freeze: the agent did not run our hook".to_owned());
    }
    let mut record = Record::default();
    for (number, line) in lines.by_ref().enumerate() {
        if line == "done" {
            return Ok(record);
        }
        if number >= LINES_MAX || line.len() > LINE_BYTES_MAX || line.contains(char::is_control) {
            return Err("the hook's record is longer than a hook's, or no plain text".to_owned());
        }
        read_line(line, &mut record)
            .ok_or_else(|| format!("the hook's record has a strange line: {line:.80}"))?;
    }
    Err("the hook's record breaks off".to_owned())
}

fn read_line(line: &str, record: &mut Record) -> Option<()> {
    let words: Vec<&str> = line.split(' ').collect();
    if let ["skipped", name, reason] = words[..] {
        record.skipped.push(SkippedHook { name: name.to_owned(), reason: reason.to_owned() });
        return Some(());
    }
    let [phase, name, "exit", exit, "ms", ms, ref more @ ..] = words[..] else { return None };
    let phase = match phase {
        "freeze" => HookPhase::Freeze,
        "thaw" => HookPhase::Thaw,
        _ => return None,
    };
    let (attempts, continued) = match more {
        [] => (1, false), // version 1
        ["attempts", attempts] => (attempts.parse().ok()?, false),
        ["attempts", attempts, "continued"] => (attempts.parse().ok()?, true),
        _ => return None,
    };
    let (name, exit, ms) = (name.to_owned(), exit.parse().ok()?, ms.parse().ok()?);
    record.ran.push(HookResult { phase, name, exit, ms, attempts, continued });
    Some(())
}

/// Why these scripts do not make the point application-consistent; `None` if they do.
pub(super) fn objection(record: &Record) -> Option<String> {
    if let Some(SkippedHook { name, reason }) = record.skipped.first() {
        return Some(format!("the script {name} was not run: {}", reason.replace('-', " ")));
    }
    if !record.ran.iter().any(|script| script.phase == HookPhase::Freeze) {
        return Some("no application has a freeze script in the guest".to_owned());
    }
    let failed = record.ran.iter().find(|script| script.exit != 0)?;
    Some(format!("the script {} ended with exit code {}", failed.name, failed.exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "strongroom-freeze 2\ntoken t1\nfreeze pg exit 0 ms 40 attempts 3\n\
        thaw pg exit 0 ms 2 attempts 1\ndone\n";

    #[test]
    fn a_finished_record_of_this_freeze_is_read() {
        let record = parse(GOOD.as_bytes(), "t1").unwrap();
        assert_eq!(record.ran.len(), 2);
        let first = &record.ran[0];
        assert_eq!((first.phase, first.name.as_str(), first.ms), (HookPhase::Freeze, "pg", 40));
        assert_eq!((first.attempts, first.continued), (3, false));
        assert_eq!(objection(&record), None);
        // What a hook of version 1 wrote.
        let old = GOOD.replace("freeze 2", "freeze 1").replace(" attempts 3", "").replace(" attempts 1", "");
        assert_eq!(parse(old.as_bytes(), "t1").unwrap().ran[0].attempts, 1);
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            GOOD.replace("t1", "t2"),
            GOOD.replace("done\n", ""),
            GOOD.replace("freeze 2", "freeze 3"),
            GOOD.replace("exit 0 ms 40", "exit zero ms 40"),
            GOOD.replace("freeze pg", "freeze p g"),
            GOOD.replace("attempts 3", "attempts 3 or so"),
            GOOD.replace("thaw pg", "skipped"),
            String::new(),
        ];
        for record in bad {
            assert!(parse(record.as_bytes(), "t1").is_err(), "{record}");
        }
    }

    #[test]
    fn a_record_longer_than_a_hooks_is_refused() {
        let many = "freeze pg exit 0 ms 40\n".repeat(LINES_MAX + 1);
        assert!(parse(format!("strongroom-freeze 2\ntoken t\n{many}done\n").as_bytes(), "t").is_err());
        let long = format!("strongroom-freeze 2\ntoken t\nskipped {} x\ndone\n", "n".repeat(LINE_BYTES_MAX));
        assert!(parse(long.as_bytes(), "t").is_err());
        let steers = "strongroom-freeze 2\ntoken t\nskipped a\u{1b}[2J x\ndone\n";
        assert!(parse(steers.as_bytes(), "t").is_err());
    }

    #[test]
    fn no_script_or_a_failed_one_proves_nothing() {
        assert!(objection(&parse(b"strongroom-freeze 1\ntoken t\ndone\n", "t").unwrap()).is_some());
        let failed = GOOD.replace("freeze pg exit 0", "freeze pg exit 3");
        assert!(objection(&parse(failed.as_bytes(), "t1").unwrap()).unwrap().contains("pg"));
        let skipped = GOOD.replace("thaw pg", "skipped shop writable-by-others\nthaw pg");
        let said = objection(&parse(skipped.as_bytes(), "t1").unwrap());
        assert_eq!(said.unwrap(), "the script shop was not run: writable by others");
    }
}
