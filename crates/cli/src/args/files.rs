//! The part of the command line that brings single files out of a point.

use super::{PointArgs, VaultArgs};
use clap::{ArgGroup, Args as ClapArgs, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// How a place in a point is written.
pub(crate) const PLACE: &str = "VOLUME:/PATH";

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// List the partitions and logical volumes, what they hold, and which of them have files that can be read.
    Volumes {
        #[command(flatten)]
        point: PointArgs,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// List a folder.
    Ls {
        #[command(flatten)]
        point: PointArgs,
        /// The folder, as vda1:/etc; /etc alone if only one volume has files. Without it, the volumes.
        #[arg(value_name = PLACE)]
        place: Option<OsString>,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Write a file to standard output.
    Cat {
        #[command(flatten)]
        point: PointArgs,
        /// The file, as vda1:/etc/hosts; links are followed within the volume.
        #[arg(value_name = PLACE)]
        place: OsString,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Bring a file, or a folder with all that lies in it, out: into a folder of this host, or as a tar or zip stream.
    ///
    /// Owners (if we are root), modes, times, links and holes come along; devices, pipes and sockets do not. What
    /// cannot be read is named, and the exit code is 10 then.
    Get(FilesGetArgs),
    /// Find files by name, beneath a folder.
    Find(FilesFindArgs),
    /// Show all volumes that have files as folders in a folder of this host, read-only, until interrupted.
    ///
    /// `fusermount3 -u DIR` ends it too. The folder is its owner's alone, who reads all of it whatever the modes say.
    /// What cannot be read rightly is an error of that file.
    Mount {
        #[command(flatten)]
        point: PointArgs,
        /// The folder to mount at.
        #[arg(value_name = "DIR")]
        at: PathBuf,
        #[command(flatten)]
        vault: VaultArgs,
    },
}

#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("target").required(true))]
pub(crate) struct FilesGetArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    /// The file or folder, as vda1:/etc.
    #[arg(value_name = PLACE)]
    pub(crate) place: OsString,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// Into this folder, which must be empty or not exist.
    #[arg(long, value_name = "DIR", group = "target")]
    pub(crate) to: Option<PathBuf>,
    /// As a tar archive into this new file; `-` is standard output.
    #[arg(long, value_name = "FILE", group = "target")]
    pub(crate) tar: Option<PathBuf>,
    /// As a zip archive into this new file; `-` is standard output.
    #[arg(long, value_name = "FILE", group = "target")]
    pub(crate) zip: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FilesFindArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    /// Beneath this folder, as vda1:/home [default: every volume that has files].
    #[arg(value_name = PLACE)]
    pub(crate) place: Option<OsString>,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    /// What the whole name is: `*`, `?` and `[...]` as in a shell.
    #[arg(long, value_name = "GLOB", required_unless_present = "regex", conflicts_with = "regex")]
    pub(crate) name: Option<String>,
    /// A regular expression that is found in the name.
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// Capitals and small letters are the same.
    #[arg(long)]
    pub(crate) ignore_case: bool,
    /// Stop after so many.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) limit: u32,
}
