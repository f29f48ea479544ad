//! The part of the command line that starts machines at once.

use super::{NewMachineArgs, PointArgs, VaultArgs};
use crate::limits;
use clap::{Args as ClapArgs, Subcommand};
use std::num::NonZeroU64;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum InstantCommand {
    /// Prepare a folder from which a machine starts at once on a point, and serve it until its data has followed.
    ///
    /// With --name the machine is made as `restore machine` makes it, and started with --start. Otherwise what to give
    /// to QEMU or libvirt is printed. What the guest writes stays in the folder's images. Interrupted or
    /// killed, it is gone on with by `resume`; until then the guest waits.
    Start(Box<InstantStartArgs>),
    /// Show how far it is.
    Status(FolderArgs),
    /// Serve again, let a guest that waits run on, and have the rest of its data follow.
    Resume {
        #[command(flatten)]
        folder: FolderArgs,
        #[command(flatten)]
        vault: VaultArgs,
        #[command(flatten)]
        options: InstantArgs,
    },
    /// Complete the images of a machine that does not run.
    Finish {
        #[command(flatten)]
        folder: FolderArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Give it up: delete the images, with all that the guest wrote. Says what it would delete, unless --yes is given.
    Discard {
        #[command(flatten)]
        folder: FolderArgs,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InstantStartArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// The folder for the images, empty or to be made. Its path must be short: it holds sockets.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Make the machine, and call it this.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["qmp", "libvirt", "domain"])]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) machine: NewMachineArgs,
    #[command(flatten)]
    pub(crate) door: DoorArgs,
    #[command(flatten)]
    pub(crate) options: InstantArgs,
    /// How many seconds the guest's reads wait for a server that died, before the guest is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) patience: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FolderArgs {
    /// The folder it was started in.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// How the restored machine will be reached; without these, by a monitor in the folder.
#[derive(Debug, ClapArgs)]
pub(crate) struct DoorArgs {
    /// A QMP socket of the machine that nobody else uses [default: DIR/qmp.sock].
    #[arg(long, value_name = "SOCKET", conflicts_with = "libvirt")]
    pub(crate) qmp: Option<PathBuf>,
    /// The libvirt that will run the machine.
    #[arg(long, value_name = "URI", requires = "domain")]
    pub(crate) libvirt: Option<String>,
    /// What the machine is called there.
    #[arg(long, value_name = "NAME", requires = "libvirt")]
    pub(crate) domain: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InstantArgs {
    /// Have the data of each disk follow no faster than this, as 50MiB/s. What the guest itself reads is not slowed.
    #[arg(long, value_name = "RATE", value_parser = limits::rate)]
    pub(crate) limit: Option<NonZeroU64>,
}
