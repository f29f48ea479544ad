//! Drills: a point is tried out, and what came of it.

use jiff::Timestamp;
use model::JobId;
use model::drill::DrillRecord;
use model::policy::DrillOptions;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A wish to have a point tried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drill {
    /// What is done in it; what the machine's policy says if not said.
    pub options: Option<DrillOptions>,
    /// The mover that does it; the one that backed the machine up if not said.
    pub mover: Option<String>,
    /// Try the point's copy in the vault's second store. What comes of it is told of the copy, and proves nothing of the
    /// vault.
    pub from_copy: bool,
}

/// The last drill of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointDrill {
    /// The job that it was.
    pub job: JobId,
    /// When it was over.
    #[schema(value_type = String, format = DateTime)]
    pub ended: Timestamp,
    /// What it found out.
    pub record: DrillRecord,
    /// Whether there is a screenshot of its end.
    pub has_screenshot: bool,
}

/// What a machine's screen showed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Screenshot {
    /// `png`, or `ppm` of a QEMU that cannot write that.
    pub format: String,
    /// The file, in base64.
    #[schema(max_length = 1_000_000)]
    pub data: String,
}

impl std::fmt::Debug for Screenshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Screenshot({}, {} characters)", self.format, self.data.len())
    }
}

/// How old the proof of a machine's points is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// The item.
    #[schema(value_type = Uuid)]
    pub item: Uuid,
    /// What the machine is called.
    pub name: String,
    /// Its policy, by its name.
    pub policy: Option<String>,
    /// How many days old the newest proved point may be.
    pub allowed_days: u16,
    /// The instant of the newest point that was proved; none if none ever was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub proved: Option<Timestamp>,
    /// The instant of the newest point that was tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried: Option<Timestamp>,
    /// What came of that: `proved`, `booted_only` or `failed`.
    pub verdict: Option<String>,
    /// The instant of the newest point whose copy in the vault's second store was proved; nothing else here counts that.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub copy_proved: Option<Timestamp>,
    /// Whether its proof is older than allowed, or there is none.
    pub is_overdue: bool,
}
