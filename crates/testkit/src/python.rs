//! Programs in Python that tests run: each in an environment of its own, installed once.

use crate::stage::{Cache, key};
use crate::{Progress, command, default_cache};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Finds faults in an HTTP API by its OpenAPI document.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// The Python that has the module `schemathesis`, installed if it never was.
pub fn schemathesis(progress: Progress<'_>) -> Result<PathBuf> {
    let cache = Cache::open(&default_cache().with_file_name("servers"), progress)?;
    let folder = cache.stage("schemathesis", &key(&[SCHEMATHESIS]), |new| {
        progress("installing Schemathesis, which tests APIs (a minute)");
        install(new, SCHEMATHESIS)
    })?;
    Ok(folder.join("bin/python"))
}

/// Makes an environment and installs a package of this version into it.
pub(crate) fn install(new: &Path, package: &str) -> Result<()> {
    command::run(Command::new("python3").args(["-m", "venv"]).arg(new), "make a Python environment")?;
    let mut pip = Command::new(new.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
    command::run(&mut pip, &format!("install {package}")).map(drop)
}
