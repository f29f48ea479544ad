//! `cargo xtask sim schedule`: a month of 100,000 machines, and what came of it.

use anyhow::{Result, ensure};
use clap::Parser;
use model::simulate::{Scenario, simulate};
use std::time::Instant;

/// Longer tells nothing new, and every run's lateness is kept in memory.
const DAYS_MAX: u32 = 366;

/// Slots missed in a longer one are no longer told one by one, and would not add up.
const OUTAGE_HOURS_MAX: u32 = 30 * 24;

/// Simulate the schedule of many machines; the same seed gives the same report.
#[derive(Parser)]
#[command(name = "cargo xtask sim schedule")]
struct Args {
    /// Decides where machines are, and how long their runs take.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many machines.
    #[arg(long, default_value_t = 100_000)]
    machines: u32,
    /// For how many days.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// For how many hours the server is off, from 20:00 UTC of the second day.
    #[arg(long, default_value_t = 10)]
    outage_hours: u32,
    /// How many runs at once on one host.
    #[arg(long, default_value_t = 4)]
    per_host: usize,
    /// How many runs at once into one store.
    #[arg(long, default_value_t = 200)]
    per_store: usize,
    /// How many runs at once in all.
    #[arg(long, default_value_t = 3000)]
    overall: usize,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let name = "cargo xtask sim schedule".to_owned();
    let args = Args::parse_from(std::iter::once(&name).chain(arguments));
    let mut scenario = Scenario { machines: args.machines, days: args.days, ..Scenario::standard(args.seed) };
    scenario.outage_hours = args.outage_hours;
    scenario.limits.per_host = args.per_host;
    scenario.limits.per_store = args.per_store;
    scenario.limits.overall = args.overall;
    let limits = [args.per_host, args.per_store, args.overall];
    ensure!(limits.iter().all(|limit| *limit > 0), "each limit must be at least 1: nothing would ever run");
    ensure!(args.machines > 0, "there must be a machine");
    ensure!((1..=DAYS_MAX).contains(&args.days), "days must be 1 to {DAYS_MAX}");
    ensure!(args.outage_hours <= OUTAGE_HOURS_MAX, "outage-hours must be at most {OUTAGE_HOURS_MAX}");
    let begun = Instant::now();
    let report = simulate(&scenario);
    println!("machines           {} for {} days, seed {}", args.machines, args.days, args.seed);
    println!("{report}");
    println!("took               {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}
