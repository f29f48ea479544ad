//! Protection: a machine under a policy, from the first wish to the last purged byte.
//!
//! ```text
//! unprotected --protect--> awaiting first --backup--> protected <--backup / failure--> in error
//! protected --stop, keep--> stopped (for ever, or as the policy says) --resume--> protected
//! protected, stopped --stop, delete--> deleted --undelete--> stopped (for ever) --resume--> protected
//! stopped --undeleting failed--> deleted
//! deleted --its days are over--> purged: nothing is left, and the machine is unprotected
//! ```
//! One function, [`apply`], makes every transition; what it refuses, it says why.

use crate::PolicyId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many days what was deleted can be brought back: Azure's limits, and its default.
pub const SOFT_DELETE_DAYS_MIN: u16 = 14;
/// See [`SOFT_DELETE_DAYS_MIN`].
pub const SOFT_DELETE_DAYS_MAX: u16 = 180;
/// See [`SOFT_DELETE_DAYS_MIN`].
pub const SOFT_DELETE_DAYS: u16 = 14;
/// Points on demand, each day and machine, beside the scheduled ones: as in Azure.
pub const ON_DEMAND_PER_DAY_MAX: u32 = 3;
/// How long a point on demand stays if nobody says.
pub const ON_DEMAND_KEEP_DAYS: u16 = 30;

/// Where a machine stands in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Protection {
    /// The vault has nothing of it. Waits for somebody to protect it. (Braces: serde would let unknown fields pass.)
    Unprotected {},
    /// Its policy holds. Waits for the first backup.
    AwaitsFirst {
        /// Its policy.
        policy: PolicyId,
    },
    /// Its policy holds, and its last backup went well.
    Protected {
        /// Its policy.
        policy: PolicyId,
    },
    /// Its policy holds, and its last backup failed.
    InError {
        /// Its policy.
        policy: PolicyId,
    },
    /// No backups; its points stay.
    Stopped {
        /// How long they do.
        keep: Keep,
    },
    /// No backups; its points are deleted, and can be brought back.
    Deleted {
        /// Until then. Fixed when they were deleted: a setting changed later does not move it.
        purge_at: Timestamp,
    },
}

/// How long points stay that get no successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "keep", rename_all = "snake_case", deny_unknown_fields)]
pub enum Keep {
    /// Until somebody says otherwise. Retention does not run.
    Forever {},
    /// As this policy says; the newest stays anyway.
    ByPolicy {
        /// The policy it had.
        policy: PolicyId,
    },
}

/// Something that happens to a machine's protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Puts it under a policy for the first time.
    Protect(PolicyId),
    /// Puts it under another one.
    ChangePolicy(PolicyId),
    /// No more backups; keeps its points, for ever or as its policy says.
    StopAndKeep(KeepWish),
    /// No more backups; deletes its points.
    StopAndDelete,
    /// Puts it under a policy again.
    Resume(PolicyId),
    /// Brings deleted points back.
    Undelete,
    /// They could not be brought back after all: they are deleted, until then.
    NotBroughtBack(Timestamp),
    /// A backup went well.
    BackedUp,
    /// A backup failed for good.
    BackupFailed,
    /// The days of what was deleted are over: collects it.
    Purge,
}

/// What [`Act::StopAndKeep`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum KeepWish {
    /// For ever.
    Forever,
    /// As the policy says that it has.
    ByPolicy,
}

/// What the vault and the rest of the world say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// How long what is deleted can be brought back.
    pub soft_delete_days: u16,
    /// Whether the vault is immutable.
    pub is_immutable: bool,
    /// Whether the act would have a point expire earlier; see [`difference`](crate::retention::difference).
    pub shortens: bool,
    /// Whether another vault protects the machine, or stops doing so without deleting.
    pub is_elsewhere: bool,
    /// Whether a point of the machine is pinned.
    pub has_pinned: bool,
    /// The time.
    pub now: Timestamp,
}

/// Why an act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is protected already.
    ProtectedAlready,
    /// Another vault has it.
    ProtectedElsewhere,
    /// It is not protected.
    NotProtected,
    /// It is stopped, with points.
    StoppedWithPoints,
    /// It is not stopped.
    NotStopped,
    /// It is deleted.
    IsDeleted(Timestamp),
    /// It is not deleted.
    NotDeleted,
    /// The days are over.
    TooLate(Timestamp),
    /// The days are not over.
    TooEarly(Timestamp),
    /// The vault is immutable, and points would go.
    Immutable,
    /// A point is pinned.
    Pinned,
    /// Soft deletion outside of its limits.
    SoftDeleteDays(u16),
}

/// Where a machine stands after an act.
///
/// # Errors
/// Why nothing changes.
pub fn apply(from: Protection, act: Act, world: &Circumstances) -> Result<Protection, Refusal> {
    use Protection::{AwaitsFirst, Deleted, InError, Protected, Stopped, Unprotected};
    match (from, act) {
        (Unprotected {}, Act::Protect(_)) if world.is_elsewhere => Err(Refusal::ProtectedElsewhere),
        (Unprotected {}, Act::Protect(policy)) => Ok(AwaitsFirst { policy }),
        (Stopped { .. }, Act::Protect(_)) => Err(Refusal::StoppedWithPoints),
        (Stopped { .. }, Act::NotBroughtBack(purge_at)) => Ok(Deleted { purge_at }),
        (Deleted { purge_at }, Act::Undelete) if world.now >= purge_at => Err(Refusal::TooLate(purge_at)),
        (Deleted { .. }, Act::Undelete) => Ok(Stopped { keep: Keep::Forever {} }),
        (Deleted { purge_at }, Act::Purge) if world.now < purge_at => Err(Refusal::TooEarly(purge_at)),
        (Deleted { .. }, Act::Purge) => Ok(Unprotected {}),
        (Deleted { purge_at }, _) => Err(Refusal::IsDeleted(purge_at)),
        (_, Act::Undelete | Act::Purge) => Err(Refusal::NotDeleted),
        (_, Act::Protect(_)) => Err(Refusal::ProtectedAlready),
        (Unprotected {}, _) => Err(Refusal::NotProtected),
        (_, Act::NotBroughtBack(_)) => Err(Refusal::NotStopped),
        (_, Act::StopAndDelete) => delete(world),
        (Stopped { .. }, Act::Resume(_)) if world.is_immutable && world.shortens => Err(Refusal::Immutable),
        (Stopped { .. }, Act::Resume(_)) if world.is_elsewhere => Err(Refusal::ProtectedElsewhere),
        // The next backup says whether it is well.
        (Stopped { .. }, Act::Resume(policy)) => Ok(Protected { policy }),
        // A backup that was under way when protection stopped may still end: its point stays, nothing else changes.
        (Stopped { .. }, Act::BackedUp | Act::BackupFailed) => Ok(from),
        (Stopped { .. }, _) => Err(Refusal::NotProtected),
        (AwaitsFirst { policy } | Protected { policy } | InError { policy }, act) => {
            while_active(from, policy, act, world)
        }
    }
}

/// What may happen to a machine whose policy holds.
fn while_active(
    from: Protection,
    policy: PolicyId,
    act: Act,
    world: &Circumstances,
) -> Result<Protection, Refusal> {
    use Protection::{AwaitsFirst, InError, Protected, Stopped};
    match act {
        Act::ChangePolicy(_) if world.is_immutable && world.shortens => Err(Refusal::Immutable),
        Act::ChangePolicy(policy) => Ok(match from {
            AwaitsFirst { .. } => AwaitsFirst { policy },
            InError { .. } => InError { policy },
            _ => Protected { policy },
        }),
        Act::StopAndKeep(KeepWish::Forever) => Ok(Stopped { keep: Keep::Forever {} }),
        Act::StopAndKeep(KeepWish::ByPolicy) => Ok(Stopped { keep: Keep::ByPolicy { policy } }),
        Act::BackedUp => Ok(Protected { policy }),
        // Until there is a point, there is nothing to be in error about: it still awaits its first.
        Act::BackupFailed if matches!(from, AwaitsFirst { .. }) => Ok(from),
        Act::BackupFailed => Ok(InError { policy }),
        Act::Resume(_) | Act::NotBroughtBack(_) => Err(Refusal::NotStopped),
        // Not reached: `apply` decides these before the state does.
        Act::Protect(_) => Err(Refusal::ProtectedAlready),
        Act::Undelete | Act::Purge => Err(Refusal::NotDeleted),
        Act::StopAndDelete => delete(world),
    }
}

fn delete(world: &Circumstances) -> Result<Protection, Refusal> {
    let days = world.soft_delete_days;
    if world.is_immutable {
        return Err(Refusal::Immutable);
    }
    if world.has_pinned {
        return Err(Refusal::Pinned);
    }
    if !(SOFT_DELETE_DAYS_MIN..=SOFT_DELETE_DAYS_MAX).contains(&days) {
        return Err(Refusal::SoftDeleteDays(days));
    }
    // Days of 24 hours: a promise of at least so long, in no zone in particular.
    let lasts = SignedDuration::from_hours(24 * i64::from(days));
    Ok(Protection::Deleted { purge_at: world.now.saturating_add(lasts).expect("a duration, not a span") })
}

impl Protection {
    /// Whether its policy's slots run.
    pub fn runs(&self) -> bool {
        self.backup_policy().is_some()
    }

    /// The policy whose slots run.
    pub fn backup_policy(&self) -> Option<PolicyId> {
        match *self {
            Self::AwaitsFirst { policy } | Self::Protected { policy } | Self::InError { policy } => {
                Some(policy)
            }
            Self::Unprotected {} | Self::Stopped { .. } | Self::Deleted { .. } => None,
        }
    }

    /// The policy by which its points expire. None: none does.
    pub fn retention_policy(&self) -> Option<PolicyId> {
        match *self {
            Self::Stopped { keep: Keep::ByPolicy { policy } } => Some(policy),
            _ => self.backup_policy(),
        }
    }

    /// Whether somebody may ask for a point now, having been given so many today.
    pub fn allows_on_demand(&self, today: u32) -> bool {
        self.runs() && today < ON_DEMAND_PER_DAY_MAX
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProtectedAlready => {
                f.write_str("the machine is protected already; change its policy instead")
            }
            Self::ProtectedElsewhere => {
                f.write_str("another vault protects the machine; stop that and delete its data there first")
            }
            Self::NotProtected => f.write_str("the machine is not protected"),
            Self::StoppedWithPoints => {
                f.write_str("protection was stopped and points are kept; resume it instead")
            }
            Self::NotStopped => f.write_str("protection was not stopped"),
            Self::IsDeleted(until) => {
                write!(
                    f,
                    "the machine's points are deleted and can be brought back until {until}; undelete first"
                )
            }
            Self::NotDeleted => f.write_str("the machine's points are not deleted"),
            Self::TooLate(until) => write!(f, "the points could be brought back until {until}"),
            Self::TooEarly(until) => {
                write!(f, "the points can be brought back until {until}; not purged before")
            }
            Self::Immutable => {
                f.write_str("the vault is immutable: nothing may be lost sooner than promised")
            }
            Self::Pinned => f.write_str("a point of the machine is pinned; unpin it first"),
            Self::SoftDeleteDays(days) => write!(
                f,
                "deleted points must be kept {SOFT_DELETE_DAYS_MIN} to {SOFT_DELETE_DAYS_MAX} days, not {days}"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
