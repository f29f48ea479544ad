//! `strongroom backup`: now, whatever the policy's times are.

use super::follow::{self, Wait};
use super::names::{self, InVault};
use crate::output::Output;
use anyhow::Result;
use api::client::{Client, Method};
use api::{Accepted, BackUp};
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupNowArgs {
    /// The machine, by its name or id; it must be under protection.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
    /// How long to keep the point.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    keep_days: u16,
    /// Read everything, even where it is known what changed.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) async fn run(output: &Output, client: &Client, args: &BackupNowArgs) -> Result<()> {
    let item = names::item(client, &args.vault, &args.machine).await?;
    let body = BackUp { keep_days: Some(args.keep_days), full: args.full };
    let path = format!("{}/backup", names::item_path(&item));
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &body).await?;
    follow::accepted(output, client, accepted, args.wait).await
}
