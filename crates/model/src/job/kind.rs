//! Kinds of jobs, and the steps each is made of.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum JobKind {
    /// Makes a point of a machine.
    Backup,
    /// Makes a machine, or disks, of a point.
    Restore,
    /// Overwrites a machine's disks with those of a point.
    Replace,
    /// Deletes a machine's points.
    DeleteData,
    /// Reads a point back.
    Verify,
    /// Brings deleted points of a machine back.
    Undelete,
    /// Purges what was deleted long enough ago in a vault, and gives space back.
    Collect,
    /// Tries a point out.
    Drill,
}

/// A part of a job that is done or not: a job goes on after the last one done. Doing one again finds what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Step {
    /// The machine's changes are in the snapshot tier: the only part that the guest can feel.
    TakeSnapshot,
    /// They are in the vault. Goes on where it stopped.
    TransferToVault,
    /// What is replaced is in the snapshot tier first.
    KeepCurrent,
    /// The disks are written.
    WriteDisks,
    /// The machine is defined, and started if asked for.
    DefineMachine,
    /// The points are deleted.
    DeletePoints,
    /// All of the point was read.
    ReadBack,
    /// The points are back.
    BringPointsBack,
    /// What nobody needs is gone.
    FreeSpace,
    /// The disks of the machine that is tried out are there.
    RestorePoint,
    /// It is up, or known not to come up.
    Boot,
    /// Its guest was asked.
    RunChecks,
    /// Nothing of it is left. With it the verdict is told.
    TearDown,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Backup,
        Self::Restore,
        Self::Replace,
        Self::DeleteData,
        Self::Verify,
        Self::Undelete,
        Self::Collect,
        Self::Drill,
    ];

    /// Its steps, in order; at least one.
    pub fn steps(self) -> &'static [Step] {
        match self {
            Self::Backup => &[Step::TakeSnapshot, Step::TransferToVault],
            Self::Restore => &[Step::WriteDisks, Step::DefineMachine],
            Self::Replace => &[Step::KeepCurrent, Step::WriteDisks, Step::DefineMachine],
            Self::DeleteData => &[Step::DeletePoints],
            Self::Verify => &[Step::ReadBack],
            Self::Undelete => &[Step::BringPointsBack],
            Self::Collect => &[Step::FreeSpace],
            Self::Drill => &[Step::RestorePoint, Step::Boot, Step::RunChecks, Step::TearDown],
        }
    }

    /// Whether the two must not be under way for one machine at once. One backup and one drill at a time; nothing else beside what
    /// overwrites the machine's disks; and its points are not deleted while something reads or makes them.
    pub fn excludes(self, other: Self) -> bool {
        use JobKind::{Backup, Collect, DeleteData, Drill, Replace};
        let either = |kind| self == kind || other == kind;
        let both = |kind| self == kind && other == kind;
        both(Backup) || both(Collect) || both(Drill) || either(Replace) || either(DeleteData)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakeSnapshot => "Take snapshot",
            Self::TransferToVault => "Transfer data to vault",
            Self::KeepCurrent => "Keep current disks",
            Self::WriteDisks => "Write disks",
            Self::DefineMachine => "Define machine",
            Self::DeletePoints => "Delete points",
            Self::ReadBack => "Read back",
            Self::BringPointsBack => "Bring points back",
            Self::FreeSpace => "Free space",
            Self::RestorePoint => "Restore point",
            Self::Boot => "Boot",
            Self::RunChecks => "Run checks",
            Self::TearDown => "Tear down",
        })
    }
}
