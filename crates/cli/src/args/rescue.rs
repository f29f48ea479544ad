//! The part of the command line that needs no server: vaults and their keys, points, this host's machines.

use super::RestoreCommand;
use crate::limits;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use hypervisor::DiskSelection;
use std::num::NonZeroU64;
use std::path::PathBuf;
use vault::StoreAddress;

/// What works with a vault and its key alone, on the host that has them.
#[derive(Debug, Subcommand)]
pub(crate) enum RescueCommand {
    /// Create and look at vaults, which keep recovery points.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Say who can open a vault, and change its data key.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Find the machines that run on this host, and make machines of images.
    #[command(subcommand)]
    Machine(HostMachineCommand),
    /// Back a machine up, running or stopped: all its disks at one instant, only what changed since its last point.
    Backup(BackupArgs),
    /// List and look at recovery points.
    #[command(subcommand)]
    Point(PointCommand),
    /// Snapshots: disks as they were at one instant, kept until somebody deletes them.
    #[command(subcommand)]
    Snapshot(Box<super::SnapshotCommand>),
    /// Bring a recovery point back: as disks, as a new machine, or in the place of the machine that it is of.
    #[command(subcommand)]
    Restore(Box<RestoreCommand>),
    /// Restore whatever can be read from a damaged vault, with its objects and a key alone.
    ///
    /// Finds every point whose object opens, whatever became of the log, the index, vault.json or the newest
    /// keyring, and whether the point was deleted or never committed. What is found nowhere is left as a hole
    /// and listed beside the image.
    Salvage(SalvageArgs),
    /// Start a machine at once on a recovery point, its data following while it runs.
    #[command(subcommand)]
    Instant(super::InstantCommand),
    /// Boot a recovery point where it can harm nothing, ask it whether it is good, and throw everything away.
    ///
    /// The machine has the point's disks, another uuid and other addresses, and network cards that are connected to
    /// nothing. Nothing is copied, and the vault is only read. It is proved if the guest's agent answers and all
    /// checks pass. Fails, with code 1, if it does not come up or a check fails.
    Drill(Box<super::DrillArgs>),
    /// Make images of generalised machines, from which others are made by `machine create`.
    #[command(subcommand)]
    Image(Box<super::ImageCommand>),
    /// Read a recovery point without restoring it.
    #[command(subcommand)]
    Nbd(NbdCommand),
    /// Look at the files in a recovery point and bring some of them out, without restoring it.
    #[command(subcommand)]
    Files(super::FilesCommand),
}

/// How a place of a vault is called.
pub(super) const LOCATION: &str = "URL|DIR";

/// Reads where a vault is.
pub(super) fn location() -> impl TypedValueParser<Value = StoreAddress> {
    OsStringValueParser::new().try_map(StoreAddress::parse)
}

/// Which vault, and the key that opens it.
#[derive(Debug, ClapArgs)]
pub(crate) struct VaultArgs {
    /// Where the vault is: a directory, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX.
    #[arg(long, env = "STRONGROOM_VAULT", value_name = LOCATION, value_parser = location())]
    pub(crate) vault: StoreAddress,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Where copies of the vault's index are kept [default: ~/.cache/strongroom]. May be deleted at any time.
    #[arg(long, env = "STRONGROOM_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// What opens a vault: any one of its holders.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    pub(crate) which: WhichKey,
    /// Open with an older keyring, because the newest is damaged: with the holders and data keys of its time.
    #[arg(long, value_name = "N")]
    pub(crate) keyring: Option<u32>,
}

/// Which holder's key; without any of these, STRONGROOM_KEY_FILE, STRONGROOM_PASSPHRASE, the default key file,
/// and at last the terminal are asked.
#[derive(Debug, Default, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct WhichKey {
    /// The vault's key file [env: STRONGROOM_KEY_FILE] [default: ~/.config/strongroom/keys/ID.key].
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A file whose first line is a passphrase of the vault; STRONGROOM_PASSPHRASE may hold it instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A file with a recovery key of the vault, as it was printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) recovery_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Create a vault in an empty place, and its key outside of it.
    Create {
        /// Where: a directory, which is made if it does not exist, s3://BUCKET/PREFIX or
        /// azure://ACCOUNT/CONTAINER/PREFIX.
        #[arg(value_name = LOCATION, value_parser = location())]
        location: StoreAddress,
        /// Where to write its key file [env: STRONGROOM_KEY_FILE] [default: ~/.config/strongroom/keys/ID.key].
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Make no recovery key: if the key file is lost, so is everything in the vault.
        #[arg(long)]
        no_recovery_key: bool,
    },
    /// Copy points to another place that holds the same vault: only what differs, oldest first.
    ///
    /// A replica has points, deletions and retention of its own: what is deleted in one place stays in the
    /// other, and what was deleted in the replica is not copied again.
    Copy(CopyArgs),
    /// Read everything again and name what is damaged, and which points it hurts. Changes nothing.
    Verify {
        #[command(flatten)]
        vault: VaultArgs,
        /// Only compare objects with the hashes they carry: quicker, and needs no key.
        #[arg(long)]
        scrub: bool,
    },
    /// Put right what is damaged: save what is whole of damaged packs, take the rest from another store of the same
    /// vault, and see to it that no new point builds on damage.
    ///
    /// Reads everything first and says what is damaged; changes nothing unless --yes is given. Deletes nothing.
    /// What no copy is found of is healed by the next `strongroom rescue backup --full` of a machine that still has it.
    Repair {
        #[command(flatten)]
        vault: VaultArgs,
        /// Another store of the same vault to take whole chunks from.
        #[arg(long, value_name = LOCATION, value_parser = location())]
        from: Option<StoreAddress>,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Free the space of what nothing needs any more: purge points deleted long ago, delete their packs, empty packs
    /// that are mostly garbage.
    ///
    /// Says what it would do and does nothing, unless --yes is given. Safe beside running backups.
    Collect {
        #[command(flatten)]
        vault: VaultArgs,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Purge deleted points after this many days.
        #[arg(long, value_name = "DAYS", default_value_t = 14)]
        keep_deleted: u32,
        /// Delete packs this many days after they were found to be garbage.
        #[arg(long, value_name = "DAYS", default_value_t = 3)]
        grace: u32,
        /// Allow more than half of the vault to be deleted in one run.
        #[arg(long)]
        allow_large: bool,
        /// Empty packs of which less than this many percent is needed, by moving that; 0 moves nothing.
        #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=90))]
        compact_below: u8,
    },
    /// Make the index anew from the packs, because it was damaged or lost. Safe beside running backups.
    ///
    /// Without an index everything can be restored, but what is backed up is stored again.
    Reindex {
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Show a vault: its format, size, and points per machine.
    Show {
        /// Where the vault is: a directory, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX.
        #[arg(env = "STRONGROOM_VAULT", value_name = LOCATION, value_parser = location())]
        location: StoreAddress,
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// What begins with `--new-` is what a holder gets; everything else opens the vault.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List who can open a vault. Needs no key.
    List {
        /// Where the vault is: a directory, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX.
        #[arg(long, env = "STRONGROOM_VAULT", value_name = LOCATION, value_parser = location())]
        vault: StoreAddress,
    },
    /// Let another key open a vault.
    Add {
        #[command(flatten)]
        vault: VaultArgs,
        #[command(flatten)]
        new: NewKeyArgs,
        /// What to call it in lists.
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// Keep a key from opening a vault from now on. `key rotate` afterwards seals what follows against it.
    Remove {
        /// The holder's id, or the beginning of it, as `strongroom rescue key list` shows it.
        #[arg(value_name = "HOLDER")]
        holder: String,
        #[command(flatten)]
        vault: VaultArgs,
        /// Only show what would be done.
        #[arg(long)]
        plan: bool,
    },
    /// Seal what is written from now on under a new data key. What is there stays as it is, and readable.
    Rotate {
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Make a new key file with the recovery key, because the old one is lost.
    Recover {
        /// Where the vault is: a directory, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX.
        #[arg(long, env = "STRONGROOM_VAULT", value_name = LOCATION, value_parser = location())]
        vault: StoreAddress,
        /// A file with the recovery key; it is asked for otherwise.
        #[arg(long, value_name = "FILE")]
        recovery_key_file: Option<PathBuf>,
        /// Where to write the new key file [default: ~/.config/strongroom/keys/ID.key].
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// Start from an older keyring, because the newest is damaged.
        #[arg(long, value_name = "N")]
        keyring: Option<u32>,
    },
}

/// The key that a new holder has.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct NewKeyArgs {
    /// A passphrase: asked for twice on the terminal, or what STRONGROOM_NEW_PASSPHRASE holds.
    #[arg(long, alias = "passphrase")]
    pub(crate) new_passphrase: bool,
    /// A passphrase: the first line of this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// A key file, written here.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// A recovery key, shown once, to be kept on paper.
    #[arg(long)]
    pub(crate) new_recovery_key: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostMachineCommand {
    /// List the machines of this host, of libvirt or not, and how they can be reached.
    List {
        /// List those of this libvirt instead, as `qemu+ssh://HOST/system`.
        #[arg(long, value_name = "URI")]
        libvirt: Option<String>,
    },
    /// Make machines of an image, each with a name, a uuid, addresses and a guest of its own.
    ///
    /// Their disks are overlays on one copy of the image, beside them in the folder. A disk for cloud-init tells each
    /// guest who it is.
    Create(Box<super::MachineCreateArgs>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuestCommand {
    /// Put the freeze hook into the guest and have its agent call it; replaces an older one of ours.
    InstallHooks {
        #[command(flatten)]
        machine: MachineArgs,
        /// Also our script for this application; may be several, separated by commas.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "APPLICATION")]
        with: Vec<Application>,
    },
    /// Say whether the guest has an agent and our hook, and which applications take part.
    Status {
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// Take the hook out of the guest again. Scripts and settings that are not ours stay.
    RemoveHooks {
        #[command(flatten)]
        machine: MachineArgs,
    },
}

/// An application that we bring a freeze script for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Application {
    /// A checkpoint just before.
    Postgresql,
    /// MariaDB and MySQL: the server's backup lock, held from freeze to thaw.
    Mariadb,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WatchdogArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// How long the freeze may take.
    #[arg(long)]
    pub(crate) limit_ms: u64,
    /// Where the freeze is written down.
    #[arg(long)]
    pub(crate) record: PathBuf,
}

/// Which machine, and how it is reached.
#[derive(Debug, ClapArgs)]
pub(crate) struct MachineArgs {
    /// Its name or id, as `strongroom rescue machine list` shows it. May be left out with --qmp.
    #[arg(value_name = "MACHINE", required_unless_present = "qmp")]
    pub(crate) machine: Option<String>,
    /// Its QMP socket, for a machine that is not found by name.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) qmp: Option<PathBuf>,
    /// The socket of its guest agent, for a machine that is not found by name.
    #[arg(long, value_name = "SOCKET", requires = "qmp")]
    pub(crate) agent: Option<PathBuf>,
    /// The libvirt that has it, where that is not this host's `qemu:///system`.
    #[arg(long, value_name = "URI", conflicts_with = "qmp")]
    pub(crate) libvirt: Option<String>,
}

/// A machine that does not run, by its disk images.
#[derive(Debug, ClapArgs)]
pub(crate) struct StoppedArgs {
    /// A disk of a stopped machine: its name, its image, the image's format if its name does not say it (raw, qcow2,
    /// vhd, vhdx, vmdk, vdi, luks), and the file with its passphrase if it is encrypted. May be repeated.
    #[arg(long = "image", id = "images", value_name = "NAME=PATH[,format=F][,key-file=FILE]", requires = "name",
          conflicts_with_all = ["machine", "qmp", "libvirt", "with"], value_parser = crate::images::parse)]
    pub(crate) images: Vec<hypervisor::offline::Image>,
    /// What the stopped machine is called.
    #[arg(long, value_name = "MACHINE", requires = "images")]
    pub(crate) name: Option<String>,
    /// Its uuid, if it has one while it runs: its points belong together then.
    #[arg(long, value_name = "UUID", requires = "images")]
    pub(crate) uuid: Option<uuid::Uuid>,
    /// Follow an image to files outside of its own folder.
    #[arg(long, requires = "images")]
    pub(crate) allow_outside: bool,
}

#[derive(Debug, ClapArgs)]
#[command(mut_arg("machine", |machine| machine.required_unless_present("images")))]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) stopped: StoppedArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// How consistent the point should be.
    #[arg(long, value_enum, default_value_t = Consistency::Application)]
    pub(crate) consistency: Consistency,
    /// Fail rather than make a point that is less consistent than asked for.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Read everything, even where it is known what changed.
    #[arg(long)]
    pub(crate) full: bool,
    /// Back this machine up too, at the very same instant, into a point of its own; may be repeated.
    #[arg(long, value_name = "MACHINE", conflicts_with = "qmp")]
    pub(crate) with: Vec<String>,
    /// Which disks: `all`, `include=DISK,...`, `exclude=DISK,...`, or `os-only` for the one it boots from.
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = limits::disks)]
    pub(crate) disks: DiskSelection,
    /// Read no faster than this, as 50MiB/s.
    #[arg(long, value_name = "RATE", value_parser = limits::rate)]
    pub(crate) limit: Option<NonZeroU64>,
    /// Do no more reads than this in a second.
    #[arg(long, value_name = "READS")]
    pub(crate) limit_iops: Option<NonZeroU64>,
    /// Read on at full speed even if the guest's writes become slower.
    #[arg(long)]
    pub(crate) no_back_off: bool,
    /// Blocks of each disk to compare with the last point although they are said to be unchanged.
    #[arg(long, value_name = "BLOCKS", default_value_t = mover::AUDIT_BLOCKS as u16, value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub(crate) audit: u16,
    /// Where the frozen disks' overwritten blocks are kept during the backup; the host must reach it.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
    /// How many seconds the guest may take to come to a stand, its applications included.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1800))]
    pub(crate) freeze_timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consistency {
    /// Programs in the guest brought to rest by its hooks, file systems frozen.
    Application,
    /// File systems frozen.
    FileSystem,
    /// As after a power cut; the guest agent is not asked.
    Crash,
}

/// Which point.
#[derive(Debug, ClapArgs)]
pub(crate) struct PointArgs {
    /// Its id, the end of its id, or `latest`.
    #[arg(value_name = "POINT")]
    pub(crate) point: String,
    /// Of which machine; needed for `latest` where the vault holds several.
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PointCommand {
    /// List recovery points, oldest first.
    List {
        #[command(flatten)]
        vault: VaultArgs,
        /// Only those of this machine.
        #[arg(long, value_name = "MACHINE")]
        machine: Option<String>,
        /// Those that were deleted and can still be had back, instead.
        #[arg(long)]
        deleted: bool,
    },
    /// Delete a recovery point. It can be had back until a collection purges it, 14 days later.
    Delete {
        #[command(flatten)]
        point: PointArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Bring a deleted recovery point back.
    Undelete {
        #[command(flatten)]
        point: PointArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Show all about one recovery point.
    Show {
        #[command(flatten)]
        point: PointArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SalvageArgs {
    /// Where the vault is: a directory, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX.
    #[arg(long, env = "STRONGROOM_VAULT", value_name = LOCATION, value_parser = location())]
    pub(crate) vault: StoreAddress,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The folder to restore into, a folder a point in it; made if it does not exist. Nothing in it is replaced.
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub(crate) to: Option<PathBuf>,
    /// Only this point: its id, or the end of it.
    #[arg(long, value_name = "POINT")]
    pub(crate) point: Option<String>,
    /// Only list the points that were found, and what is known of them.
    #[arg(long)]
    pub(crate) list: bool,
}

/// What is copied, and whither.
#[derive(Debug, ClapArgs)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// The replica: another place that holds the same vault, opened with the same key.
    #[arg(long, value_name = LOCATION, value_parser = location())]
    pub(crate) to: StoreAddress,
    /// Only this point: its id, the end of its id, or `latest`.
    #[arg(long, value_name = "POINT")]
    pub(crate) point: Option<String>,
    /// Only points of this machine.
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<String>,
    /// Make the replica if there is none: in an empty place, or a new directory.
    #[arg(long)]
    pub(crate) create: bool,
    /// Only show what would be copied.
    #[arg(long, conflicts_with = "create")]
    pub(crate) plan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    /// The bytes themselves, sparse.
    Raw,
    /// QEMU's own format.
    Qcow2,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NbdCommand {
    /// Serve a recovery point, read-only, until interrupted.
    ///
    /// Each disk is an export of its own name: qemu-img, nbdinfo and QEMU itself can read it, as in
    /// nbd+unix:///disk0?socket=/run/point.sock
    Serve {
        #[command(flatten)]
        point: PointArgs,
        #[command(flatten)]
        vault: VaultArgs,
        /// The Unix socket to serve on; removed when done.
        #[arg(long, value_name = "SOCKET")]
        socket: PathBuf,
        /// Only this disk; may be repeated. A single one is also the default export.
        #[arg(long = "disk", value_name = "DISK")]
        disks: Vec<String>,
    },
}
