//! `strongroom restore`: a point's disks as image files, and a new machine of them.

use super::follow::{self, Wait};
use super::names::{self, InVault};
use crate::args::ImageFormat;
use crate::failure::Told;
use crate::output::Output;
use crate::targets::{self, Network};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, NewMachine, NewNetwork, Restore, RestoreFormat};
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
    #[arg(long = "disk", value_name = "DISK", conflicts_with = "name")]
    disks: Vec<String>,
    /// What the images are to be.
    #[arg(long, value_enum, default_value_t = ImageFormat::Qcow2)]
    format: ImageFormat,
    /// The mover that writes them; the one that backed the machine up if not said.
    #[arg(long, value_name = "MOVER")]
    mover: Option<String>,
    /// Make a new machine of this name of the disks. The one that was backed up stays as it is.
    #[arg(long = "as-machine", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    machine_options: NewMachineArgs,
    #[command(flatten)]
    wait: Wait,
}

/// What the new machine is to be.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "With --as-machine")]
struct NewMachineArgs {
    /// Its network: `disconnected`, `keep`, `isolated`, or `remap=OLD:NEW,...` of bridges, networks or interfaces.
    /// With `keep` it has the addresses of a machine that may still run.
    #[arg(long, value_name = "NETWORK", default_value = "disconnected", value_parser = targets::network)]
    network: Network,
    /// Keep the uuid: the old machine must be gone, for two of one uuid are one to libvirt and to backups.
    #[arg(long, requires = "name")]
    keep_uuid: bool,
    /// Keep the addresses of its network cards.
    #[arg(long, requires = "name")]
    keep_mac: bool,
    /// So many virtual processors.
    #[arg(long, value_name = "N", requires = "name")]
    cpus: Option<u32>,
    /// So much memory, in MiB.
    #[arg(long, value_name = "MIB", requires = "name")]
    memory: Option<u64>,
    /// Start it.
    #[arg(long, requires = "name")]
    start: bool,
    /// Start it at once, its data following while it runs. FOLDER must have a short path then, for it holds sockets.
    #[arg(long, requires = "name", conflicts_with = "format")]
    instant: bool,
    /// The libvirt of the mover's host to define it in. Without it a machine of libvirt's goes to qemu:///system, and
    /// one of QEMU's own gets a start.sh.
    #[arg(long, value_name = "URI", requires = "name")]
    libvirt: Option<String>,
}

impl NewMachineArgs {
    fn named(self, name: String) -> NewMachine {
        let network = match self.network {
            Network::Disconnected => NewNetwork::Disconnected {},
            Network::Keep => NewNetwork::Keep {},
            Network::Isolated => NewNetwork::Isolated {},
            Network::Remap(names) => NewNetwork::Remap { names },
        };
        NewMachine {
            name,
            network,
            keep_uuid: self.keep_uuid,
            keep_macs: self.keep_mac,
            cpus: self.cpus,
            memory_mib: self.memory,
            start: self.start || self.instant,
            at_once: self.instant,
            libvirt: self.libvirt,
        }
    }
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
    let machine = args.name.map(|name| args.machine_options.named(name));
    let body = Restore { folder, disks: args.disks, format, mover: args.mover, machine };
    let path = format!("{}/points/{}/restore", names::item_path(&item), point.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &body).await?;
    follow::accepted(output, client, accepted, args.wait).await
}
