//! What a machine is, in values that can be stored with its recovery points.

use crate::qmp::Version;
use serde::{Deserialize, Serialize};

/// A machine as its hypervisor describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineDescription {
    /// Its name, where QEMU was told one.
    pub name: Option<String>,
    /// Its uuid, where QEMU was told one.
    pub uuid: Option<String>,
    /// QEMU's word for its state: `running`, `paused`...
    pub status: String,
    /// Whether this was read from the images of a stopped machine. Such a point leaves no record of changes behind
    /// and is no parent ([`offline`](crate::offline)).
    #[serde(default)]
    pub stopped: bool,
    /// QEMU's version.
    pub qemu: Version,
    /// Virtual processors now plugged.
    pub cpus: u64,
    /// Memory now plugged.
    pub memory_bytes: u64,
    /// Its writable disks.
    pub disks: Vec<DiskDescription>,
    /// The id of the disk that it boots from, as far as that can be told.
    #[serde(default)]
    pub boot: Option<String>,
    /// Drives that are not protected.
    pub skipped: Vec<SkippedDrive>,
    /// QEMU's command line, empty where it cannot be read. Hot-plugged devices are not in it.
    pub argv: Vec<String>,
    /// The folder that relative paths of `argv` start from, where it can be read.
    #[serde(default)]
    pub folder: Option<String>,
    /// Its definition as its manager keeps it, verbatim: libvirt's domain XML. `None` where there is no manager.
    #[serde(default)]
    pub definition: Option<String>,
    /// Its network cards.
    #[serde(default)]
    pub nics: Vec<NicDescription>,
    /// Devices with an id that are not in `argv`: plugged in since its start.
    #[serde(default)]
    pub plugged_later: Vec<DeviceDescription>,
    /// What its firmware remembers. The bytes are in the point, as a disk of that name.
    #[serde(default)]
    pub firmware: Vec<FirmwareDescription>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicDescription {
    /// Its id, or its place in QEMU's object tree.
    pub id: String,
    /// What it is: `virtio-net-pci`...
    pub driver: String,
    /// Its address.
    pub mac: String,
    /// The id of what it is connected to.
    pub netdev: Option<String>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDescription {
    /// Its id.
    pub id: String,
    /// What it is.
    pub driver: String,
}

/// A file in which firmware remembers something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareDescription {
    /// The name of its bytes in a point.
    pub name: String,
    /// What it is.
    pub kind: FirmwareKind,
    /// Where it lies on the host.
    pub file: String,
}

/// Who remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareKind {
    /// UEFI: its variables, in a flash memory that is a drive of QEMU and is frozen with the disks.
    Nvram,
    /// An emulated TPM: a file of its `swtpm`.
    Tpm,
}

/// A writable disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDescription {
    /// What it is known by from one start of QEMU to the next: the device's id, else the node's or drive's
    /// name, else the device's place in the machine.
    pub id: String,
    /// The guest's device, as a path in QEMU's object tree.
    pub device: String,
    /// The block node it stands on. Names with `#` are new at every start.
    pub node: String,
    /// Its format: `qcow2`, `raw`...
    pub format: String,
    /// Its file, or what QEMU calls it when it is no local file.
    pub file: String,
    /// Size as the guest sees it.
    pub size: u64,
    /// Whether its format keeps dirty bitmaps over a restart of QEMU.
    pub keeps_bitmaps: bool,
}

/// A drive that is not protected, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedDrive {
    /// Its name, made as a disk's id.
    pub id: String,
    /// `no medium`, `read-only`...
    pub reason: String,
}
