//! Work between the stores of a vault: the second store, the archive.

use super::MadePoint;
use jiff::Timestamp;
use model::PointId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Another store of the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreAccess {
    /// Where it is.
    pub location: String,
    /// What the names of the variables begin with that hold its credentials; where there are none, the vault's count.
    pub credentials: Option<String>,
}

/// A point, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointOfItem {
    /// The item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
}

/// Copying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyWork {
    /// The second store, made if it is not there.
    pub to: StoreAccess,
    /// What is to be there, the oldest first.
    pub points: Vec<PointOfItem>,
    /// What is deleted there, softly: its days are over. No other is, whatever was deleted in the vault.
    pub let_go: Vec<PointId>,
    /// Give space back there: what was deleted longer ago than this is purged, in seconds. None: not this time.
    pub collect: Option<i64>,
    /// The time, by the server's clock.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The most that is fetched in a second.
    pub bytes_per_second: Option<u64>,
}

/// What came of copying.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CopyOutcome {
    /// What is in the second store now.
    pub copied: Vec<CopiedOfItem>,
    /// What the vault does not have.
    pub missing: Vec<PointId>,
    /// What is deleted in the second store now.
    pub let_go: Vec<PointId>,
    /// What copying added to the second store.
    pub stored_bytes: u64,
    /// What was given back there.
    pub freed_bytes: u64,
}

/// A point that is in the second store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CopiedOfItem {
    /// The item.
    pub item: Uuid,
    /// The machine's name.
    pub name: String,
    /// The point, as the second store has it; its id is the one the server knows.
    pub made: MadePoint,
}

/// Healing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealWork {
    /// The second store.
    pub from: StoreAccess,
    /// What the vault ought to have, the oldest first. What it lacks of them is copied back.
    pub points: Vec<PointOfItem>,
}

/// Points in the vault's archive store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InArchive {
    /// The store.
    pub store: StoreAccess,
    /// The points.
    pub points: Vec<PointId>,
}

/// Archiving: first what moves is copied and read back in the archive store, then it is dropped in the vault tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveWork {
    /// The archive store.
    pub to: StoreAccess,
    /// Whether it is made if it is not there: nothing is in it yet that the server knows of.
    pub make: bool,
    /// The item: what the machine's points are kept under.
    pub item: Uuid,
    /// What moves, the oldest first.
    pub moves: Vec<PointId>,
    /// What is there already, and is dropped in the vault tier as well.
    pub drops: Vec<PointId>,
    /// The time, by the server's clock.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The most that is fetched in a second.
    pub bytes_per_second: Option<u64>,
}

/// What came of archiving.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ArchiveOutcome {
    /// What the archive store has, whole.
    pub archived: Vec<ArchivedPoint>,
    /// What the vault tier does not have, or the archive store has purged.
    pub missing: Vec<PointId>,
    /// What is deleted in the vault tier now, softly.
    pub dropped: Vec<PointId>,
    /// What stays in the vault tier, since the archive store does not have it as it ought to.
    pub kept: Vec<PointId>,
    /// What archiving added to the archive store.
    pub stored_bytes: u64,
}

/// A point that is in the archive store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArchivedPoint {
    /// The point, by the id the server knows.
    pub point: PointId,
    /// What it added there.
    pub stored_bytes: u64,
}

/// A point that is to come back from the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RehydrateWork {
    /// The archive store.
    pub from: StoreAccess,
    /// The item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
    /// The most that is fetched in a second.
    pub bytes_per_second: Option<u64>,
}
