//! The `strongroom` command: reads arguments, calls the loops, shows what came of it.
//!
//! No logic lives here. `args/` is the command line. `service/` asks a server for what is wanted, a file a noun;
//! `commands/` works without one, on vaults and this host's machines; `server/` runs a server or a mover. `output/`
//! prints tables, JSON, YAML or tab-separated values on standard output, `watch.rs` shows progress on standard error,
//! `failure.rs` turns an error into words, a hint and an exit code, `open.rs`, `keys.rs`, `machines.rs` and `targets.rs` find what
//! arguments name.
//! The clock and randomness are read here and passed on.

mod args;
mod commands;
mod failure;
mod images;
mod keys;
mod limits;
mod machines;
mod open;
mod output;
mod server;
mod service;
mod targets;
mod watch;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if matches!(args.command, args::Command::FilesWorker) {
        // Its cage closes around a process of one thread.
        return if ::files::answer_caged().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error).context("start the program")),
    };
    let result = runtime.block_on(commands::run(args));
    // Blocking reads of a store that hangs must not keep the program from ending.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
