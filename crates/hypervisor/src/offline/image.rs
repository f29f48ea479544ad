//! Which images a stopped machine has.

use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A disk image of a stopped machine.
#[derive(Clone, Debug)]
pub struct Image {
    /// The disk's name in points. Where the machine is also backed up while it runs, the name it has there.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it is. Never guessed from its content, which the machine may have written.
    pub format: Format,
    /// The file that holds its passphrase, all its bytes, if it is encrypted.
    pub key_file: Option<PathBuf>,
    /// Whether files that it refers to may lie outside of its own folder.
    pub may_reach_outside: bool,
}

/// A format of disk images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes themselves.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// Microsoft's older one, fixed or dynamic.
    Vpc,
    /// Microsoft's newer one.
    Vhdx,
    /// VMware's, in one file: sparse or compressed for transport.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Encrypted, LUKS version 1.
    Luks,
}

impl Format {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Luks => "luks",
        }
    }

    /// What the name of a file says that it is. Names are given by the host's owner, content by the guest.
    ///
    /// # Errors
    /// `Invalid` where the name leaves it open (`.img` may be anything).
    pub fn of_name(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|text| text.to_str()).unwrap_or_default();
        let unsaid = || {
            let text = format!("the name {} does not say which format the image has", path.display());
            Error::new(ErrorKind::Invalid, text)
        };
        extension.to_ascii_lowercase().parse().map_err(|_: Error| unsaid())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            "vpc" | "vhd" => Ok(Self::Vpc),
            "vhdx" => Ok(Self::Vhdx),
            "vmdk" => Ok(Self::Vmdk),
            "vdi" => Ok(Self::Vdi),
            "luks" => Ok(Self::Luks),
            _ => {
                let text = format!("{name:?} is no format: there are raw, qcow2, vhd, vhdx, vmdk, vdi, luks");
                Err(Error::new(ErrorKind::Invalid, text))
            }
        }
    }
}
