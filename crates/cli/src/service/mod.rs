//! What a server does, a file a noun: each asks the server by its API and prints what it answers.
//!
//! Reading order: `connect.rs`, which server is meant, out of `contexts.rs` and the environment → `names.rs`, what
//! people call things → a noun. `confirm.rs` asks before something is done, `follow.rs` watches a job. `login.rs`,
//! `sign_on.rs` and `certificate.rs` are how trust begins.

mod alert;
mod archive;
mod audit;
mod backup;
mod bulk;
mod certificate;
mod confirm;
mod connect;
mod context;
mod contexts;
mod copies;
mod cost;
mod drill;
mod dry_run;
mod events;
mod files;
mod follow;
mod host;
mod image;
mod image_machines;
mod item;
mod job;
mod keys;
mod login;
mod machine;
pub(crate) mod mover;
mod names;
mod overview;
mod pages;
mod point;
mod policy;
mod policy_document;
mod protect;
mod restore;
mod schedule_words;
mod sign_on;
mod snapshot;
mod token;
mod user;
mod vault;
mod words;

pub(crate) use certificate::{TrustArgs, fingerprint_of_pem, trusted};
pub(crate) use confirm::Yes;
pub(crate) use connect::client;
pub(crate) use user::RoleName;

use crate::output::Output;
use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Log in to a server, and make it the one that counts.
    Login(login::LoginArgs),
    /// Log out: ends the session at the server, and forgets its token.
    Logout,
    /// Servers that were logged in to.
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Show at a glance whether all is well.
    #[command(alias = "status")]
    Overview,
    /// Machines that can be protected.
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// Hosts, whose machines can be protected.
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Vaults, which keep recovery points.
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Policies: when machines are backed up, and how long their points stay.
    #[command(subcommand)]
    Policy(Box<policy::PolicyCommand>),
    /// Put machines under a policy.
    Protect(protect::ProtectArgs),
    /// End a machine's protection; its points stay unless you say otherwise.
    #[command(alias = "unprotect")]
    Stop(protect::StopArgs),
    /// Put a machine whose protection was stopped under a policy again.
    Resume(protect::ResumeArgs),
    /// Bring a machine's deleted points back.
    Undelete(protect::UndeleteArgs),
    /// Machines under protection, or that were.
    #[command(subcommand)]
    Item(item::ItemCommand),
    /// Back a protected machine up now.
    Backup(backup::BackupNowArgs),
    /// Recovery points.
    #[command(subcommand)]
    Point(point::PointNowCommand),
    /// Snapshots: disks as they were at one instant, kept until somebody deletes them.
    #[command(subcommand)]
    Snapshot(Box<snapshot::SnapshotCommand>),
    /// Images: generalised machines, from which others are made (`strongroom machine create`).
    #[command(subcommand)]
    Image(Box<image::ImageCommand>),
    /// Bring a machine back: its disks as image files, as a new machine, or in its own place.
    Restore(Box<restore::RestoreNowArgs>),
    /// Try a recovery point out: boot it where it can harm nothing, ask it whether it is good, and throw everything away
    /// but the answer.
    Drill(Box<drill::DrillNowArgs>),
    /// What there is to report.
    #[command(subcommand)]
    Report(drill::ReportCommand),
    /// What is stored for whom, and what it costs at your own prices.
    Cost(cost::CostArgs),
    /// Look into a recovery point's file systems, and bring single files out.
    Files(files::FilesNowArgs),
    /// What runs, ran, or failed.
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Show what will run, and when it will end.
    Forecast(overview::ForecastArgs),
    /// What somebody should know.
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// People and services, and what they may do.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Who did what.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// Runs a command over the API of the server that is meant.
pub(crate) async fn run(output: &Output, context: Option<&str>, command: ServiceCommand) -> Result<()> {
    let client = || connect::client(context);
    match command {
        ServiceCommand::Login(args) => login::login(output, context, args).await,
        ServiceCommand::Logout => login::logout(output, context).await,
        ServiceCommand::Context(command) => context::run(output, &command),
        ServiceCommand::Overview => overview::overview(output, &client()?).await,
        ServiceCommand::Machine(command) => machine::run(output, &client, command).await,
        ServiceCommand::Host(command) => host::run(output, &client()?, command).await,
        ServiceCommand::Vault(command) => vault::run(output, &client()?, command).await,
        ServiceCommand::Policy(command) => policy::run(output, &client()?, *command).await,
        ServiceCommand::Protect(args) => protect::protect(output, &client()?, &args).await,
        ServiceCommand::Stop(args) => protect::stop(output, &client()?, args).await,
        ServiceCommand::Resume(args) => protect::resume(output, &client()?, &args).await,
        ServiceCommand::Undelete(args) => protect::undelete(output, &client()?, &args).await,
        ServiceCommand::Item(command) => item::run(output, &client()?, command).await,
        ServiceCommand::Backup(args) => backup::run(output, &client()?, &args).await,
        ServiceCommand::Point(command) => point::run(output, &client()?, command).await,
        ServiceCommand::Snapshot(command) => Box::pin(snapshot::run(output, &client()?, *command)).await,
        ServiceCommand::Image(command) => Box::pin(image::run(output, &client()?, *command)).await,
        ServiceCommand::Restore(args) => restore::run(output, &client()?, *args).await,
        ServiceCommand::Drill(args) => Box::pin(drill::run(output, &client()?, *args)).await,
        ServiceCommand::Report(command) => drill::report(output, &client()?, command).await,
        ServiceCommand::Cost(args) => cost::run(output, &client()?, args).await,
        ServiceCommand::Files(args) => Box::pin(files::run(output, &client()?, args)).await,
        ServiceCommand::Job(command) => job::run(output, &client()?, command).await,
        ServiceCommand::Forecast(args) => overview::forecast(output, &client()?, &args).await,
        ServiceCommand::Alert(command) => alert::run(output, &client()?, command).await,
        ServiceCommand::User(command) => user::run(output, &client()?, command).await,
        ServiceCommand::Audit(command) => audit::run(output, &client()?, command).await,
    }
}
