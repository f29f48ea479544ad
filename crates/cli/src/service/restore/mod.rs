//! `strongroom restore`: a machine's point brought back, in every form that a server does.

pub(super) mod disks;
mod into;
mod many;
mod replace;

use super::confirm::Yes;
use super::follow::Wait;
use super::names::{self, InVault};
use crate::args::ImageFormat;
use crate::output::Output;
use crate::targets::{self, To};
use anyhow::Result;
use api::client::Client;
use api::{CopiedPoint, Point, PointDisk};
use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use model::PointId;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(mut_arg("stop", |stop| stop.requires("replace")), mut_arg("power_off", |off| off.requires("replace")))]
pub(crate) struct RestoreNowArgs {
    #[command(subcommand)]
    command: Option<RestoreNowCommand>,
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE", required = true)]
    machine: Option<String>,
    #[command(flatten)]
    vault: InVault,
    /// Which point: its id, the end of its id, or `latest`.
    #[arg(long, value_name = "POINT", default_value = "latest")]
    point: String,
    /// The folder on the mover's host to restore into, made if it does not exist, nothing in it replaced; or an NBD
    /// server, nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH. Without an EXPORT each disk goes to that of its name.
    #[arg(long, value_name = "FOLDER|NBD-URL", required_unless_present_any = ["replace", "into"],
          value_parser = targets::to())]
    to: Option<To>,
    /// Write only what differs into an image or block device on the mover's host that holds another state of a disk;
    /// may be repeated. How much would be written is shown first.
    #[arg(long, value_name = "DISK=PATH[,format=F]", value_parser = crate::images::parse,
          conflicts_with_all = ["to", "replace", "disks", "name"])]
    into: Vec<hypervisor::offline::Image>,
    /// Of an NBD server: read the export, and write only what differs.
    #[arg(long, requires = "to")]
    differences: bool,
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
    /// Take it from the vault's second store, whether the vault still has the point or not, or is gone itself.
    /// `strongroom vault copies` lists what is there.
    #[arg(long)]
    from_copy: bool,
    /// Bring the point back from the archive first, if it is nowhere else, and wait for that.
    #[arg(long, conflicts_with = "from_copy")]
    rehydrate: bool,
    #[command(flatten)]
    machine_options: disks::NewMachineArgs,
    /// Put the machine itself back, in its own place. What would be done is shown first. Its present state becomes a
    /// point, and the disks it has now are kept beside the restored ones until `strongroom restore remove`.
    #[arg(long, conflicts_with_all = ["to", "into", "disks", "format", "mover", "name"])]
    replace: bool,
    #[command(flatten)]
    replace_options: replace::ReplaceArgs,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Subcommand)]
enum RestoreNowCommand {
    /// Restore many machines as one, each to a folder of its own: in groups, one after the other, and within each as
    /// many at once as the limits allow.
    Many(Box<many::ManyArgs>),
    /// Restores of many machines.
    #[command(subcommand)]
    Set(many::SetCommand),
    /// List machines' restores in their own place that keep something: what they kept, and what may be done.
    List(replace::WhichMachine),
    /// Go on with a restore in its own place that ended half way.
    Finish {
        #[command(flatten)]
        which: replace::WhichReplacement,
        #[command(flatten)]
        wait: Wait,
    },
    /// Take a restore in its own place back, however far it came. What the machine wrote since is kept beside its disks.
    Undo {
        #[command(flatten)]
        which: replace::WhichReplacement,
        #[command(flatten)]
        stop: replace::StopArgs,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove what a finished or undone restore in its own place kept. It cannot be undone any more.
    Remove {
        #[command(flatten)]
        which: replace::WhichReplacement,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        wait: Wait,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, args: RestoreNowArgs) -> Result<()> {
    match args.command {
        Some(RestoreNowCommand::Many(args)) => many::begin(output, client, *args).await,
        Some(RestoreNowCommand::Set(command)) => many::run(output, client, command).await,
        Some(RestoreNowCommand::List(which)) => replace::list(output, client, &which).await,
        Some(RestoreNowCommand::Finish { which, wait }) => {
            replace::finish(output, client, &which, wait).await
        }
        Some(RestoreNowCommand::Undo { which, stop, yes, wait }) => {
            replace::undo(output, client, (&which, stop, yes), wait).await
        }
        Some(RestoreNowCommand::Remove { which, yes, wait }) => {
            replace::remove(output, client, (&which, yes), wait).await
        }
        None => one(output, client, args).await,
    }
}

/// The point that is meant: of the vault's, or of its second store's.
pub(crate) struct Meant {
    id: PointId,
    taken: Timestamp,
    disks: Vec<PointDisk>,
}

async fn one(output: &Output, client: &Client, args: RestoreNowArgs) -> Result<()> {
    let machine = args.machine.as_deref().expect("it is asked for where there is no subcommand");
    let item = names::item(client, &args.vault, machine).await?;
    let point = if args.from_copy {
        let CopiedPoint { point, taken, disks, .. } =
            super::copies::chosen(client, &item, &args.point).await?;
        Meant { id: point, taken, disks }
    } else {
        let point = names::point(client, &item, &args.point).await?;
        if args.rehydrate {
            super::archive::bring_near(client, &item, &point, model::archive::HELD_DAYS).await?;
        }
        let Point { id, taken, disks, .. } = point;
        Meant { id, taken, disks }
    };
    match &args.to {
        _ if args.replace => replace::replace(output, client, (&item, &point), args).await,
        Some(To::Folder(folder)) => {
            let folder = folder.clone();
            disks::restore(output, client, (&item, &point, &folder), args).await
        }
        _ => into::restore(output, client, (&item, &point), args).await,
    }
}
