//! A point's disks as image files, and a new machine of them.

use super::{Meant, RestoreNowArgs};
use crate::args::ImageFormat;
use crate::failure::Told;
use crate::output::Output;
use crate::service::follow;
use crate::service::names;
use crate::targets::{self, Network};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, Item, NewMachine, NewNetwork, Restore, RestoreFormat};
use clap::Args as ClapArgs;
use std::path::Path;

/// What the new machine is to be.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "With --as-machine")]
pub(crate) struct NewMachineArgs {
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
    pub(crate) fn named(self, name: String) -> NewMachine {
        NewMachine {
            name,
            network: network(self.network),
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

/// Restores into a folder.
pub(crate) async fn restore(
    output: &Output,
    client: &Client,
    (item, point, to): (&Item, &Meant, &Path),
    args: RestoreNowArgs,
) -> Result<()> {
    // What this program runs in says nothing of the mover's host; but a relative path was meant from here.
    if args.replace_options.is_plan() {
        let hint = "--plan is for what is written over: --replace, --into, NBD servers";
        return Err(Told::usage("nothing in a folder is replaced: there is nothing to be shown", hint));
    }
    if args.differences {
        let hint = "name images that are there with --into";
        return Err(Told::usage("a folder's images are made anew", hint));
    }
    let folder = std::path::absolute(to).context("find the folder")?;
    let Some(folder) = folder.to_str().map(str::to_owned) else {
        return Err(Told::usage(format!("{} is not UTF-8", to.display()), "choose another folder"));
    };
    eprintln!("Restoring {} as it was at {} to {folder}", item.name, crate::output::instant(point.taken));
    let machine = args.name.map(|name| args.machine_options.named(name));
    let format = format(args.format);
    let from_copy = args.from_copy;
    let body = Restore { folder, disks: args.disks, format, mover: args.mover, machine, from_copy };
    let path = format!("{}/points/{}/restore", names::item_path(item), point.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &body).await?;
    follow::accepted(output, client, accepted, args.wait).await
}

/// As the API says it.
pub(crate) fn network(network: Network) -> NewNetwork {
    match network {
        Network::Disconnected => NewNetwork::Disconnected {},
        Network::Keep => NewNetwork::Keep {},
        Network::Isolated => NewNetwork::Isolated {},
        Network::Remap(names) => NewNetwork::Remap { names },
    }
}

/// As the API says it.
pub(crate) fn format(format: ImageFormat) -> RestoreFormat {
    match format {
        ImageFormat::Raw => RestoreFormat::Raw,
        ImageFormat::Qcow2 => RestoreFormat::Qcow2,
    }
}
