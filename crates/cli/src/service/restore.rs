//! `strongroom restore`: a point's disks as image files.

use super::follow::{self, Wait};
use super::names::{self, InVault};
use crate::args::ImageFormat;
use crate::failure::Told;
use crate::output::Output;
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, Restore, RestoreFormat};
use clap::Args as ClapArgs;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct RestoreNowArgs {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
    /// Which point: its id, the end of its id, or `latest`.
    #[arg(long, value_name = "POINT", default_value = "latest")]
    point: String,
    /// The folder on the mover's host to restore into; made if it does not exist. Nothing in it is replaced.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Only this disk; may be repeated.
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<String>,
    /// What the images are to be.
    #[arg(long, value_enum, default_value_t = ImageFormat::Qcow2)]
    format: ImageFormat,
    /// The mover that writes them; the one that backed the machine up if not said.
    #[arg(long, value_name = "MOVER")]
    mover: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) async fn run(output: &Output, client: &Client, args: RestoreNowArgs) -> Result<()> {
    // What this program runs in says nothing of the mover's host; but a relative path was meant from here.
    let folder = std::path::absolute(&args.to).context("find the folder")?;
    let Some(folder) = folder.to_str().map(str::to_owned) else {
        return Err(Told::usage(format!("{} is not UTF-8", args.to.display()), "choose another folder"));
    };
    let item = names::item(client, &args.vault, &args.machine).await?;
    let point = names::point(client, &item, &args.point).await?;
    eprintln!("Restoring {} as it was at {} to {folder}", item.name, crate::output::instant(point.taken));
    let format = match args.format {
        ImageFormat::Raw => RestoreFormat::Raw,
        ImageFormat::Qcow2 => RestoreFormat::Qcow2,
    };
    let body = Restore { folder, disks: args.disks, format, mover: args.mover };
    let path = format!("{}/points/{}/restore", names::item_path(&item), point.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &body).await?;
    follow::accepted(output, client, accepted, args.wait).await
}
