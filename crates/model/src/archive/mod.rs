//! The archive: which points move to a vault's archive store, and which leave the vault tier.
//!
//! ```text
//! Vault ──plan()──► Archive and vault ──over()──► Archive ──rehydrate──► Archive and vault ──over()──► Archive
//! ```
//! A point that is archived stays the vault's: what keeps it, locks it and expires it is `retention`'s to say, wherever
//! it lies. Moving loses nothing, so a lock does not hinder it; what somebody pinned is left at hand.
//!
//! Azure moves what it recommends, too, where that saves money: here a policy says months, or nothing moves.
//!
//! The laws, each a property test:
//! - What moves has a month's or year's rule to keep it, no day's or week's any more, and stays for half a year.
//! - What is newest, pinned, deleted, or has a snapshot, never moves.
//! - With more months never more moves; without the setting nothing does.
//! - What leaves the vault tier is in the archive, whole.

#[cfg(test)]
mod tests;

use crate::retention::{Class, Fate, Keep, Plan, Rule, Tier, Until, plan as retention_plan};
use crate::{ArchiveCopy, Near, Origin, Point, PointId, Policy, VaultCopy};
use jiff::Timestamp;
use std::fmt;

/// A point is at least so old: Azure's figure. Younger ones are still asked for.
pub const AFTER_MONTHS_MIN: u16 = 3;
/// A point is to stay for so long yet: Azure's figure, for archives charge for as much.
pub const MONTHS_LEFT_MIN: u16 = 6;
/// How many days what came back from the archive is held in the vault tier, if nobody says.
pub const HELD_DAYS: u16 = 10;
/// How many it is held at most: Azure's figure.
pub const HELD_DAYS_MAX: u16 = 30;

/// What is to become of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The point.
    pub point: PointId,
    /// When it was taken.
    pub taken: Timestamp,
    /// Whether it moves.
    pub fate: Move,
}

/// Whether a point moves to the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It does, and expires there by then.
    Goes {
        /// Its expiry.
        expires: Timestamp,
    },
    /// It does not.
    Stays(Why),
}

/// Why a point does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The policy does not say that anything does.
    Off,
    /// The vault tier does not have it.
    NotInVault,
    /// It is in the archive.
    There,
    /// It was deleted.
    Deleted,
    /// The snapshot tier has it.
    SnapshotThere,
    /// Somebody wants it at hand.
    Pinned,
    /// It is the newest, or the newest that was scheduled.
    Newest,
    /// Somebody asked for it: it is kept by no rule.
    OnDemand,
    /// No rule of months or years keeps it.
    NoLongRule,
    /// A rule of days or weeks keeps it yet.
    ShortRule {
        /// Which.
        rule: Rule,
        /// Until then.
        until: Timestamp,
    },
    /// It is not old enough.
    Young {
        /// It is then.
        until: Timestamp,
    },
    /// It expires too soon.
    ExpiresSoon {
        /// Its expiry.
        expires: Timestamp,
    },
}

/// Which points of one machine move to the archive now, under its policy: a verdict on each, the oldest first. Making it
/// changes nothing; whoever carries it out makes it again first.
pub fn plan(points: &[Point], policy: &Policy, now: Timestamp) -> Vec<Verdict> {
    let kept = retention_plan(points, policy, now);
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by_key(|point| (point.taken, point.id));
    let verdict = |point: &Point| {
        let fate = match moves(point, policy, &kept, now) {
            Ok(expires) => Move::Goes { expires },
            Err(why) => Move::Stays(why),
        };
        Verdict { point: point.id, taken: point.taken, fate }
    };
    sorted.into_iter().map(verdict).collect()
}

/// Points whose copy in the vault tier is to be dropped: the archive has them, and their days are over. The policy is not
/// asked: what was begun is finished, and what came back for some days goes again.
pub fn over(points: &[Point], now: Timestamp) -> Vec<PointId> {
    let is_over = |point: &&Point| {
        let near = point.archive.near();
        !point.is_deleted() && matches!(near, Some(Near::Held { until }) if until <= now)
    };
    points.iter().filter(is_over).map(|point| point.id).collect()
}

/// The expiry of a point that moves, or why it does not.
fn moves(point: &Point, policy: &Policy, kept: &Plan, now: Timestamp) -> Result<Timestamp, Why> {
    let zone = policy.zone();
    let Some(setting) = &policy.document().vault.archive else { return Err(Why::Off) };
    let verdict = kept.of(point.id, Tier::Vault).ok_or(Why::NotInVault)?;
    let slot = match point.origin {
        _ if point.is_deleted() => return Err(Why::Deleted),
        _ if point.archive.is_there() => return Err(Why::There),
        _ if point.in_snapshot_tier => return Err(Why::SnapshotThere),
        _ if point.pinned => return Err(Why::Pinned),
        Origin::OnDemand { .. } => return Err(Why::OnDemand),
        Origin::Scheduled { slot, stands_for } => (slot.day, stands_for),
    };
    if verdict.fate == Fate::Kept(Until::Open) {
        return Err(Why::Newest);
    }
    let (mut is_long, mut short) = (false, None);
    for class in Class::of(policy, slot.0, slot.1) {
        let end = class.keep.end(point.taken, zone);
        match class.rule {
            _ if end <= now => {}
            Rule::Monthly | Rule::Yearly => is_long = true,
            Rule::Daily | Rule::Weekly => {
                let later = short.is_none_or(|(_, until)| until < end);
                short = if later { Some((class.rule, end)) } else { short };
            }
        }
    }
    if !is_long {
        return Err(Why::NoLongRule);
    }
    if let Some((rule, until)) = short {
        return Err(Why::ShortRule { rule, until });
    }
    let old = Keep::Months(setting.after_months).end(point.taken, zone);
    if now < old {
        return Err(Why::Young { until: old });
    }
    let expires = verdict.expiry().ok_or(Why::NoLongRule)?;
    if expires < Keep::Months(MONTHS_LEFT_MIN).end(now, zone) {
        return Err(Why::ExpiresSoon { expires });
    }
    Ok(expires)
}

impl Point {
    /// Where it is, as people call it.
    pub fn tiers(&self, now: Timestamp) -> &'static str {
        let is_in_vault = self.vault == VaultCopy::There;
        match (self.in_snapshot_tier, self.archive) {
            (_, ArchiveCopy::There { .. }) if is_in_vault && self.is_near(now) => "Archive and vault",
            (_, ArchiveCopy::There { .. }) if is_in_vault => "Archive",
            (true, _) if is_in_vault => "Snapshot and vault",
            (true, _) => "Snapshot",
            (false, _) if is_in_vault => "Vault",
            (false, _) => "-",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("its policy moves nothing"),
            Self::NotInVault => f.write_str("it is not in the vault"),
            Self::There => f.write_str("it is in the archive"),
            Self::Deleted => f.write_str("it is deleted"),
            Self::SnapshotThere => f.write_str("its snapshot is still there"),
            Self::Pinned => f.write_str("it is pinned"),
            Self::Newest => f.write_str("it is the newest point"),
            Self::OnDemand => f.write_str("it was made on demand"),
            Self::NoLongRule => f.write_str("no monthly or yearly rule keeps it"),
            Self::ShortRule { rule, until } => write!(f, "the {rule} rule keeps it until {until}"),
            Self::Young { until } => write!(f, "it is old enough on {until}"),
            Self::ExpiresSoon { expires } => write!(f, "it expires on {expires}, too soon to be worth it"),
        }
    }
}
