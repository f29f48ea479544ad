//! Development commands, run as `cargo xtask <command>`.
//!
//! `demo` shows the product on a real machine, `test` is the whole truth about a change, `tidy` checks what
//! the compiler cannot.

mod demo;
mod run;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

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
    /// Check layering, file sizes, words and documents.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Demo => demo::run(),
        Command::Test { quick } => test::run(quick),
        Command::Tidy => tidy::run(),
    }
}

/// The workspace's folder.
fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/xtask lies two below").to_owned()
}
