//! Many machines restored as one.

use crate::{JobError, NewNetwork, RestoreFormat};
use jiff::Timestamp;
use model::restores::RestoreSetState;
use model::{JobId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A wish to restore many machines, each to a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRestoreSet {
    /// Which machines, in the order in which they begin as there is room.
    #[schema(min_items = 1, max_items = 1000)]
    pub machines: Vec<SetMachine>,
    /// Of machines that name no point: the newest that is not younger than this; the newest if not said.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub before: Option<Timestamp>,
    /// Take all of them from the vault's second store.
    #[serde(default)]
    pub from_copy: bool,
    /// An absolute path on the movers' hosts, which is there. Machines that name no folder get one of their name in it.
    pub folder: String,
    /// What the images are to be.
    #[serde(default)]
    pub format: RestoreFormat,
    /// The mover that writes what names none; the one that backed the machine up if not said.
    #[serde(default)]
    pub mover: Option<String>,
    /// Make a new machine of each; none if not said: disks alone.
    #[serde(default)]
    pub as_machines: Option<SetNewMachines>,
    /// How many at once.
    #[serde(default)]
    pub limits: SetLimits,
    /// Begin nothing more once one has failed.
    #[serde(default)]
    pub stop_on_failure: bool,
}

/// One of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMachine {
    /// The item.
    pub item: Uuid,
    /// The point.
    #[serde(default)]
    pub point: Option<PointId>,
    /// It begins when all of lower groups are over.
    #[serde(default)]
    pub group: u16,
    /// The folder for its disks, instead of one of its name.
    #[serde(default)]
    pub folder: Option<String>,
    /// What the new machine is called, instead of its name with what comes before and behind it.
    #[serde(default)]
    pub name: Option<String>,
    /// The mover that writes it.
    #[serde(default)]
    pub mover: Option<String>,
}

/// What all new machines of a set have in common. Each has a uuid and addresses of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetNewMachines {
    /// Comes before each name.
    #[serde(default)]
    pub prefix: String,
    /// Comes behind each name.
    #[serde(default)]
    pub suffix: String,
    /// What their network cards are connected to.
    #[serde(default)]
    pub network: NewNetwork,
    /// Start each once its disks are there.
    #[serde(default)]
    pub start: bool,
    /// The libvirt of the mover's host that is to have them.
    #[serde(default)]
    pub libvirt: Option<String>,
}

/// How many may be under way at once. What is not said is as many as there may be in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimits {
    /// In all; 4 if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub at_once: Option<u16>,
    /// At one mover.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub per_mover: Option<u16>,
    /// Out of one store: the vault's, or its snapshot tier's.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub per_store: Option<u16>,
    /// Into one folder: that in which machines get theirs.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub per_target: Option<u16>,
}

/// Many machines that are restored as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreSet {
    /// Its id.
    pub id: Uuid,
    /// The vault.
    pub vault: VaultId,
    /// Where it is.
    pub state: RestoreSetState,
    /// How far all of it is.
    pub total: SetTotal,
    /// Its machines; none in a list of sets.
    pub members: Vec<SetMember>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
}

/// How far a set is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetTotal {
    /// Machines that wait for their turn, or were never begun.
    pub waiting: u32,
    /// That were begun, and are not over.
    pub under_way: u32,
    /// That went well.
    pub done: u32,
    /// That did not.
    pub failed: u32,
    /// That somebody ended.
    pub cancelled: u32,
    /// Bytes of disks dealt with.
    pub done_bytes: u64,
    /// Bytes of all their disks.
    pub total_bytes: u64,
}

/// A machine of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetMember {
    /// Its job, which is there once it was begun.
    pub job: JobId,
    /// The item.
    pub item: Uuid,
    /// What it is called.
    pub name: String,
    /// The point.
    pub point: PointId,
    /// Its group.
    pub group: u16,
    /// The mover that writes it; none: any.
    pub mover: Option<String>,
    /// The folder it gets.
    pub folder: String,
    /// What the new machine is called, if there is to be one.
    pub machine: Option<String>,
    /// How it stands.
    pub state: SetMemberState,
    /// Bytes of its disks dealt with.
    pub done_bytes: u64,
    /// Bytes of its disks.
    pub total_bytes: u64,
    /// Why it failed, or its last attempt.
    pub error: Option<JobError>,
}

/// How a machine of a set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetMemberState {
    /// It waits for its turn, or was never begun.
    Waiting,
    /// It was begun, and is not over.
    UnderWay,
    /// It went well.
    Done,
    /// It did not.
    Failed,
    /// Somebody ended it.
    Cancelled,
}
