//! What the service says of a point, kept in the vault with it: a catalog is made again from these alone.

use model::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What the service says of a point, kept in the vault with it. A catalog is made again from these alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// The version of this shape: 1.
    pub version: u32,
    /// The job that made the point: no other point of the vault names it.
    pub job: JobId,
    /// The item.
    pub item: Uuid,
    /// The machine, as the catalog knew it.
    pub machine: model::MachineId,
    /// The machine's name.
    pub name: String,
    /// What its host's hypervisor knows it by.
    pub known_as: String,
    /// Why the point was made, with its slot and the days it stands for.
    pub origin: model::Origin,
    /// The policy, as it was.
    pub policy: Option<ServicePolicy>,
    /// What the vault promised then. None: made before this was written down.
    #[serde(default)]
    pub promised: Option<ServicePromise>,
}

/// What a vault promised when a point was made. Who takes it in keeps at least that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePromise {
    /// How long what was deleted can be brought back.
    pub soft_delete_days: u16,
    /// Whether nothing may be lost sooner than was promised.
    pub immutable: bool,
}

/// A policy, as it was when a point was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePolicy {
    /// Its id.
    pub id: model::PolicyId,
    /// Its name.
    pub name: String,
    /// What it said.
    pub document: model::policy::PolicyDocument,
}
