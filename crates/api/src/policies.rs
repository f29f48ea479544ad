//! Policies, and what they would do.

use jiff::Timestamp;
use jiff::civil::Date;
use model::policy::PolicyDocument;
use model::{PointId, PolicyId, VaultId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A policy of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// Whose.
    pub vault: VaultId,
    /// What people call it.
    pub name: String,
    /// What it says.
    pub document: PolicyDocument,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Given back with a change.
    pub revision: u64,
}

/// A policy to be made, or a new text of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// 1 to 64 characters; unique in the vault.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// What it says.
    pub document: PolicyDocument,
    /// The revision that was read; only in a change.
    #[serde(default)]
    pub revision: Option<u64>,
    /// Make the change although points are lost by it. Look at the dry run first.
    #[serde(default)]
    pub accept_loss: bool,
}

/// What a policy would do from now on for a machine that has nothing yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyPreview {
    /// Its points in the order of time, of a year at most.
    pub points: Vec<PreviewPoint>,
    /// How many of them there will be at once, when it has run for as long as it keeps anything; a bound.
    pub points_at_most: u64,
}

/// A point that a policy would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewPoint {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The day it counts for.
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    /// Its classes: `daily`, `weekly`, `monthly`, `yearly`.
    pub classes: Vec<String>,
    /// When it would expire; none if it is never in the vault.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// What a change of a policy, or of a machine's policy, would do to the points that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    /// Copies of points that would be gone at once.
    pub lost: u64,
    /// That would expire sooner.
    pub shorter: u64,
    /// That would be kept longer.
    pub longer: u64,
    /// For which nothing changes.
    pub same: u64,
    /// Whether the vault lets it happen: an immutable one loses nothing and shortens nothing.
    pub allowed: bool,
    /// The machines concerned, with the points that change: 10,000 at most, those that would be lost before all others
    /// of their machine.
    pub items: Vec<ItemDryRun>,
    /// Whether more change than are listed. They are counted all the same.
    #[serde(default)]
    pub cut: bool,
}

/// What would change for one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemDryRun {
    /// Which.
    #[schema(value_type = Uuid)]
    pub item: Uuid,
    /// Its machine's name.
    pub name: String,
    /// Its copies of points that change: lost, then shorter, then longer; of each the oldest first.
    pub points: Vec<PointChange>,
}

/// What would change for one copy of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointChange {
    /// Which.
    pub point: PointId,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// `snapshot` or `vault`.
    pub tier: String,
    /// `lost`, `shorter` or `longer`.
    pub change: String,
    /// When it expires as things are; none: not by time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub before: Option<Timestamp>,
    /// When it would.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub after: Option<Timestamp>,
    /// What would keep it, or would have kept it.
    pub reasons: Vec<String>,
}
