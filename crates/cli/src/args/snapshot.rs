//! `strongroom rescue snapshot`.

use super::{Consistency, VaultArgs};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Snapshots with a vault and its key alone.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make snapshots of disks, all at one instant: one of each machine. Only what changed since the one before is read.
    Create(SnapshotCreateArgs),
    /// List snapshots, oldest first.
    List {
        #[command(flatten)]
        vault: VaultArgs,
        /// Only those of this machine.
        #[arg(long, value_name = "MACHINE")]
        machine: Option<String>,
        /// Those that were deleted and can still be had back, instead.
        #[arg(long)]
        deleted: bool,
        /// Measure what each takes up: what nothing else in the vault needs, and what it shares. Reads the maps of all
        /// points.
        #[arg(long, conflicts_with = "deleted")]
        used: bool,
    },
    /// List the ranges of a disk that changed from one snapshot to another, by whole blocks of 64 KiB.
    Diff {
        /// The snapshot before: its name, its id or the end of it.
        #[arg(value_name = "SNAPSHOT")]
        before: String,
        /// The snapshot after.
        #[arg(value_name = "SNAPSHOT")]
        after: String,
        #[command(flatten)]
        vault: VaultArgs,
        /// Which disk; may be left out where there is one.
        #[arg(long, value_name = "DISK")]
        disk: Option<String>,
    },
    /// Write a disk of a snapshot as a file: a new disk, or a VHD for others.
    Export {
        /// The snapshot: its name, its id or the end of it.
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        #[command(flatten)]
        vault: VaultArgs,
        /// What the file is to be.
        #[arg(long, value_enum)]
        format: FileFormat,
        /// The file; nothing is replaced.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Which disk; may be left out where there is one.
        #[arg(long, value_name = "DISK")]
        disk: Option<String>,
    },
    /// Delete a snapshot. It can be had back until a collection purges it, 14 days later; others are not touched by it.
    Delete {
        /// The snapshot: its name, its id or the end of it.
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Bring a deleted snapshot back.
    Undelete {
        /// The snapshot: its name, its id or the end of it.
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        #[command(flatten)]
        vault: VaultArgs,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SnapshotCreateArgs {
    /// Disks: a machine as `strongroom rescue machine list` shows it, and a disk of it if not all are meant.
    #[arg(value_name = "MACHINE[/DISK]", required_unless_present = "qmp")]
    pub(crate) targets: Vec<String>,
    /// The QMP socket of a machine that is not found by name.
    #[arg(long, value_name = "SOCKET", conflicts_with = "targets")]
    pub(crate) qmp: Option<PathBuf>,
    /// The socket of its guest agent.
    #[arg(long, value_name = "SOCKET", requires = "qmp")]
    pub(crate) agent: Option<PathBuf>,
    /// A disk of it; may be repeated; all if none is named.
    #[arg(long = "disk", value_name = "DISK", requires = "qmp")]
    pub(crate) disks: Vec<String>,
    /// The libvirt that has the machines, where that is not this host's `qemu:///system`.
    #[arg(long, value_name = "URI", conflicts_with = "qmp")]
    pub(crate) libvirt: Option<String>,
    /// What to call it.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// How consistent it should be.
    #[arg(long, value_enum, default_value_t = Consistency::Application)]
    pub(crate) consistency: Consistency,
    /// Where the frozen disks' overwritten blocks are kept meanwhile; the host must reach it.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
}

/// What a disk is exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// The bytes themselves, sparse.
    Raw,
    /// QEMU's own format.
    Qcow2,
    /// A fixed VHD of whole MiB, as Azure takes it.
    Vhd,
    /// A VHD that holds data alone.
    VhdDynamic,
}
