//! Running other programs.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::process::Command;

/// Runs `cargo` in the workspace; its output is ours.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<()> {
    run(cargo_command().args(arguments))
}

/// The same with a variable set.
pub(crate) fn cargo_with<S: AsRef<OsStr>>(
    (name, value): (&str, &str),
    arguments: impl IntoIterator<Item = S>,
) -> Result<()> {
    run(cargo_command().args(arguments).env(name, value))
}

/// `cargo` in the workspace.
pub(crate) fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace());
    command
}

/// Runs a program; its output is ours.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("run {shown}"))?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}

/// Installs packages of Debian's.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    let status = install.env("DEBIAN_FRONTEND", "noninteractive").status().context("run apt-get")?;
    ensure!(status.success(), "install {} by hand", packages.join(" "));
    Ok(())
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    Command::new(format!("cargo-{name}"))
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
