//! What is stored for whom, and what it costs at one's own prices.

use jiff::Timestamp;
use jiff::civil::Date;
use model::VaultId;
use model::cost::{Money, Redundancy, StorageTier};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a report on costs has a line for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CostBy {
    /// Each machine, and each vault's own bytes.
    #[default]
    Machine,
    /// Each vault.
    Vault,
    /// Each tier and copy, and protection.
    Tier,
    /// Each value of a tag.
    Tag,
}

/// What a month has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostReport {
    /// As `2026-11`.
    pub month: String,
    /// The last day that was counted, in UTC; none if there is none.
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<Date>,
    /// What amounts are in; none while nobody has said any prices.
    pub currency: Option<String>,
    /// The lines, those that cost most first.
    pub lines: Vec<CostLine>,
    /// What all lines come to.
    #[schema(value_type = f64)]
    pub total: Money,
    /// What was measured for it, store by store.
    pub measured: Vec<MeasuredStore>,
}

/// What a machine, a vault, a tier or a tag has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostLine {
    /// Its id, or a word.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// In which vault, if it is in one.
    pub vault: Option<VaultId>,
    /// Days under protection, by size.
    pub protected: Vec<MachineDays>,
    /// What these cost.
    #[schema(value_type = f64)]
    pub protection_cost: Money,
    /// What was stored.
    pub storage: Vec<StorageUse>,
    /// What all of it costs.
    #[schema(value_type = f64)]
    pub cost: Money,
}

/// Days under protection in a class of sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineDays {
    /// As `up to 50 GiB`.
    pub size: String,
    /// Days, of all machines of the line together.
    pub days: u32,
}

/// Bytes stored in a tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StorageUse {
    /// The tier.
    pub tier: StorageTier,
    /// Which copy.
    pub redundancy: Redundancy,
    /// On average over the whole month, its days to come counted as empty.
    pub average_bytes: u64,
    /// What that costs.
    #[schema(value_type = f64)]
    pub cost: Money,
}

/// When a store was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeasuredStore {
    /// Of this vault.
    pub vault: VaultId,
    /// What it is called.
    pub name: String,
    /// What the store is used for.
    pub tier: StorageTier,
    /// Which copy it holds.
    pub redundancy: Redundancy,
    /// On how many days of the month.
    pub days: u32,
    /// When last.
    #[schema(value_type = String, format = DateTime)]
    pub measured: Timestamp,
}

/// Whose the bytes of a store were when it was measured last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreUsage {
    /// What the store is used for.
    pub tier: StorageTier,
    /// Which copy it holds.
    pub redundancy: Redundancy,
    /// When it was measured.
    #[schema(value_type = String, format = DateTime)]
    pub measured: Timestamp,
    /// Bytes of all that lies in it: as much as all parts together.
    pub stored_bytes: u64,
    /// The parts, the largest first.
    pub parts: Vec<UsagePart>,
}

/// A part of what a store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsagePart {
    /// The item, what else the vault calls the machine, or `#` and a word for what is no machine's.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Its points, but for deleted ones.
    pub points: u64,
    /// Its part: all that it alone needs, and a share of what others need too.
    pub share_bytes: u64,
    /// What it alone needs: so much is freed once its points are gone.
    pub alone_bytes: u64,
    /// What its disks hold in its newest point.
    pub used_bytes: Option<u64>,
}
