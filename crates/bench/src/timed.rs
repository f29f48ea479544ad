//! Running a command and telling how long it took.

use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs a command to its end; gives its seconds and what it printed.
pub(crate) fn timed(command: &mut Command) -> Result<(f64, Vec<u8>)> {
    let shown = format!("{command:?}");
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {shown}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed: {said}");
    Ok((seconds, output.stdout))
}

/// Runs a shell line that must succeed.
pub(crate) fn sh(line: &str) -> Result<()> {
    timed(Command::new("sh").args(["-ec", line])).map(|_| ())
}

/// The middle of an odd number of measurements.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success())
}
