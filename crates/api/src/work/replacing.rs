//! A machine goes back to a point in its own place.

use super::{AssignedHost, MadePoint, Service, StoreAccess};
use crate::StopMachine;
use model::PointId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A machine that is to go back to a point, in its own place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplaceWork {
    /// The item: what the machine's points are kept under.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
    /// Where the machine is.
    pub host: AssignedHost,
    /// What its hypervisor knows it by.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// The replacement's id: every attempt, of this job or of one that finishes it, means the same.
    pub replacement: Uuid,
    /// How the machine is stopped if it runs.
    pub stop: Option<StopMachine>,
    /// Stands in the vault with the point of the present state; none: no such point is made, and the vault may be gone.
    pub safety: Option<Service>,
    /// The vault's second store, which the machine comes back from; none: the vault.
    #[serde(default)]
    pub from: Option<StoreAccess>,
    /// Only tell what would be done.
    pub plan: bool,
}

/// How a replacement stands: the `result` of its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToldReplacement {
    /// Its id.
    pub replacement: Uuid,
    /// Where it is written down, on the mover's host.
    pub journal: String,
    /// What is replaced.
    pub disks: Vec<ReplacedDisk>,
    /// Whether the machine ran when it was planned.
    pub was_running: bool,
    /// Files that are kept.
    pub kept: Vec<String>,
    /// The point of the present state, once it is made.
    pub safety: Option<MadePoint>,
}

/// A disk, or a file of firmware, that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplacedDisk {
    /// Its name in the point.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its size in the point.
    pub bytes: u64,
}
