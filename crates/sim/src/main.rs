//! `cargo xtask sim vault`: one seed with its trace, or many on all cores. `sim work` is what tests kill.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Of a failure so much is shown among many; all of it with its seed alone.
const FAILURE_CHARS: usize = 300;

/// Simulations.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The vault engine under a faulty store.
    Vault {
        /// Runs this seed and prints what happened.
        #[arg(long, required_unless_present = "seeds")]
        seed: Option<u64>,
        /// Runs many, `FROM..TO`, and prints what went wrong.
        #[arg(long, conflicts_with = "seed", value_parser = range)]
        seeds: Option<(u64, u64)>,
    },
    /// Works on a vault in a directory, and says what it does.
    Work {
        /// Where the vault is.
        folder: PathBuf,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 4)]
        rounds: u64,
    },
}

fn main() -> ExitCode {
    let is_fine = match Args::parse().what {
        What::Vault { seed: Some(seed), .. } => one(seed),
        What::Vault { seeds, .. } => many(seeds.expect("one of the two is required")),
        What::Work { folder, seed, rounds } => work(&folder, seed, rounds),
    };
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let range = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    range.ok_or_else(|| "write FROM..TO".into())
}

/// Prints the trace of one seed.
fn one(seed: u64) -> bool {
    let outcome = sim::run(seed, true);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!("seed {seed}: {} events, hash {}", outcome.events, outcome.hash);
    if let Some(failure) = &outcome.failure {
        println!("FAILED: {failure}");
    }
    outcome.failure.is_none()
}

/// Runs seeds on all cores; all of them, so that the failures can be counted.
fn many((from, to): (u64, u64)) -> bool {
    let begun = Instant::now();
    let swept = sim::sweep(from..to, &|seed, outcome| {
        let failure: String =
            outcome.failure.iter().flat_map(|text| text.chars()).take(FAILURE_CHARS).collect();
        println!("seed {seed} FAILED: {failure}\n  repeat it: cargo xtask sim vault --seed {seed}");
    });
    let (seconds, count) = (begun.elapsed().as_secs_f64(), to.saturating_sub(from));
    let rate = count as f64 / seconds;
    println!(
        "{count} seeds, {} events, {} failed, {seconds:.1} s, {rate:.0} seeds/s",
        swept.events, swept.failed
    );
    swept.failed == 0
}

/// One thread for us and one for the file system: the n-th system call is then the same in every run.
fn work(folder: &std::path::Path, seed: u64, rounds: u64) -> bool {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return false;
        }
    };
    let done = runtime.block_on(sim::process::work(folder, seed, rounds));
    if let Err(error) = &done {
        eprintln!("error: {:?}: {error}", error.kind());
    }
    done.is_ok()
}
