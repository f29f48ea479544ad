//! The plan: for each copy of each point, whether it is kept, until when, and every reason.

use super::class::Class;
use crate::policy::Policy;
use crate::{Origin, Point, PointId, VaultCopy};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use std::fmt;

/// What is to become of a machine's points. Making it changes nothing; whoever carries it out makes it again first,
/// and takes copies out of the snapshot tier before those in the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each copy: the oldest point first, its snapshot before its copy in the vault.
    pub copies: Vec<Verdict>,
}

/// What is to become of one copy of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The point.
    pub point: PointId,
    /// When it was taken.
    pub taken: Timestamp,
    /// Where the copy is.
    pub tier: Tier,
    /// All that keeps it, or did: what holds longest first.
    pub reasons: Vec<Reason>,
    /// What follows from them.
    pub fate: Fate,
}

/// Where a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they say what they are")]
pub enum Tier {
    Snapshot,
    Vault,
}

/// Something that keeps a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What.
    pub why: Why,
    /// For how long.
    pub until: Until,
}

/// What keeps a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A rule of the policy.
    Class(Class),
    /// The expiry that was given when somebody asked for the point.
    OnDemand,
    /// The policy's days in the snapshot tier.
    SnapshotDays,
    /// A copy in the vault outlives the snapshot it was made of.
    SnapshotThere,
    /// The vault is to get it and has not.
    AwaitsTransfer,
    /// It is the newest in its tier.
    Newest,
    /// It is the newest in its tier that was scheduled.
    NewestScheduled,
    /// Somebody wants it kept.
    Pinned,
    /// It was promised.
    Locked,
    /// It was deleted and can be brought back.
    Deleted,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Until then.
    At(Timestamp),
    /// Until something happens: a newer point, an end of the transfer, somebody's word.
    Open,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Kept(Until),
    /// It is to go. None: no rule keeps it at all.
    Expired(Option<Timestamp>),
}

/// What is to become of the points of one machine, now, under its policy.
pub fn plan(points: &[Point], policy: &Policy, now: Timestamp) -> Plan {
    let newest = Newest::of(points);
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by_key(|point| (point.taken, point.id));
    let mut copies = Vec::with_capacity(points.len());
    for point in sorted {
        let snapshot = point
            .in_snapshot_tier
            .then(|| snapshot_reasons(point, policy, &newest))
            .map(|reasons| Verdict::new(point, Tier::Snapshot, reasons, now));
        let in_vault = point.vault == VaultCopy::There;
        let vault = in_vault.then(|| {
            let mut reasons = vault_reasons(point, policy, &newest);
            if let Some(Fate::Kept(until)) = snapshot.as_ref().map(|copy| copy.fate) {
                reasons.push(Reason { why: Why::SnapshotThere, until });
            }
            Verdict::new(point, Tier::Vault, reasons, now)
        });
        copies.extend(snapshot.into_iter().chain(vault));
    }
    Plan { copies }
}

/// The last day that a point in the vault stands for: where [`stands_for`](super::stands_for) goes on from.
pub fn covered<'a>(points: impl IntoIterator<Item = &'a Point>) -> Option<Date> {
    let in_vault = points.into_iter().filter(|point| point.vault == VaultCopy::There);
    let days = in_vault.filter_map(|point| match point.origin {
        Origin::Scheduled { stands_for, .. } => stands_for,
        Origin::OnDemand { .. } => None,
    });
    days.map(|days| days.last).max()
}

impl Plan {
    /// The copies that are to go.
    pub fn expired(&self) -> impl Iterator<Item = &Verdict> {
        self.copies.iter().filter(|copy| !copy.is_kept())
    }

    /// The verdict on one copy.
    pub fn of(&self, point: PointId, tier: Tier) -> Option<&Verdict> {
        self.copies.iter().find(|copy| copy.point == point && copy.tier == tier)
    }
}

impl Verdict {
    fn new(point: &Point, tier: Tier, mut reasons: Vec<Reason>, now: Timestamp) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.until));
        let fate = match reasons.first().map(|reason| reason.until) {
            None => Fate::Expired(None),
            Some(Until::At(end)) if end <= now => Fate::Expired(Some(end)),
            Some(until) => Fate::Kept(until),
        };
        Self { point: point.id, taken: point.taken, tier, reasons, fate }
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        matches!(self.fate, Fate::Kept(_))
    }

    /// The date to show as its expiry, and to write back as its lock in an immutable vault: the latest of the dates
    /// that keep it, leaving out what ends only by something happening.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.reasons.iter().find_map(|reason| match reason.until {
            Until::At(end) => Some(end),
            Until::Open => None,
        })
    }
}

/// The newest copies of each tier, which nothing expires: of all points, and of the scheduled ones, for somebody who
/// floods a machine with points on demand must not outdate them. Deleted points do not count.
struct Newest {
    any: [Option<PointId>; 2],
    scheduled: [Option<PointId>; 2],
}

impl Newest {
    fn of(points: &[Point]) -> Self {
        let newest = |tier: Tier, only_scheduled: bool| {
            let candidates = points.iter().filter(|point| {
                let is_there = match tier {
                    Tier::Snapshot => point.in_snapshot_tier,
                    Tier::Vault => point.vault == VaultCopy::There,
                };
                is_there && !point.is_deleted() && (point.slot().is_some() || !only_scheduled)
            });
            candidates.max_by_key(|point| (point.taken, point.id)).map(|point| point.id)
        };
        let tiers = [Tier::Snapshot, Tier::Vault];
        Self { any: tiers.map(|tier| newest(tier, false)), scheduled: tiers.map(|tier| newest(tier, true)) }
    }

    fn reasons(&self, point: &Point, tier: Tier) -> impl Iterator<Item = Reason> {
        let at = tier as usize;
        let any = (self.any[at] == Some(point.id)).then_some(Why::Newest);
        let scheduled = (self.scheduled[at] == Some(point.id)).then_some(Why::NewestScheduled);
        any.into_iter().chain(scheduled).map(|why| Reason { why, until: Until::Open })
    }
}

fn snapshot_reasons(point: &Point, policy: &Policy, newest: &Newest) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |why, until| reasons.push(Reason { why, until });
    if let Some(purge_at) = point.purge_at {
        add(Why::Deleted, Until::At(purge_at));
    } else {
        let days = i64::from(policy.document().snapshot_days);
        let end = point.taken.to_zoned(policy.zone().clone()).checked_add(days.days());
        add(Why::SnapshotDays, Until::At(end.map_or(Timestamp::MAX, |end| end.timestamp())));
        if point.vault == VaultCopy::Expected {
            add(Why::AwaitsTransfer, Until::Open);
        }
    }
    // One copy is enough for a pin: the vault's, if there is one.
    if point.pinned && point.vault != VaultCopy::There {
        add(Why::Pinned, Until::Open);
    }
    reasons.extend(newest.reasons(point, Tier::Snapshot));
    reasons
}

fn vault_reasons(point: &Point, policy: &Policy, newest: &Newest) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |why, until| reasons.push(Reason { why, until });
    match (point.purge_at, point.origin) {
        (Some(purge_at), _) => add(Why::Deleted, Until::At(purge_at)),
        (None, Origin::OnDemand { keep_until }) => add(Why::OnDemand, Until::At(keep_until)),
        (None, Origin::Scheduled { slot, stands_for }) => {
            for class in Class::of(policy, slot.day, stands_for) {
                add(Why::Class(class), Until::At(class.keep.end(point.taken, policy.zone())));
            }
        }
    }
    if let Some(end) = point.locked_until {
        add(Why::Locked, Until::At(end));
    }
    if point.pinned {
        add(Why::Pinned, Until::Open);
    }
    reasons.extend(newest.reasons(point, Tier::Vault));
    reasons
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => class.fmt(f),
            Self::OnDemand => f.write_str("on demand"),
            Self::SnapshotDays => f.write_str("days in the snapshot tier"),
            Self::SnapshotThere => f.write_str("its snapshot is still there"),
            Self::AwaitsTransfer => f.write_str("not in the vault yet"),
            Self::Newest => f.write_str("the newest point"),
            Self::NewestScheduled => f.write_str("the newest scheduled point"),
            Self::Pinned => f.write_str("pinned"),
            Self::Locked => f.write_str("locked"),
            Self::Deleted => f.write_str("deleted, can be brought back"),
        }
    }
}
