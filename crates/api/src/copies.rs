//! A vault's second store, in another region: copies of its points, which nothing that happens to the vault takes along.

use crate::{PointDisk, PointDrill};
use jiff::Timestamp;
use model::PointId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A second store of a vault. Every point of the vault is copied to it, by jobs; what is deleted in the vault, by
/// people or because it expired, stays there for days of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyStore {
    /// An absolute path of a directory, `s3://BUCKET/PREFIX` or `azure://ACCOUNT/CONTAINER/PREFIX`. Credentials are the
    /// mover's variables `COPY_AWS_...` and `COPY_AZURE_...`; where there are none, those of the vault.
    pub location: String,
    /// How long a copy stays once the vault itself has the point no more: 7 to 9999 days. The newest copy of a machine
    /// stays in any case.
    #[serde(default = "keep_days")]
    #[schema(minimum = 7, maximum = 9999, default = 30)]
    pub keep_days: u16,
    /// Hours between two copying jobs, up to 168; 0: whenever there is something to copy.
    #[serde(default)]
    #[schema(maximum = 168)]
    pub every_hours: u16,
    /// An alert tells when a point is older than so many hours, up to 9999, and has no copy.
    #[serde(default = "lag_hours_max")]
    #[schema(minimum = 1, maximum = 9999, default = 24)]
    pub lag_hours_max: u16,
    /// The mover that copies: one that reaches both stores. If not said, the server's own where one of them is a
    /// directory, else any.
    #[serde(default)]
    pub mover: Option<String>,
    /// The most that is fetched for it in a second, in MiB; as much as goes if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_048_576)]
    pub mib_per_second: Option<u32>,
}

fn keep_days() -> u16 {
    30
}

fn lag_hours_max() -> u16 {
    24
}

impl CopyStore {
    /// A second store, as it is if nothing else is said.
    pub fn at(location: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            keep_days: keep_days(),
            every_hours: 0,
            lag_hours_max: lag_hours_max(),
            mover: None,
            mib_per_second: None,
        }
    }
}

/// How far a vault's second store is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyState {
    /// Points it has.
    pub copied: u64,
    /// The newest of their instants: what could be had back if the vault were gone.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub newest: Option<Timestamp>,
    /// Points that are to be copied yet.
    pub waiting: u64,
    /// How old the oldest of these is, in seconds: 0 if there is none.
    pub lag_seconds: u64,
}

/// A copy of a point in the second store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopiedPoint {
    /// The point.
    pub point: PointId,
    /// The item.
    #[schema(value_type = Uuid)]
    pub item: Uuid,
    /// Its machine's name when it was copied.
    pub name: String,
    /// The instant of its disks.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// `application`, `file_system` or `crash`.
    pub consistency: String,
    /// When it was copied.
    #[schema(value_type = String, format = DateTime)]
    pub copied: Timestamp,
    /// Since when the vault itself has it no more; none while it has.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub left: Option<Timestamp>,
    /// When it goes, unless it is the newest of its machine by then; none while the vault has it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub goes: Option<Timestamp>,
    /// Its disks.
    pub disks: Vec<PointDisk>,
    /// Bytes it added to the second store.
    pub stored_bytes: u64,
    /// What came of it when it was last tried out; none if it never was.
    #[serde(default)]
    pub drill: Option<PointDrill>,
}
