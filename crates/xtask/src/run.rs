//! Running other programs.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::process::Command;

/// Runs `cargo` in the workspace; its output is ours.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(crate::workspace());
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("run {shown}"))?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    Command::new(format!("cargo-{name}"))
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
