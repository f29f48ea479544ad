//! A vault's archive store: what moves there, what is there, and how it comes back.

use jiff::Timestamp;
use model::{JobId, PointId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// An archive store of a vault. Points that a policy keeps for months and years move to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveStore {
    /// An absolute path of a directory, `s3://BUCKET/PREFIX` or `azure://ACCOUNT/CONTAINER/PREFIX`. It must be readable at
    /// once, however slow and dear that is. Credentials are the mover's variables `ARCHIVE_AWS_...` and
    /// `ARCHIVE_AZURE_...`; where there are none, those of the vault.
    pub location: String,
    /// The mover that archives and brings back: one that reaches both stores. If not said, the server's own where one of
    /// them is a directory, else any.
    #[serde(default)]
    pub mover: Option<String>,
    /// The most that is fetched for it in a second, in MiB; as much as goes if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_048_576)]
    pub mib_per_second: Option<u32>,
}

impl ArchiveStore {
    /// An archive store, as it is if nothing else is said.
    pub fn at(location: impl Into<String>) -> Self {
        Self { location: location.into(), mover: None, mib_per_second: None }
    }
}

/// What is in a vault's archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveState {
    /// Points that are there.
    pub points: u64,
    /// What they added to the archive store.
    pub stored_bytes: u64,
}

/// What archiving would do now in a vault, and why not more: nothing is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchivePlan {
    /// Points that move.
    pub moves: u64,
    /// Points in the archive whose copy in the vault tier is dropped.
    pub drops: u64,
    /// Those of each machine that has any.
    pub items: Vec<ItemArchivePlan>,
    /// Why the others stay, and how many for each reason.
    pub stays: Vec<StaysPut>,
    /// There are more than are listed.
    pub cut: bool,
}

/// What archiving would do with the points of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemArchivePlan {
    /// The item.
    #[schema(value_type = Uuid)]
    pub item: Uuid,
    /// Its machine's name.
    pub name: String,
    /// What moves.
    pub moves: Vec<PointToArchive>,
    /// What is dropped in the vault tier.
    pub drops: Vec<PointId>,
}

/// A point that moves to the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointToArchive {
    /// The point.
    pub point: PointId,
    /// The instant of its disks.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// When it expires, in the archive.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// What it added to the vault when it was made. What comes free is what no other point needs: less, where younger points
    /// share it; more, where it was left alone with what points that are gone had added.
    pub stored_bytes: u64,
}

/// Why points stay in the vault tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StaysPut {
    /// In words.
    pub why: String,
    /// How many.
    pub points: u64,
}

/// A wish to have an archived point back in the vault tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehydrate {
    /// For how many days: 1 to 30.
    #[serde(default = "days")]
    #[schema(minimum = 1, maximum = 30, default = 10)]
    pub days: u16,
}

fn days() -> u16 {
    model::archive::HELD_DAYS
}

/// The jobs that archive, one for each machine that has something to move or drop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchivingBegun {
    /// The jobs.
    pub jobs: Vec<JobId>,
    /// Machines for which something else is under way that excludes it: the next day does them.
    pub busy: u64,
}
