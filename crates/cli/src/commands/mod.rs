//! What works on this host without a server, a file a noun. What a server does is in `service/`.

mod backup;
mod copy;
mod drill;
mod files;
mod guest;
mod image;
mod image_create;
mod instant;
mod key;
mod machine;
mod machine_create;
mod manual;
mod nbd;
mod new_machine;
mod point;
pub(crate) mod reconcile;
mod reindex;
mod repair;
mod replace;
mod restore;
mod salvage;
mod snapshot;
mod vault;
mod verify;
mod watchdog;

pub(crate) use drill::table as drill_table;

use crate::args::{Args, Command, RescueCommand};
use crate::failure::Told;
use crate::output::Output;
use anyhow::Result;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use files::mode_text;

pub(crate) const KEEP_RECOVERY_KEY: &str = "\
Write the recovery key down or print it, and keep it where neither fire nor thieves find it with the vault.
It opens the vault by itself, it is stored nowhere, and it is not shown again.";

/// Runs the command that was asked for.
pub(crate) async fn run(args: Args) -> Result<()> {
    let output = &args.output;
    match args.command {
        Command::Service(command) => {
            Box::pin(crate::service::run(output, args.context.as_deref(), command)).await
        }
        Command::Rescue(command) => Box::pin(rescue(output, *command)).await,
        Command::Guest(command) => guest::run(output, command).await,
        Command::Server(command) => Box::pin(crate::server::run(output, *command)).await,
        Command::Mover(command) => {
            Box::pin(crate::server::run_mover(output, args.context.as_deref(), command)).await
        }
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::man(&folder),
        Command::ThawWatchdog(args) => watchdog::run(&args).await,
        Command::FilesWorker => unreachable!("the worker runs before there is a runtime"),
    }
}

async fn rescue(output: &Output, command: RescueCommand) -> Result<()> {
    match command {
        // Boxed: the largest of its commands would otherwise lie in the future of each.
        RescueCommand::Vault(command) => Box::pin(vault::run(output, command)).await,
        RescueCommand::Key(command) => key::run(output, command).await,
        RescueCommand::Machine(command) => Box::pin(machine::run(output, command)).await,
        RescueCommand::Backup(args) => backup::run(output, args).await,
        RescueCommand::Point(command) => point::run(output, command).await,
        RescueCommand::Snapshot(command) => Box::pin(snapshot::run(output, *command)).await,
        RescueCommand::Restore(command) => Box::pin(restore::run(output, *command)).await,
        RescueCommand::Salvage(args) => salvage::run(output, args).await,
        RescueCommand::Instant(command) => Box::pin(instant::run(output, command)).await,
        RescueCommand::Drill(args) => Box::pin(drill::run(output, *args)).await,
        RescueCommand::Image(command) => Box::pin(image::run(output, *command)).await,
        RescueCommand::Nbd(command) => nbd::run(output, command).await,
        RescueCommand::Files(command) => Box::pin(files::run(output, command)).await,
    }
}

/// The one place where the clock is read.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Ends with `work`, or when somebody interrupts the program; `work` is dropped then and undoes itself.
pub(crate) async fn unless_interrupted<T>(doing: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    // All are caught before `work` does anything: a signal that comes in its first moments must undo it too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal went away, as when a connection breaks.
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Told::interrupted(format!("{doing} was interrupted"))),
        _ = hangup.recv() => Err(Told::interrupted(format!("{doing} lost its terminal"))),
        _ = terminate.recv() => Err(Told::interrupted(format!("{doing} was told to end"))),
    }
}
