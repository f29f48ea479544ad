//! Hosts and machines.

use jiff::Timestamp;
use model::{HostId, MachineId, VaultId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// A host that runs machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// What people call it.
    pub name: String,
    /// How its machines are found: `local` (all of the mover's own host), or a libvirt URI.
    pub address: String,
    /// The mover that speaks with it: `server` for the one within the server.
    pub mover: String,
    /// When it last told of its machines.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen: Option<Timestamp>,
}

/// A host to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHost {
    /// 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// `local`, or a libvirt URI such as `qemu:///system`.
    #[serde(default = "local")]
    pub address: String,
    /// The mover that can reach it; the server's own if not said.
    #[serde(default)]
    pub mover: Option<String>,
}

fn local() -> String {
    "local".to_owned()
}

/// A machine that a host has told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// Its id; stays when it is renamed.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub host: HostId,
    /// What its hypervisor knows it by.
    pub known_as: String,
    /// What people sort it by.
    pub tags: BTreeMap<String, String>,
    /// Whether it runs, as last told.
    pub state: MachineState,
    /// Its disks, as last told.
    pub disks: Vec<MachineDisk>,
    /// Whether it is protected.
    pub standing: MachineStanding,
    /// Why it cannot be backed up as it is.
    pub obstacle: Option<String>,
    /// The vault that has points of it, or is to have.
    pub vault: Option<VaultId>,
    /// Its item there.
    #[schema(value_type = Option<Uuid>)]
    pub item: Option<Uuid>,
    /// When it was last seen.
    #[schema(value_type = String, format = DateTime)]
    pub seen: Timestamp,
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It does.
    Running,
    /// It does not.
    Stopped,
    /// Nobody could tell.
    Unknown,
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineDisk {
    /// Its name, as policies and restores take it.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Whether the machine starts from it.
    pub is_os: bool,
}

/// How a machine stands to protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineStanding {
    /// A policy holds.
    Protected,
    /// None does, and one could.
    Protectable,
    /// None does, but a vault has points of it.
    Stopped,
    /// None does, and none could now: `obstacle` says why.
    Unprotectable,
}

/// What people sort machines by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// 50 at most; keys of 1 to 128 characters, values of at most 256.
    pub tags: BTreeMap<String, String>,
}

/// A mover, as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mover {
    /// Its name: `server` for the one within the server.
    pub name: String,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    pub joined: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen: Option<Timestamp>,
}
