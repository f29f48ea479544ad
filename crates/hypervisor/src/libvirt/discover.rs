//! The machines that a libvirt knows, running or not.

use super::virsh::Virsh;
use crate::Result;
use std::collections::BTreeSet;

/// A machine of a libvirt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtAddress {
    /// The connection it was found on.
    pub uri: String,
    /// Its name: one of a kind in this libvirt.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// Whether it runs, is paused, or off.
    pub state: RunState,
    /// Whether libvirt keeps its definition when it is off.
    pub persistent: bool,
}

/// What a machine of libvirt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs.
    Running,
    /// It stands still, and can run on.
    Paused,
    /// It has a QEMU, but neither runs nor is paused: it shuts down, has crashed, or sleeps.
    Other,
    /// It has no QEMU.
    Off,
}

impl RunState {
    /// In a word, as libvirt says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Other => "other",
            Self::Off => "shut off",
        }
    }
}

/// All machines of the libvirt at `uri`, by name. A fixed few questions, however many machines there are.
///
/// # Errors
/// `Unreachable` when no libvirt answers there; `Unsupported` when virsh is not installed.
pub async fn discover(uri: &str) -> Result<Vec<LibvirtAddress>> {
    let virsh = Virsh::new(uri);
    let all = virsh.run(&["list", "--all", "--uuid", "--name"]).await?;
    let ids = async |filter: &[&str]| -> Result<BTreeSet<String>> {
        let listed = virsh.run(&[&["list", "--uuid"], filter].concat()).await?;
        Ok(listed.lines().map(|line| line.trim().to_owned()).collect())
    };
    let (active, running) = (ids(&[]).await?, ids(&["--state-running"]).await?);
    let (paused, persistent) = (ids(&["--state-paused"]).await?, ids(&["--all", "--persistent"]).await?);
    let state = |uuid: &str| match () {
        () if running.contains(uuid) => RunState::Running,
        () if paused.contains(uuid) => RunState::Paused,
        () if active.contains(uuid) => RunState::Other,
        () => RunState::Off,
    };
    let address = |line: &str| {
        let (uuid, name) = line.trim().split_once(' ')?;
        Some(LibvirtAddress {
            uri: uri.to_owned(),
            name: name.trim().to_owned(),
            uuid: uuid.to_owned(),
            state: state(uuid),
            persistent: persistent.contains(uuid),
        })
    };
    let mut domains: Vec<LibvirtAddress> = all.lines().filter_map(address).collect();
    domains.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(domains)
}
