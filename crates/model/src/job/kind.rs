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
    /// Makes a machine of a point that runs at once, while its data follows.
    InstantRestore,
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
    /// Tells what a restore over what is there would do.
    Plan,
    /// Puts a machine that was replaced back as it was.
    UndoReplace,
    /// Removes what a replacement kept.
    RemoveKept,
    /// Makes snapshots of disks.
    Snapshot,
    /// Makes a disk, as a file, of a snapshot.
    ExportSnapshot,
    /// Copies a snapshot to another vault.
    CopySnapshot,
    /// Tells what changed between two snapshots.
    CompareSnapshots,
    /// Tells what snapshots take up.
    MeasureSnapshots,
    /// Copies a vault's points to its second store, and lets go there what its days are over for.
    Copy,
    /// Puts a vault right from its second store.
    Heal,
    /// Moves points of a machine to the vault's archive store, and drops in the vault tier what is held no longer.
    Archive,
    /// Copies a point back from the archive store to the vault tier, for some days.
    Rehydrate,
    /// Makes a machine's disks the next version of an image.
    CaptureImage,
    /// Copies a version of an image to another vault.
    CopyImage,
    /// Makes machines of an image.
    CreateMachines,
    /// Makes machines of an image that run at once, while its data follows.
    CreateMachinesAtOnce,
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
    /// The machine is off, and its present state is a point.
    KeepCurrent,
    /// The disks are written.
    WriteDisks,
    /// The machine is defined, and started if asked for.
    DefineMachine,
    /// The data of machines that run already is all there, and they need nobody.
    FollowData,
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
    /// It is known what is to be done, and that it can be.
    Plan,
    /// The restored disks have the originals' names, and the machine runs if it ran before.
    SwapDisks,
    /// The originals have their names again.
    PutBack,
    /// What was kept is gone.
    RemoveKept,
    /// The other vault has the snapshot.
    CopySnapshot,
    /// It is known what changed.
    Compare,
    /// It is known what each takes up.
    Measure,
    /// The second store has the points.
    CopyPoints,
    /// What was damaged in the vault is whole, as far as the second store has it.
    RepairDamage,
    /// The vault has the points again that it had lost.
    CopyBack,
    /// The archive store has the points, and they were read back there.
    CopyToArchive,
    /// The vault tier has no more of them than can be had back for some days.
    DropFromVault,
    /// The vault tier has the point again.
    Rehydrate,
    /// The machine has forgotten who it is, if that was asked for, and is off; what it was is written down.
    PrepareMachine,
    /// The other vault has the image.
    CopyImage,
    /// The machines are there, each with disks of its own, and run if that was asked for.
    MakeMachines,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 25] = [
        Self::Backup,
        Self::Restore,
        Self::InstantRestore,
        Self::Replace,
        Self::DeleteData,
        Self::Verify,
        Self::Undelete,
        Self::Collect,
        Self::Drill,
        Self::Plan,
        Self::UndoReplace,
        Self::RemoveKept,
        Self::Snapshot,
        Self::ExportSnapshot,
        Self::CopySnapshot,
        Self::CompareSnapshots,
        Self::MeasureSnapshots,
        Self::Copy,
        Self::Heal,
        Self::Archive,
        Self::Rehydrate,
        Self::CaptureImage,
        Self::CopyImage,
        Self::CreateMachines,
        Self::CreateMachinesAtOnce,
    ];

    /// Its steps, in order; at least one.
    pub fn steps(self) -> &'static [Step] {
        match self {
            Self::Backup => &[Step::TakeSnapshot, Step::TransferToVault],
            Self::Restore => &[Step::WriteDisks, Step::DefineMachine],
            Self::InstantRestore => &[Step::DefineMachine, Step::FollowData],
            Self::Replace => &[Step::Plan, Step::KeepCurrent, Step::WriteDisks, Step::SwapDisks],
            Self::DeleteData => &[Step::DeletePoints],
            Self::Verify => &[Step::ReadBack],
            Self::Undelete => &[Step::BringPointsBack],
            Self::Collect => &[Step::FreeSpace],
            Self::Drill => &[Step::RestorePoint, Step::Boot, Step::RunChecks, Step::TearDown],
            Self::Plan => &[Step::Plan],
            Self::UndoReplace => &[Step::PutBack],
            Self::RemoveKept => &[Step::RemoveKept],
            Self::Snapshot => &[Step::TakeSnapshot, Step::TransferToVault],
            Self::ExportSnapshot => &[Step::WriteDisks],
            Self::CopySnapshot => &[Step::CopySnapshot],
            Self::CompareSnapshots => &[Step::Compare],
            Self::MeasureSnapshots => &[Step::Measure],
            Self::Copy => &[Step::CopyPoints],
            Self::Heal => &[Step::RepairDamage, Step::CopyBack],
            Self::Archive => &[Step::CopyToArchive, Step::DropFromVault],
            Self::Rehydrate => &[Step::Rehydrate],
            Self::CaptureImage => &[Step::PrepareMachine, Step::TransferToVault],
            Self::CopyImage => &[Step::CopyImage],
            Self::CreateMachines => &[Step::MakeMachines],
            Self::CreateMachinesAtOnce => &[Step::MakeMachines, Step::FollowData],
        }
    }

    /// Whether the two must not be under way for one machine at once. One backup and one drill at a time; nothing else beside what
    /// overwrites the machine's disks; and its points are not deleted while something reads or makes them. What comes
    /// back from the archive is not dropped at the same time.
    pub fn excludes(self, other: Self) -> bool {
        use JobKind::{
            Archive, Backup, CaptureImage, Collect, Copy, DeleteData, Drill, Heal, MeasureSnapshots,
            Rehydrate, RemoveKept, Replace, Snapshot, UndoReplace,
        };
        let either = |kind| self == kind || other == kind;
        let both = |kind| self == kind && other == kind;
        [Backup, CaptureImage, Collect, Copy, Drill, Heal, MeasureSnapshots, RemoveKept, Snapshot]
            .into_iter()
            .any(both)
            || [Replace, UndoReplace, DeleteData].into_iter().any(either)
            || [self, other].iter().all(|kind| [Archive, Rehydrate].contains(kind))
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
            Self::FollowData => "Data follows",
            Self::DeletePoints => "Delete points",
            Self::ReadBack => "Read back",
            Self::BringPointsBack => "Bring points back",
            Self::FreeSpace => "Free space",
            Self::RestorePoint => "Restore point",
            Self::Boot => "Boot",
            Self::RunChecks => "Run checks",
            Self::TearDown => "Tear down",
            Self::Plan => "Plan",
            Self::SwapDisks => "Swap disks",
            Self::PutBack => "Put disks back",
            Self::RemoveKept => "Remove kept disks",
            Self::CopySnapshot => "Copy snapshot",
            Self::Compare => "Compare",
            Self::Measure => "Measure",
            Self::CopyPoints => "Copy points",
            Self::RepairDamage => "Repair damage",
            Self::CopyBack => "Copy points back",
            Self::CopyToArchive => "Copy to archive",
            Self::DropFromVault => "Drop from vault tier",
            Self::Rehydrate => "Copy back from archive",
            Self::PrepareMachine => "Prepare machine",
            Self::CopyImage => "Copy image",
            Self::MakeMachines => "Make machines",
        })
    }
}
