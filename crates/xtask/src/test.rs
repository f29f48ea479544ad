//! `cargo xtask test`: the whole truth about a change, here and in CI.

use crate::portal;
use crate::run::{cargo, cargo_with, has_cargo_command, install};
use crate::suites;
use crate::tidy;
use anyhow::{Context, Result, anyhow};
use std::time::Instant;

/// A step's name and what it does.
type Step = (&'static str, fn() -> Result<()>);

pub(crate) fn run(quick: bool) -> Result<()> {
    let always: &[Step] = &[
        ("formatting", || cargo(["fmt", "--all", "--check"])),
        ("tidy", tidy::run),
        ("lints", || cargo(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])),
    ];
    let small: &[Step] = &[("tests", || {
        cargo([
            "test", "--quiet", "-p", "block", "-p", "model", "-p", "vault", "-p", "nbd", "-p", "mover",
            "--lib",
        ])
    })];
    let read: &[Step] = &[("licences and sources", licences), ("documentation", documentation)];
    // Mostly waits for the network: done while the compiler works.
    let fetched: &[Step] = &[
        ("system packages", system_packages),
        ("the portal", || portal::build().and_then(|()| portal::browser())),
    ];
    let started = Instant::now();
    if quick {
        in_turn(always)?;
        in_turn(small)?;
    } else {
        std::thread::scope(|scope| {
            let fetching = scope.spawn(|| in_turn(fetched));
            let read = in_turn(always).and_then(|()| in_turn(read));
            let fetched = fetching.join().map_err(|_| anyhow!("a step has panicked"))?;
            read.and(fetched)
        })?;
        in_turn(&[("tests", suites::run)])?;
    }
    println!("== all passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// One step after the other, until one fails.
fn in_turn(steps: &[Step]) -> Result<()> {
    for (name, step) in steps {
        let begun = Instant::now();
        println!("== {name}");
        step().with_context(|| format!("{name} failed"))?;
        println!("== {name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// What guests need, what the S3 and Azure emulators are installed with, what makes system calls fail and clocks run
/// ahead, and the database that the catalog is tested with.
fn system_packages() -> Result<()> {
    testkit::ensure_packages(&testkit::to_stderr)?;
    let works = |program: &str, arguments: &[&str]| {
        let run = std::process::Command::new(program).args(arguments).output();
        run.is_ok_and(|output| output.status.success())
    };
    let mut missing = Vec::new();
    if !works("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("python3-venv");
    }
    if !works("npm", &["--version"]) {
        missing.push("npm");
    }
    // A shell that the guest's setup script must get along with.
    if !works("busybox", &["true"]) {
        missing.push("busybox");
    }
    if !works("swtpm", &["--version"]) {
        missing.push("swtpm");
    }
    if !works("strace", &["-V"]) {
        missing.push("strace");
    }
    if !works("dpkg-query", &["--status", "libfaketime"]) {
        missing.push("libfaketime");
    }
    if !std::path::Path::new("/usr/lib/postgresql").is_dir() {
        missing.push("postgresql");
    }
    match missing[..] {
        [] => Ok(()),
        _ => install(&missing),
    }
}

/// `deny.toml`, by cargo-deny. Its advisories need the network and are left to a scheduled run.
fn licences() -> Result<()> {
    if !has_cargo_command("deny") {
        // Used once a run: optimising it takes longer than it ever works.
        cargo(["install", "cargo-deny", "--locked", "--debug", "--quiet"])?;
    }
    cargo(["deny", "--all-features", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"])
}

fn documentation() -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--quiet", "--document-private-items"];
    cargo_with(("RUSTDOCFLAGS", "-D warnings"), doc)
}

/// Measures an index of so many chunks.
pub(crate) fn index(chunks: &str) -> Result<()> {
    let test = [
        "test",
        "--release",
        "--package",
        "vault",
        "--lib",
        "an_index_of_many",
        "--",
        "--nocapture",
        "--test-threads=1",
    ];
    cargo_with(("STRONGROOM_INDEX_CHUNKS", chunks), test)
}

/// `cargo xtask oracle`.
pub(crate) fn oracle(runs: u32) -> Result<()> {
    system_packages()?;
    // One guest at a time: under emulation it wants the cores for itself.
    let test =
        ["test", "--package", "mover", "--test", "it", "oracle", "--", "--nocapture", "--test-threads=1"];
    cargo_with(("STRONGROOM_ORACLE_RUNS", &runs.to_string()), test)
}

/// `cargo xtask snapshots`.
pub(crate) fn snapshots(count: u32) -> Result<()> {
    system_packages()?;
    let test = ["test", "--package", "cli", "--test", "it", "many_snapshots", "--", "--nocapture"];
    cargo_with(("STRONGROOM_SNAPSHOTS", &count.to_string()), test)
}

/// `cargo xtask fuzz`.
pub(crate) fn fuzz(minutes: u64) -> Result<()> {
    let test = ["test", "--package", "vault", "--lib", "fuzz", "--", "--nocapture", "--test-threads=2"];
    cargo_with(("STRONGROOM_FUZZ_MINUTES", &minutes.to_string()), test)
}

/// `cargo xtask golden`.
pub(crate) fn golden() -> Result<()> {
    cargo(["test", "--package", "vault", "--test", "it", "golden::write", "--", "--ignored", "--exact"])
}

/// `cargo xtask openapi`: the test that compares the document writes it instead.
pub(crate) fn openapi() -> Result<()> {
    let test = "documents::the_document_that_is_checked_in_is_this_one";
    let arguments = ["test", "--package", "server", "--test", "it", test, "--", "--exact"];
    cargo_with(("STRONGROOM_WRITE_OPENAPI", "yes"), arguments)
}

/// `cargo xtask model`.
pub(crate) fn model() -> Result<()> {
    let test = [
        "test",
        "--release",
        "--package",
        "vault",
        "--lib",
        "protocol",
        "--",
        "--nocapture",
        "--test-threads=2",
    ];
    cargo_with(("STRONGROOM_MODEL", "full"), test)
}
