//! The forms of restore.

use super::{ImageFormat, PointArgs, VaultArgs};
use crate::targets::{self, Network, To};
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Bring disks back as image files in a folder, or into exports of an NBD server.
    Disks(DisksArgs),
    /// Write only what differs into images or block devices that hold another state of the disks.
    ///
    /// The machine must be off. If this is killed, FILE.restoring lies beside an image until the same command has
    /// finished it.
    Into(IntoArgs),
    /// Make a new machine of a point: its disks in a folder, defined in libvirt or started by QEMU.
    Machine(MachineRestoreArgs),
    /// Put a machine back to a point, in its own place.
    ///
    /// Its present state becomes a point first. The restored disks take the names of the originals, which are kept
    /// beside them until `restore remove`. Every step is written down in a journal, for `restore finish` and
    /// `restore undo`.
    Replace(ReplaceArgs),
    /// Go on with a replacement that was interrupted.
    Finish(FinishArgs),
    /// Take a replacement back, however far it came. What the machine wrote since is kept beside its disks.
    Undo(UndoArgs),
    /// Remove what a finished or undone replacement kept. Shows it, and does nothing unless --yes is given.
    Remove {
        /// The replacement's journal: strongroom-restore-ID.json beside the machine's first disk.
        #[arg(value_name = "JOURNAL")]
        journal: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DisksArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// The folder to restore into, made if it does not exist, nothing in it replaced; or an NBD server,
    /// nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH. Without an EXPORT each disk goes to that of its name.
    #[arg(long, value_name = "DIR|NBD-URL", value_parser = targets::to())]
    pub(crate) to: To,
    /// What the images are to be.
    #[arg(long, value_enum, default_value_t = ImageFormat::Qcow2)]
    pub(crate) format: ImageFormat,
    /// Only this disk; may be repeated.
    #[arg(long = "disk", value_name = "DISK")]
    pub(crate) disks: Vec<String>,
    /// Of an NBD server: read the export, and write only what differs.
    #[arg(long)]
    pub(crate) differences: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct IntoArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// A disk of the point, what is there to restore it into, and its format if its name does not say it (raw or
    /// qcow2). May be repeated.
    #[arg(long = "image", value_name = "DISK=PATH[,format=F]", required = true,
          value_parser = crate::images::parse)]
    pub(crate) images: Vec<hypervisor::offline::Image>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct MachineRestoreArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// What the new machine is to be called.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The folder for its disks, made if it does not exist. Nothing in it is replaced.
    #[arg(long, value_name = "DIR")]
    pub(crate) storage: PathBuf,
    /// What the disks are to be.
    #[arg(long, value_enum, default_value_t = ImageFormat::Qcow2)]
    pub(crate) format: ImageFormat,
    #[command(flatten)]
    pub(crate) machine: NewMachineArgs,
}

/// What becomes of a machine that is made of a point.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewMachineArgs {
    /// Its network: `keep`, `disconnected`, `isolated`, or `remap=OLD:NEW,...` of bridges, networks or interfaces.
    #[arg(long, value_name = "NETWORK", default_value = "keep", requires = "name", value_parser = targets::network)]
    pub(crate) network: Network,
    /// Give its network cards new addresses.
    #[arg(long, requires = "name")]
    pub(crate) new_mac: bool,
    /// Give it a new uuid: a machine of its own to libvirt and to backups.
    #[arg(long, requires = "name")]
    pub(crate) new_uuid: bool,
    /// So many virtual processors.
    #[arg(long, value_name = "N", requires = "name", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) cpus: Option<u32>,
    /// So much memory, in MiB.
    #[arg(long, value_name = "MIB", requires = "name", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) memory: Option<u64>,
    /// Start it.
    #[arg(long, requires = "name")]
    pub(crate) start: bool,
    /// The libvirt to define it in, of this host. Without it a machine of libvirt's goes to qemu:///system, and one
    /// of QEMU's own gets a start.sh.
    #[arg(long, value_name = "URI", requires = "name")]
    pub(crate) uri: Option<String>,
    /// Where its sockets and logs go [default: run in its storage]. A socket's path has 107 characters at most.
    #[arg(long, value_name = "DIR", requires = "name")]
    pub(crate) run_folder: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReplaceArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// The libvirt that has the machine [default: qemu:///system, if the point is of a machine of libvirt's].
    #[arg(long, value_name = "URI")]
    pub(crate) uri: Option<String>,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// Do not make a point of the present state first. What is lost then are the originals, once they are removed.
    #[arg(long)]
    pub(crate) no_safety_point: bool,
    /// A folder for sockets while the present state is read.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
}

/// How a running machine is stopped; without either it is refused.
#[derive(Clone, Copy, Debug, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct StopArgs {
    /// Ask the guest to shut down, if it runs.
    #[arg(long)]
    pub(crate) stop: bool,
    /// Cut its power, if it runs.
    #[arg(long)]
    pub(crate) power_off: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FinishArgs {
    /// The replacement's journal: strongroom-restore-ID.json beside the machine's first disk.
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: PathBuf,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// A folder for sockets while the present state is read.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UndoArgs {
    /// The replacement's journal: strongroom-restore-ID.json beside the machine's first disk.
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: PathBuf,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
}
