//! `strongroom server` and `strongroom mover`: what runs until it is told to stop.
//!
//! Reading order: `data.rs`, what a server is opened from → `init.rs`, its first moment → `run.rs`, its parts put
//! together: the API, the engine that schedules, and a mover. `join.rs` is a mover on another host. `signals.rs` and
//! `log.rs` are what all that run have.

mod data;
mod init;
mod join;
mod log;
mod run;
mod signals;
mod single_sign_on;
mod work;

use crate::output::Output;
use crate::service::{self, Yes};
use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Make the data directory, the catalog and the first administrator, and print how to log in.
    Init(init::InitArgs),
    /// Run the server until it is told to stop: the API, the scheduler, and a mover for this host.
    Run(Box<run::RunArgs>),
    /// Give somebody a new password, which is printed, because nobody is left who could.
    ResetPassword(init::ResetArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MoverCommand {
    /// Make a token that lets one mover join, once.
    Token,
    /// Join a server from this host, by a token that `strongroom mover token` made there.
    Join(join::JoinArgs),
    /// Work for the server that was joined, until told to stop.
    Run(join::RunArgs),
    /// List the movers.
    List,
    /// Shut a mover out.
    Remove {
        /// The mover, by its name.
        #[arg(value_name = "MOVER")]
        name: String,
        #[command(flatten)]
        yes: Yes,
    },
}

pub(crate) async fn run(output: &Output, command: ServerCommand) -> Result<()> {
    match command {
        ServerCommand::Init(args) => init::init(output, &args).await,
        ServerCommand::Run(args) => run::run(&args).await,
        ServerCommand::ResetPassword(args) => init::reset_password(output, &args).await,
    }
}

pub(crate) async fn run_mover(output: &Output, context: Option<&str>, command: MoverCommand) -> Result<()> {
    match command {
        MoverCommand::Token => service::mover::token(output, &service::client(context)?).await,
        MoverCommand::Join(args) => join::join(output, &args).await,
        MoverCommand::Run(args) => join::run(&args).await,
        MoverCommand::List => service::mover::list(output, &service::client(context)?).await,
        MoverCommand::Remove { name, yes } => {
            service::mover::remove(output, &service::client(context)?, &name, yes).await
        }
    }
}
