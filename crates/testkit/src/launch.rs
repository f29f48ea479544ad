//! What a machine consists of, and QEMU's command line for it.

use crate::{Accel, Format, GuestImage};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The kernel's limit for the path of a Unix socket, with the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A disk of a machine: the graph below it, and its name in there.
#[derive(Clone, Debug)]
pub struct GuestDisk {
    /// The node the guest's device sits on; the device is `d-<node>`.
    pub node: String,
    /// The argument of `-blockdev`: any graph whose top is `node`.
    pub blockdev: Value,
    /// The image, if the disk is one file.
    pub path: Option<PathBuf>,
}

impl GuestDisk {
    /// An image file. The node of the file itself is `<node>-file`.
    pub fn file(node: &str, path: &Path, format: Format) -> Self {
        let file = json!({
            "driver": "file", "node-name": format!("{node}-file"), "filename": path, "discard": "unmap",
        });
        let blockdev = json!({
            "driver": format.name(), "node-name": node, "discard": "unmap", "file": file,
        });
        Self { node: node.into(), blockdev, path: Some(path.into()) }
    }
}

/// A machine to start. [`MachineOptions::new`] gives the usual one.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// The machine's name in QEMU.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
    /// Where its sockets and logs go. Must have a short path: sockets are limited to 107 bytes.
    pub folder: PathBuf,
    /// In the order the guest sees them: vda, vdb, …
    pub disks: Vec<GuestDisk>,
    /// What the guest mounts, `vda:ext4:/data0,vdb:xfs:/data1`; nothing if empty.
    pub mounts: String,
    /// The data directory of the database to run, if any.
    pub postgres: Option<String>,
    /// Whether the agent calls the freeze hook.
    pub hook: bool,
    /// More words for the kernel.
    pub append: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// How to execute; `None` finds out ([`Accel::probe`]).
    pub accel: Option<Accel>,
    /// More words for QEMU, at the end.
    pub arguments: Vec<String>,
}

impl MachineOptions {
    /// A machine with a random identity, both file systems, the database and the freeze hook.
    pub fn new(name: &str, folder: &Path, disks: Vec<GuestDisk>) -> Self {
        Self {
            name: name.into(),
            uuid: Uuid::new_v4(),
            folder: folder.into(),
            disks,
            mounts: "vda:ext4:/data0,vdb:xfs:/data1".into(),
            postgres: Some("/data0/pg".into()),
            hook: true,
            append: String::new(),
            memory_mib: 512,
            accel: None,
            arguments: Vec::new(),
        }
    }

    /// As [`MachineOptions::new`] without the database: seconds faster.
    pub fn without_postgres(mut self) -> Self {
        self.postgres = None;
        self
    }

    /// The socket of the monitor left to the product.
    pub(crate) fn qmp_socket(&self) -> PathBuf {
        self.folder.join("qmp.sock")
    }

    /// The socket of the harness's own monitor.
    pub(crate) fn harness_socket(&self) -> PathBuf {
        self.folder.join("qmp-harness.sock")
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    pub(crate) fn console_log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Everything after `qemu-system-x86_64`.
    pub(crate) fn command_line(&self, image: &GuestImage, accel: Accel) -> Result<Vec<String>> {
        let text = |path: &Path| path.display().to_string();
        let socket = |path: PathBuf| match path.as_os_str().len() {
            0..=SOCKET_PATH_BYTES_MAX => Ok(format!("unix:{},server=on,wait=off", text(&path))),
            _ => bail!("{} is too long for a socket; use a folder with a shorter path", text(&path)),
        };
        let agent = socket(self.agent_socket())?.replacen("unix:", "socket,id=qga0,path=", 1);
        // `pc` boots half a second sooner than `q35`.
        let pairs = [
            ("-name", self.name.clone()),
            ("-uuid", self.uuid.to_string()),
            ("-machine", "pc".into()),
            ("-m", self.memory_mib.to_string()),
            ("-display", "none".into()),
            ("-serial", format!("file:{}", text(&self.console_log()))),
            ("-qmp", socket(self.qmp_socket())?),
            ("-qmp", socket(self.harness_socket())?),
            ("-chardev", agent),
            ("-device", "virtio-serial-pci".into()),
            ("-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0".into()),
            ("-kernel", text(&image.kernel)),
            ("-initrd", text(&image.initramfs)),
            ("-append", self.kernel_line()),
        ];
        let mut line = vec!["-nodefaults".to_string(), "-no-user-config".into()];
        line.extend(pairs.into_iter().flat_map(|(option, value)| [option.to_string(), value]));
        line.extend(accel.arguments().map(String::from));
        for disk in &self.disks {
            let device =
                json!({"driver": "virtio-blk-pci", "drive": disk.node, "id": format!("d-{}", disk.node)});
            let [blockdev, device] = [disk.blockdev.to_string(), device.to_string()];
            line.extend(["-blockdev".into(), blockdev, "-device".into(), device]);
        }
        line.extend(self.arguments.iter().cloned());
        Ok(line)
    }

    pub(crate) fn kernel_line(&self) -> String {
        // Mitigations protect guests from one another; here they are a sixth of the boot.
        let mut words = vec!["console=ttyS0 quiet mitigations=off".to_string()];
        if !self.mounts.is_empty() {
            words.push(format!("m={}", self.mounts));
        }
        words.extend(self.postgres.iter().map(|folder| format!("pg={folder}")));
        if self.hook {
            words.push("hook=1".into());
        }
        words.push(self.append.clone());
        words.join(" ").trim_end().to_string()
    }
}
