//! Movers come to a server, and tell it of their hosts' machines.

use crate::{MachineDisk, MachineState};
use model::HostId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use utoipa::ToSchema;

/// A mover that wants to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// What it is to be called: usually its host's name.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// The one-time token that an administrator made.
    pub token: String,
}

/// A mover that has joined.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// Its own token from now on.
    pub token: String,
    /// The host it stands for.
    pub host: HostId,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joined({})", self.host)
    }
}

/// A host that a mover is to speak with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssignedHost {
    /// Its id.
    pub id: HostId,
    /// `local`, or a libvirt URI.
    pub address: String,
}

/// The machines of a host, all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The host.
    pub host: HostId,
    /// Its machines.
    #[schema(max_items = 10000)]
    pub machines: Vec<SeenMachine>,
}

/// A machine as its hypervisor tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeenMachine {
    /// A uuid, or its name where it has none.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: MachineState,
    /// Its disks, if they could be told.
    pub disks: Vec<MachineDisk>,
    /// Why it cannot be backed up as it is: it has no monitor that anybody could speak with...
    #[serde(default)]
    pub obstacle: Option<String>,
    /// All else that is told.
    pub description: Value,
}
