//! Development commands, run as `cargo xtask <command>`.
//!
//! `demo` shows the product on a real machine, `portal` builds what people look at, `test` is the whole truth about a change, `tidy` checks what
//! the compiler cannot; `model`, `sim` and `fuzz` attack the engine for longer than the tests do.

mod demo;
mod portal;
mod run;
mod schedule;
mod suites;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Development commands of Strongroom.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Back a real machine up while it works, destroy it, and bring it back. Installs what it needs.
    Demo,
    /// Lints, tidy, licences, unit, integration and end-to-end tests. Installs what it needs.
    Test {
        /// Only lints and the tests that need no guest.
        #[arg(long)]
        quick: bool,
    },
    /// Measure the engine beside its limits and the peers that are installed; see `cargo xtask bench --help`.
    Bench {
        /// `index CHUNKS`; or passed on: `vault`, `restore`, `image` and their options, or `live`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Search the commit and collection protocol with larger bounds than the tests do. Takes a while.
    Model,
    /// Simulate the engine under faults: `sim vault --seed N`, or `--seeds FROM..TO` on all cores; or the schedule of
    /// 100,000 machines: `sim schedule --seed N`.
    Sim {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Back a guest up that counts on two disks in turn, and see that both come back as of one instant: so often, once
    /// as a machine of QEMU's and once as one of libvirt's.
    Oracle {
        /// Points of each.
        #[arg(long, default_value_t = 20)]
        runs: u32,
    },
    /// Take snapshot after snapshot of one disk of a guest that writes, delete every third, and see that each of the
    /// others is its instant. Takes some ten minutes.
    Snapshots {
        /// So many.
        #[arg(long, default_value_t = 500)]
        count: u32,
    },
    /// Throw changed bytes at every parser, behind the seals.
    Fuzz {
        /// For so long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Write the vaults that every later version must read anew. Only while the format is not released.
    Golden,
    /// Write the API's document, `docs/openapi.json`, anew.
    Openapi,
    /// Build the portal into `portal/dist`, from where the server takes it in. Installs what it needs.
    Portal {
        /// Also start a server with a real guest, and picture every page, light and dark, in `portal/screenshots`.
        #[arg(long)]
        screenshots: bool,
    },
    /// Check layering, file sizes, words and documents.
    Tidy,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Demo => demo::run(),
        Command::Test { quick } => test::run(quick),
        Command::Bench { arguments } if arguments.first().is_some_and(|what| what == "index") => {
            test::index(arguments.get(1).map_or("10000000", String::as_str))
        }
        Command::Bench { arguments } => run::cargo(
            ["run", "--release", "--quiet", "--package", "bench", "--"]
                .map(String::from)
                .into_iter()
                .chain(arguments),
        ),
        Command::Model => test::model(),
        Command::Sim { arguments } if arguments.first().is_some_and(|what| what == "schedule") => {
            schedule::run(&arguments[1..])
        }
        Command::Sim { arguments } => run::cargo(
            ["run", "--quiet", "--package", "sim", "--"].map(String::from).into_iter().chain(arguments),
        ),
        Command::Oracle { runs } => test::oracle(runs),
        Command::Snapshots { count } => test::snapshots(count),
        Command::Fuzz { minutes } => test::fuzz(minutes),
        Command::Golden => test::golden(),
        Command::Openapi => test::openapi(),
        Command::Portal { screenshots } => portal::run(screenshots),
        Command::Tidy => tidy::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/xtask lies two below").to_owned()
}
