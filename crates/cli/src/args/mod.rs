//! The command line.

mod drill;
mod files;
mod image;
mod instant;
mod rescue;
mod restore;
mod snapshot;

pub(crate) use drill::*;
pub(crate) use files::*;
pub(crate) use image::*;
pub(crate) use instant::*;
pub(crate) use rescue::*;
pub(crate) use restore::*;
pub(crate) use snapshot::*;

use crate::output::Output;
use crate::server::{MoverCommand, ServerCommand};
use crate::service::ServiceCommand;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done                          7   stored data is damaged
  1  failed for another reason     8   made by a newer version, or QEMU is too old
  2  the command line is wrong     9   no room left
  3  there is no such thing        10  restored with gaps
  4  it exists already             11  nobody is signed in: `strongroom login`
  5  something cannot be reached;  12  the role for it is missing
     try again later               13  it is not in a state for that, or a rule forbids it
  6  the key or credentials are    130 interrupted
     missing or wrong";

/// Protects virtual machines: backs them up while they run, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) output: Output,
    /// Which server, of those that were logged in to.
    #[arg(long, global = true, value_name = "CONTEXT", env = "STRONGROOM_CONTEXT")]
    pub(crate) context: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Service(ServiceCommand),
    /// Work with a vault directly, without a server: what is left when all else is lost.
    #[command(subcommand)]
    Rescue(Box<RescueCommand>),
    /// Put Strongroom's freeze hooks into a Linux guest of this host through its agent, so that its applications
    /// take part.
    #[command(subcommand)]
    Guest(GuestCommand),
    /// The server: schedules, runs and remembers all that is above.
    #[command(subcommand)]
    Server(Box<ServerCommand>),
    /// Movers: hosts that work for a server.
    #[command(subcommand)]
    Mover(MoverCommand),
    /// Print what completes the command line of a shell.
    Completions {
        /// For which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a page of the manual for each command.
    Man {
        /// The folder to write to; made if it does not exist.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Thaws a guest if the backup that froze it dies: started by a backup, not by people.
    #[command(hide = true)]
    ThawWatchdog(WatchdogArgs),
    /// Parses the file systems of a point for `files`, in a cage: started by it, not by people.
    #[command(hide = true)]
    FilesWorker,
}

/// Shells that we complete for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}
