//! `cargo xtask portal`: the pages that people look at, built into `portal/dist`, from where the server takes them in.

use crate::run::{cargo_with, install, run as run_program};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// What the pages are made of, beneath `portal/`; the API's document is added.
const SOURCES: &[&str] =
    &["src", "scripts", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];
/// Written when a build is whole: what is older than it need not be built again.
const STAMP: &str = "dist/.built";

/// Builds the portal if anything in it has changed; with `screenshots` every page is pictured, too.
pub(crate) fn run(screenshots: bool) -> Result<()> {
    build()?;
    if !screenshots {
        return Ok(());
    }
    browser()?;
    let folder = folder().join("screenshots");
    let test =
        ["test", "--package", "cli", "--test", "it", "portal::", "--", "--nocapture", "--test-threads=1"];
    let variable = ("STRONGROOM_SCREENSHOTS", folder.to_str().context("the folder's name is UTF-8")?);
    cargo_with(variable, test)?;
    println!("pictures of all pages: {}", folder.display());
    Ok(())
}

/// Builds the portal if anything in it has changed.
pub(crate) fn build() -> Result<()> {
    let folder = folder();
    let built = changed(&folder.join(STAMP));
    let document = crate::workspace().join("docs/openapi.json");
    let newest = SOURCES.iter().map(|name| folder.join(name)).chain([document]).map(|path| newest(&path));
    let newest = newest.collect::<Result<Vec<_>>>()?.into_iter().max();
    if built.is_some() && built >= newest {
        println!("the portal is built already");
        return Ok(());
    }
    node()?;
    let lock = changed(&folder.join("package-lock.json"));
    if changed(&folder.join("node_modules/.package-lock.json")) < lock {
        // No program of any package runs while they are installed: portal/.npmrc.
        // Not `ci`, which wants the lock to name the packages of all other systems, too.
        npm(&folder, &["install", "--no-save"])?;
    }
    npm(&folder, &["run", "build"])?;
    std::fs::write(folder.join(STAMP), "").context("note that the portal is built")
}

/// The browser that the pages are tested in.
pub(crate) fn browser() -> Result<()> {
    match works("chromium") {
        true => Ok(()),
        false => install(&["chromium", "fonts-dejavu-core"]),
    }
}

fn node() -> Result<()> {
    if !works("node") || !works("npm") {
        install(&["nodejs", "npm"])?;
    }
    let version = Command::new("node").arg("--version").output().context("run node")?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(major >= Some(18), "the portal is built by Node 18 or newer; here is {version}");
    Ok(())
}

fn works(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<()> {
    run_program(Command::new("npm").args(arguments).current_dir(folder))
}

fn folder() -> PathBuf {
    crate::workspace().join("portal")
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// When anything at a path or beneath it last changed. A folder changes when something in it comes or goes.
fn newest(path: &Path) -> Result<SystemTime> {
    let told = || format!("look at {}", path.display());
    let metadata = path.metadata().with_context(told)?;
    let mut newest = metadata.modified().with_context(told)?;
    if metadata.is_dir() {
        for entry in path.read_dir().with_context(told)? {
            let entry = entry.with_context(told)?.path();
            // Made anew by each build.
            if !entry.ends_with("api/schema.d.ts") {
                newest = newest.max(self::newest(&entry)?);
            }
        }
    }
    Ok(newest)
}
