//! Measures the engine beside its limits and its peers, on data that it makes itself.
//!
//! `bench vault` runs the whole comparison and prints ratios of one run; `bench op` does one operation as a
//! process of its own, so that its memory can be told. `bench live` measures the
//! protection of a real guest, `bench restore` the ways back, `bench image` machines made of an image. Run them as `cargo xtask bench vault`.

mod catalog;
mod data;
mod image;
mod live;
mod op;
mod restore;
mod timed;
mod vault;

use clap::{Parser, Subcommand};

/// Benchmarks.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The engine: backup, restore, verification, beside peers and limits.
    Vault(vault::Options),
    /// The catalog: what people look at, with 10,000 machines and a million points, on SQLite and PostgreSQL.
    Catalog(catalog::Options),
    /// Live protection of a real guest: how long it stands still, what idle disks cost, what its writes feel.
    Live,
    /// Restore: whole, at once, the first block, and reads over NBD, beside limits and peers.
    Restore(restore::Options),
    /// Machines of an image: their disks, a crowd that is booted at once, and who each of them is.
    Image(image::Options),
    /// Parses disks for others, in a cage.
    #[command(hide = true)]
    FilesWorker,
    /// One operation of the engine; what it did goes to standard output as JSON.
    #[command(subcommand)]
    Op(op::Op),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Vault(options) => vault::run(&options),
        Command::Catalog(options) => catalog::run(options),
        Command::Live => live::run(),
        Command::Restore(options) => restore::run(&options),
        Command::Image(options) => image::run(&options),
        Command::FilesWorker => Ok(files::answer_caged()?),
        Command::Op(op) => op::run(op),
    }
}
