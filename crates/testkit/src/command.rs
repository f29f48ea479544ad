//! Running programs of the host so that a failure says what was run, why, and what it printed.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Runs to the end and returns standard output. `what` completes "cannot …".
pub(crate) fn run(command: &mut Command, what: &str) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!("cannot {what}: the program `{program}` does not start (is it installed?)")
    })?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!(
            "cannot {what}: {:?} ended with {}:\n{}",
            command,
            output.status,
            String::from_utf8_lossy(&printed).trim_end()
        );
    }
    Ok(output.stdout)
}

/// As [`run`], for programs that print text.
pub(crate) fn run_text(command: &mut Command, what: &str) -> Result<String> {
    String::from_utf8(run(command, what)?).with_context(|| format!("cannot {what}: the output is not text"))
}
