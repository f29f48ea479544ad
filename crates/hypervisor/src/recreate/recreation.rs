//! What is wanted of a new machine, and what is told of it.

use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `sockaddr_un` holds 108 bytes with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A machine to be made of a point's description.
#[derive(Clone, Debug)]
pub struct Recreation {
    /// What it is to be called.
    pub name: String,
    /// Its uuid.
    pub uuid: Identity,
    /// The addresses of its network cards.
    pub macs: Macs,
    /// What its cards are connected to.
    pub network: Network,
    /// Virtual processors; none: as many as it had.
    pub cpus: Option<u32>,
    /// Memory in bytes; none: as much as it had.
    pub memory_bytes: Option<u64>,
    /// Its disks and the files of its firmware. They need not exist yet.
    pub disks: Vec<RestoredFile>,
    /// Where its sockets, logs and pid file go. The folder is made when it is started.
    pub folder: PathBuf,
    /// Whether its disks are overlays over the exports of a server, each of its disk's name.
    pub over: Option<OverServer>,
}

/// A server that has what is missing in a machine's disks, and may go away while the machine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverServer {
    /// Where it listens.
    pub socket: PathBuf,
    /// Seconds that reads wait for it when it went away; then the guest is stopped.
    pub patience_s: u64,
    /// Where the machine is to have one more monitor, of whoever has the data follow.
    pub monitor: PathBuf,
}

/// A machine's uuid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As it was. Two machines of one uuid are one to libvirt, and to backups.
    Keep,
    /// This one.
    New(String),
}

/// The addresses of a machine's network cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Macs {
    /// As they were.
    Keep,
    /// New ones of QEMU's range, made of this random number.
    New(u64),
}

/// What a machine's network cards are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// As they were.
    Keep,
    /// Nothing: the cards are there, and no frame leaves or comes.
    Disconnected,
    /// A network that leads nowhere. Of QEMU's own machines each gets one, with addresses given out in it; libvirt's
    /// meet in [`ISOLATED_NETWORK`](Self::ISOLATED_NETWORK).
    Isolated,
    /// Bridges, networks or interfaces by these names become those. A card on none of them stays where it was, and is
    /// told.
    Remap(BTreeMap<String, String>),
}

impl Network {
    /// libvirt's network for isolated machines; whoever has it is asked to make it, once.
    pub const ISOLATED_NETWORK: &'static str = "strongroom-isolated";
}

/// A disk, or a file of its firmware, that a machine is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredFile {
    /// Its name in the point.
    pub disk: String,
    /// The file.
    pub path: PathBuf,
    /// `raw` or `qcow2`.
    pub format: String,
}

/// Something of the original that the new machine has not, or has in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What it is.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// How the new machine's QEMU is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuPlan {
    /// QEMU itself.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The machine's folder.
    pub folder: PathBuf,
    /// Its monitor.
    pub qmp: PathBuf,
    /// Its guest agent's socket, if it has one.
    pub agent: Option<PathBuf>,
    /// Its TPM, if it has one.
    pub tpm: Option<TpmPlan>,
    /// What it has not, or differently.
    pub left_out: Vec<LeftOut>,
}

/// An emulated TPM over restored state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmPlan {
    /// The folder of its state.
    pub state: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Whether it is a TPM 2.0.
    pub version_2: bool,
}

impl QemuPlan {
    /// Where QEMU writes its process number.
    pub fn pid_file(&self) -> PathBuf {
        self.folder.join(PID_FILE)
    }

    /// What QEMU says.
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG_FILE)
    }
}

const PID_FILE: &str = "qemu.pid";
const LOG_FILE: &str = "qemu.log";

impl Recreation {
    pub(super) fn disk(&self, name: &str) -> Option<&RestoredFile> {
        self.disks.iter().find(|file| file.disk == name)
    }

    /// Refuses what no machine could be made of.
    pub(super) fn check(&self) -> Result<()> {
        let is_name = |c: char| !c.is_control() && !matches!(c, '/' | ',');
        if self.name.is_empty() || !self.name.chars().all(is_name) {
            return Err(refused(format!("{:?} is no name for a machine", self.name)));
        }
        if !self.folder.is_absolute() || self.disks.iter().any(|file| !file.path.is_absolute()) {
            return Err(refused("the folder and the disks of a new machine need absolute paths"));
        }
        if self.cpus == Some(0) || self.memory_bytes == Some(0) {
            return Err(refused("a machine needs a processor and memory"));
        }
        Ok(())
    }

    /// A file of the machine's folder that a socket is to be.
    pub(super) fn socket(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(refused(format!(
                "{} is too long a path for a socket; choose a shorter folder",
                path.display()
            )));
        }
        Ok(path)
    }
}

/// A new address in QEMU's range, of the card that is the n-th, from 0, of a machine with [`Macs::New`] and this number.
pub fn new_mac(random: u64, card: usize) -> String {
    // SplitMix64's last steps: neighbours must not look alike, nothing more.
    let mut mixed = random.wrapping_add((card as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [_, _, _, _, _, a, b, c] = (mixed ^ (mixed >> 31)).to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// What cannot be done, before anything was.
pub(super) fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, format!("make the machine again: {}", text.into()))
}

/// A path as text; QEMU and libvirt take no other.
pub(super) fn text_of(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| refused(format!("{} is no text", path.display())))
}
