//! The guest's probe (`src/bin/guest-probe.rs`) as a static program: the guest has its own libraries,
//! and other guests have none of ours.

use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The probe's source. It uses nothing but the standard library, so one call of the compiler makes it.
pub(crate) const SOURCE: &str = include_str!("bin/guest-probe.rs");

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compiles the probe into `folder`.
pub(crate) fn build(folder: &Path) -> Result<PathBuf> {
    let source = folder.join("guest-probe.rs");
    fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
    let program = folder.join("guest-probe");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(compiler);
    compile.args(["--edition", "2024", "--target", TARGET, "--crate-name", "guest_probe"]);
    compile.args(["-C", "opt-level=2", "-C", "strip=symbols", "-C", "target-feature=+crt-static"]);
    command::run(compile.arg("-o").arg(&program).arg(&source), "compile the guest's probe")?;
    Ok(program)
}
