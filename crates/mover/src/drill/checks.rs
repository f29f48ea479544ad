//! Asking the guest: each check is a command of its shell.

use super::console::tail;
use super::disks::in_words;
use hypervisor::{Agent, GuestRun};
use model::drill::{Check, CheckRecord};
use regex::bytes::Regex;
use std::time::Duration;
use tokio::time::Instant;

/// The end of what a check printed that goes into the record.
const OUTPUT_CHARACTERS: usize = 2000;
/// What runs programs in the guest; its administrator may have forbidden it.
const EXECUTE: &str = "guest-exec";

/// Runs all checks, whatever the earlier ones came to.
pub(super) async fn run(
    agent: &mut Agent,
    is_windows: bool,
    checks: &[(&Check, Option<&Regex>)],
) -> Vec<CheckRecord> {
    let mut records = Vec::new();
    for (check, pattern) in checks {
        let began = Instant::now();
        let (failure, output) = ask(agent, is_windows, check, *pattern).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        records.push(CheckRecord { name: check.name.clone(), failure, output, took_ms });
    }
    records
}

/// Why it did not pass, and what it printed.
async fn ask(
    agent: &mut Agent,
    is_windows: bool,
    check: &Check,
    pattern: Option<&Regex>,
) -> (Option<String>, String) {
    if agent.is_blocked(EXECUTE) {
        let text = format!("the guest's administrator does not let its agent run programs ({EXECUTE})");
        return (Some(text), String::new());
    }
    let (shell, option) = if is_windows { ("cmd.exe", "/c") } else { ("/bin/sh", "-c") };
    let limit = Duration::from_secs(check.limit_s.into());
    match agent.run(shell, &[option, &check.command], limit).await {
        Ok(run) => (judge(check, pattern, &run), printed(&run)),
        Err(error) => (Some(in_words(&error)), String::new()),
    }
}

fn judge(check: &Check, pattern: Option<&Regex>, run: &GuestRun) -> Option<String> {
    if run.exit != check.exit {
        return Some(format!("it ended with {}, not with {}", run.exit, check.exit));
    }
    let is_found =
        |pattern: &&Regex| [&run.stdout, &run.stderr].iter().any(|text| pattern.is_match(text.as_bytes()));
    match pattern {
        Some(pattern) if !is_found(&pattern) => Some(format!("it did not print what matches {pattern}")),
        _ => None,
    }
}

fn printed(run: &GuestRun) -> String {
    tail(format!("{}{}", run.stdout, run.stderr).as_bytes(), OUTPUT_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_judged_by_its_end_and_by_what_it_prints() {
        let check =
            |exit| Check { name: "c".into(), command: String::new(), exit, pattern: None, limit_s: 1 };
        let run = |exit| GuestRun { exit, stdout: "12 rows\n".into(), stderr: "\x1b[1mwarned".into() };
        let rows = Regex::new(r"^\d+ rows").expect("a pattern");
        assert_eq!(judge(&check(0), None, &run(0)), None);
        assert_eq!(judge(&check(3), Some(&rows), &run(3)), None);
        assert_eq!(judge(&check(0), Some(&rows), &run(1)).as_deref(), Some("it ended with 1, not with 0"));
        let none = Regex::new("^none").expect("a pattern");
        assert_eq!(
            judge(&check(0), Some(&none), &run(0)).as_deref(),
            Some("it did not print what matches ^none")
        );
        assert_eq!(printed(&run(0)), "12 rows\n[1mwarned");
    }
}
