//! A recovery point, as far as keeping it goes.

use crate::{PointId, Slot};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A recovery point of one machine. The server writes all of it: nothing here comes from the machine or its host, so
/// neither can make points look newer, older or more important than they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// The instant its disks show, by the server's clock. What it is kept for counts from here.
    pub taken: Timestamp,
    /// Why it was made.
    pub origin: Origin,
    /// Whether the snapshot tier has a copy.
    pub in_snapshot_tier: bool,
    /// Whether the vault has one.
    pub vault: VaultCopy,
    /// Somebody wants it kept until they say otherwise.
    pub pinned: bool,
    /// It is not lost before, whatever the policy comes to say. In an immutable vault this is the expiry each
    /// [`plan`](crate::retention::plan) gives, written back, so it only grows.
    pub locked_until: Option<Timestamp>,
    /// Set if it was deleted: it can be brought back until then.
    pub purge_at: Option<Timestamp>,
    /// What the archive has of it. What is in the archive is in the vault, however little of it the vault tier has:
    /// all that keeps or expires a point holds for it there as well.
    #[serde(default, skip_serializing_if = "ArchiveCopy::is_never")]
    pub archive: ArchiveCopy,
}

/// Why a point was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Origin {
    /// For a slot of the policy.
    Scheduled {
        /// Which one.
        slot: Slot,
        /// The days it stands for; see [`stands_for`](crate::retention::stands_for). Fixed when it is made.
        stands_for: Option<Days>,
    },
    /// Because somebody asked. Belongs to no class and takes nobody's place.
    OnDemand {
        /// The expiry it was given. Policies do not change it.
        #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
        keep_until: Timestamp,
    },
}

/// Some days in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Days {
    /// The first.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Date))]
    pub first: Date,
    /// The last; not before the first.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Date))]
    pub last: Date,
}

/// What the vault has of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultCopy {
    /// Nothing, and nothing will come: it lives in the snapshot tier alone.
    Never,
    /// Nothing yet: its transfer is to come, or under way.
    Expected,
    /// A copy.
    There,
}

/// What the archive has of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum ArchiveCopy {
    /// Nothing, and nobody was told to copy it there.
    #[default]
    Never,
    /// Somebody was told to: it may be there. The vault tier has it.
    Expected,
    /// It is there, whole.
    There {
        /// Since when.
        since: Timestamp,
        /// What that added to the archive.
        stored_bytes: u64,
        /// What the vault tier has of it.
        near: Near,
    },
}

/// What the vault tier has of a point that is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "near", rename_all = "snake_case", deny_unknown_fields)]
pub enum Near {
    /// A copy, until then. Afterwards it is dropped, and nobody counts on it.
    Held {
        /// The end.
        until: Timestamp,
    },
    /// A copy that is deleted there, softly: to be purged from then on.
    Dropped {
        /// From when on.
        purge_at: Timestamp,
    },
    /// Nothing.
    Gone {},
}

impl ArchiveCopy {
    /// Whether nothing of it can be in the archive.
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Never)
    }

    /// Whether all of it is in the archive.
    pub fn is_there(&self) -> bool {
        matches!(self, Self::There { .. })
    }

    /// What the vault tier has of it, if the archive has it.
    pub fn near(&self) -> Option<Near> {
        match self {
            Self::There { near, .. } => Some(*near),
            Self::Never | Self::Expected => None,
        }
    }

    /// The same point, of which the vault tier has this. Of one that the archive has not, nothing changes.
    #[must_use]
    pub fn with_near(self, near: Near) -> Self {
        match self {
            Self::There { since, stored_bytes, .. } => Self::There { since, stored_bytes, near },
            other => other,
        }
    }
}

impl Point {
    /// Whether it can be read from the vault tier now: it is in the vault, and not in its archive alone.
    pub fn is_near(&self, now: Timestamp) -> bool {
        self.vault == VaultCopy::There
            && match self.archive.near() {
                None => true,
                Some(Near::Held { until }) => now < until,
                Some(Near::Dropped { .. } | Near::Gone {}) => false,
            }
    }

    /// The slot it was made for.
    pub fn slot(&self) -> Option<Slot> {
        match self.origin {
            Origin::Scheduled { slot, .. } => Some(slot),
            Origin::OnDemand { .. } => None,
        }
    }

    /// Whether it was deleted, and may yet be brought back.
    pub fn is_deleted(&self) -> bool {
        self.purge_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_stored_as_it_reads() {
        let stored = json!({
            "id": "019ca7a4-0000-7000-8000-000000000000",
            "taken": "2026-03-02T03:20:00Z",
            "origin": {
                "origin": "scheduled",
                "slot": { "day": "2026-03-01", "number": 5, "closes_day": true, "at": "2026-03-02T03:00:00Z" },
                "stands_for": { "first": "2026-02-28", "last": "2026-03-01" },
            },
            "in_snapshot_tier": true,
            "vault": "expected",
            "pinned": false,
            "locked_until": null,
            "purge_at": null,
        });
        let mut point: Point = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&point).unwrap(), stored);
        // The catalog looks for this very text.
        let (since, purge_at) = (point.taken, Timestamp::UNIX_EPOCH);
        point.archive = ArchiveCopy::There { since, stored_bytes: 7, near: Near::Dropped { purge_at } };
        let text = serde_json::to_string(&point).unwrap();
        assert!(text.contains(r#""archive":{"state":"there","since""#), "{text}");
        assert!(text.contains(r#""near":{"near":"dropped","purge_at""#), "{text}");
        assert_eq!(serde_json::from_str::<Point>(&text).unwrap(), point);
    }
}
