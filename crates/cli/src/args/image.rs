//! The part of the command line that makes images of machines and machines of images.

use super::{StopArgs, VaultArgs, location};
use crate::targets;
use clap::Args as ClapArgs;
use clap::Subcommand;
use hypervisor::recreate::Network;
use model::image::{ImageName, ImageRef, MACHINES_MAX};
use std::path::PathBuf;
use vault::StoreAddress;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make the disks of a generalised machine, stopped, the next version of an image.
    ///
    /// They are looked into first: what belongs to one machine alone (host keys, the machine's id, what cloud-init
    /// remembers) is told, and the image refused. A running machine can be generalised through its guest agent, and is
    /// shut down for it; one that is off on its disks, by virt-sysprep.
    Create(Box<ImageCreateArgs>),
    /// List images and their versions.
    List {
        /// Only this one.
        #[arg(value_name = "NAME")]
        name: Option<ImageName>,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Show a version of an image: what it was made of, and who stands on it on this host.
    Show {
        #[command(flatten)]
        image: ImageArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Copy a version to another place that holds the same vault, as one in another region.
    Copy(Box<ImageCopyArgs>),
    /// Delete a version; it can be had back until it is purged. Refused while machines of this host need it.
    Delete {
        #[command(flatten)]
        image: ImageArgs,
        #[command(flatten)]
        vault: VaultArgs,
        /// Have the machines that need it stand alone first.
        #[arg(long)]
        flatten: bool,
    },
    /// Serve an image again to machines that were started on it at once, and fetch the rest of it.
    Serve {
        #[command(flatten)]
        copy: CopyFolderArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Have machines stand alone, running or not: their disks get the data that they read from the image's copy.
    Flatten {
        #[command(flatten)]
        copy: CopyFolderArgs,
        /// Only this machine; may be repeated.
        #[arg(long, value_name = "NAME")]
        machine: Vec<String>,
        #[command(flatten)]
        vault: VaultArgs,
    },
}

/// Which version of an image.
#[derive(Debug, ClapArgs)]
pub(crate) struct ImageArgs {
    /// The image and its version, as `web:3`; `web` alone is the newest that is not left out.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: ImageRef,
}

/// Which copy of an image on this host.
#[derive(Debug, ClapArgs)]
pub(crate) struct CopyFolderArgs {
    /// The folder of the image's copy, among its machines: image-NAME-VERSION.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ImageCopyArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// Where the replica is.
    #[arg(long, value_name = super::LOCATION, value_parser = location())]
    pub(crate) to: StoreAddress,
    /// Make the replica if that place is empty.
    #[arg(long)]
    pub(crate) create: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ImageCreateArgs {
    /// What the image is called. It gets one more version.
    #[arg(value_name = "NAME")]
    pub(crate) name: ImageName,
    #[command(flatten)]
    pub(crate) source: ImageSourceArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// Generalise the guest through its agent before it is shut down, or, if it is off, on its disks by virt-sysprep
    /// (Debian: guestfs-tools). Says what it would do, unless --yes is given.
    #[arg(long, conflicts_with = "specialized")]
    pub(crate) generalize: bool,
    /// Do it.
    #[arg(long, requires = "generalize")]
    pub(crate) yes: bool,
    /// Take the machine although it is not generalised, or nobody can say: its machines share what is found.
    #[arg(long)]
    pub(crate) specialized: bool,
    /// Leave this version out when none is said.
    #[arg(long)]
    pub(crate) exclude_from_latest: bool,
    /// A folder for sockets while the disks are read.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
}

/// What an image is made of.
#[derive(Debug, ClapArgs)]
pub(crate) struct ImageSourceArgs {
    /// The machine, by its name or id, as `strongroom rescue machine list` shows it.
    #[arg(long, value_name = "MACHINE", required_unless_present_any = ["qmp", "images"])]
    pub(crate) from: Option<String>,
    /// Its QMP socket, for a machine that is not found by name.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) qmp: Option<PathBuf>,
    /// The socket of its guest agent, for a machine that is not found by name.
    #[arg(long, value_name = "SOCKET", requires = "qmp")]
    pub(crate) agent: Option<PathBuf>,
    /// The libvirt that has it, where that is not this host's `qemu:///system`.
    #[arg(long, value_name = "URI", conflicts_with = "qmp")]
    pub(crate) libvirt: Option<String>,
    /// Instead: a disk of a machine that is stopped, by the name it has in points. May be repeated.
    #[arg(long = "image", id = "images", value_name = "NAME=PATH[,format=F]", requires = "like",
          conflicts_with_all = ["from", "qmp", "libvirt"], value_parser = crate::images::parse)]
    pub(crate) images: Vec<hypervisor::offline::Image>,
    /// A point of that machine, made while it ran: it tells how the machine is started.
    #[arg(long, value_name = "POINT", requires = "images")]
    pub(crate) like: Option<String>,
    /// Follow an image to files outside of its own folder.
    #[arg(long)]
    pub(crate) allow_outside: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct MachineCreateArgs {
    /// The image and its version, as `web:3`; `web` alone is the newest that is not left out.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: ImageRef,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MACHINES_MAX)))]
    pub(crate) count: u32,
    /// What they, and their guests, are called: {} becomes the number.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The first number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) first: u32,
    /// The folder in which each gets one of its name, and the image a copy that they share. Made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// Copy all of the image for each: they stand alone.
    #[arg(long, conflicts_with = "at_once")]
    pub(crate) full: bool,
    /// Do not wait for the image's copy: it is filled while the machines run, and this program stays until no machine
    /// needs it. Of QEMU's own machines only.
    #[arg(long, requires = "start")]
    pub(crate) at_once: bool,
    /// With --at-once: how many seconds guests' reads wait for this program, should it die, before they are stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) patience: u64,
    /// Start them.
    #[arg(long)]
    pub(crate) start: bool,
    /// Their network: `keep`, `disconnected`, `isolated`, or `remap=OLD:NEW,...` of bridges, networks or interfaces.
    #[arg(long, value_name = "NETWORK", default_value = "keep", value_parser = targets::network)]
    pub(crate) network: Network,
    /// So many virtual processors each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) cpus: Option<u32>,
    /// So much memory each, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) memory: Option<u64>,
    /// The libvirt to define them in, of this host. Without it machines of libvirt's go to qemu:///system, and those of
    /// QEMU's own get a start.sh.
    #[arg(long, value_name = "URI")]
    pub(crate) uri: Option<String>,
    /// A file with what cloud-init is told besides who the guest is: its user data.
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<PathBuf>,
}
