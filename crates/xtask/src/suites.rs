//! All tests: every test program that cargo builds, some of them side by side. Most of a test's time goes by in waiting,
//! for guests that boot, clocks and other programs; one program after the other leaves half of two processors idle.

use crate::run::cargo_command;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many run side by side, each with [`THREADS`] tests at a time: with more, emulated guests wait for processors
/// until they believe that their clocks are broken.
const LANES: usize = 2;
const THREADS: &str = "--test-threads=2";
/// What takes minutes is begun first, the longest of all at the very first: so the lanes end together.
const LONG: [&str; 7] = ["cli it", "mover it", "control it", "server it", "sim it", "vault lib", TOUCHY];
/// Run last, beside [`QUIET`] alone: its guests are nobody else's, and servers of other tests ask every machine of the host
/// what it is, which takes a monitor that serves one at a time.
const TOUCHY: &str = "hypervisor it";
/// They take minutes of processor time, and ask no machine that is not theirs.
const QUIET: [&str; 5] = ["vault lib", "vault it", "files it", "testkit it", "catalog it"];

/// A test program.
struct Suite {
    /// Of a package, and what of it: `vault lib`, `cli it`.
    name: String,
    program: PathBuf,
    /// The package's folder, where its tests expect to be run.
    folder: PathBuf,
}

/// Builds all and runs all; what failed is printed whole.
pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    let suites = build()?;
    println!("   built in {:.1} s", begun.elapsed().as_secs_f64());
    let is_last = |suite: &Suite| suite.name == TOUCHY || QUIET.contains(&suite.name.as_str());
    let (last, first): (VecDeque<_>, VecDeque<_>) = suites.into_iter().partition(is_last);
    let mut failed = side_by_side(first, LANES);
    failed.extend(side_by_side(last, LANES));
    ensure!(failed.is_empty(), "these have failed tests: {}", failed.join(", "));
    Ok(())
}

/// Runs all of them, so many at a time, and tells which have failed.
fn side_by_side(suites: VecDeque<Suite>, lanes: usize) -> Vec<String> {
    let (left, failed) = (Mutex::new(suites), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let lane = || {
        while let Some(suite) = next() {
            if let Err(error) = suite.run() {
                eprintln!("{}: {error:#}", suite.name);
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(suite.name);
            }
        }
    };
    std::thread::scope(|scope| (0..lanes).for_each(|_| drop(scope.spawn(lane))));
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Has cargo build every test program, and tells them in the order in which they are to be begun.
fn build() -> Result<Vec<Suite>> {
    let mut cargo = cargo_command();
    // What the compiler says goes past us; what cargo has made comes as a line of JSON each.
    cargo.args(["test", "--workspace", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]);
    let built = cargo.stderr(Stdio::inherit()).output().context("run cargo")?;
    ensure!(built.status.success(), "the tests do not build");
    let text = String::from_utf8(built.stdout).context("cargo's messages")?;
    let mut suites = Vec::new();
    for line in text.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo's")?;
        suites.extend(Suite::of(&message)?);
    }
    ensure!(!suites.is_empty(), "cargo told of no test program");
    let rank = |suite: &Suite| LONG.iter().position(|name| suite.name == *name).unwrap_or(LONG.len());
    suites.sort_by_key(rank);
    Ok(suites)
}

impl Suite {
    /// Of a message of cargo's, if it tells of a test program.
    fn of(message: &Value) -> Result<Option<Self>> {
        let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
        let Some(program) = message["executable"].as_str().filter(|_| is_test) else { return Ok(None) };
        let manifest = message["manifest_path"].as_str().context("a test program has a manifest")?;
        let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?;
        let package = folder.file_name().context("a package's folder has a name")?.to_string_lossy();
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        let target = message["target"]["name"].as_str().unwrap_or_default();
        let of_it = if kind == "lib" || kind == "bin" { kind } else { target };
        let name = format!("{package} {of_it}");
        Ok(Some(Self { name, program: program.into(), folder: folder.to_owned() }))
    }

    fn run(&self) -> Result<()> {
        let begun = Instant::now();
        println!("   {} ...", self.name);
        let mut command = Command::new(&self.program);
        command.arg(THREADS).current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        let ran = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
        let seconds = begun.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let result = said.lines().rfind(|line| line.starts_with("test result:"));
        println!("   {}: {seconds:.1} s, {}", self.name, result.unwrap_or("no result"));
        ensure!(ran.status.success(), "{}{}", words(&ran), ran.status);
        Ok(())
    }
}

/// All that a program has said.
fn words(ran: &Output) -> String {
    format!("\n{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
