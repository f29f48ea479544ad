//! Replace existing: a machine goes back to a point, in its own place, and can come back from there.
//!
//! The steps, each written down in a journal beside the first disk before the next begins:
//!
//! | stage | what is true from then on |
//! | --- | --- |
//! | `planned` | the machine has the shape that the point has; nothing was touched |
//! | `stopped` | it is off |
//! | `safe` | its state is a point of its own |
//! | `restored` | every restored disk is whole, as `DISK.restore-ID` beside the original |
//! | `swapped` | originals are `DISK.before-restore-ID`, restored disks have their names |
//! | `done` | it runs again, if it ran before |
//!
//! [`Replacement::advance`] does one thing of one stage; all of it is a loop over that, and so is finishing after a
//! crash. What was done within a stage is seen by which files are there, never remembered twice: a disk is swapped by
//! two renames, and each of the three states between them tells what is next, forwards ([`Replacement::advance`]) and
//! back ([`Replacement::undo`]). Names are never taken from a file that has one. Between the two renames a disk has no
//! file under its name: a machine that somebody starts then does not start.
//!
//! Nothing that a guest wrote is deleted but by [`Replacement::remove_kept`]: not the originals, and after undoing not
//! what the machine wrote since it was restored (`DISK.undone-restore-ID`).

mod disks;
mod journal;
mod machine;
mod plan;
mod steps;

pub use journal::{Journal, Stage, Swap};
pub use plan::{Existing, ReplacementPlan, plan_replacement};
pub use steps::{Replacement, SafetyPoint};
