//! The dry run of a policy's change: which points it would lose, and which would live longer.

use super::plan::{Fate, Reason, Tier, Verdict, plan};
use crate::policy::Policy;
use crate::{Point, PointId};
use jiff::Timestamp;

/// What another policy would make of a machine's points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Kept now; would be gone at once. The server asks before it makes the change, and deletes these such that
    /// they can be brought back.
    pub lost: Vec<Change>,
    /// Would expire sooner than now.
    pub shorter: Vec<Change>,
    /// Would be kept longer than now, or would be kept and are not.
    pub longer: Vec<Change>,
    /// How many copies nothing changes for.
    pub same: usize,
}

/// What changes for one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The point.
    pub point: PointId,
    /// When it was taken.
    pub taken: Timestamp,
    /// Where the copy is.
    pub tier: Tier,
    /// What becomes of it as things are, and its expiry.
    pub before: (Fate, Option<Timestamp>),
    /// What would become of it, and its expiry.
    pub after: (Fate, Option<Timestamp>),
    /// What would keep it, or would have.
    pub reasons: Vec<Reason>,
}

/// What would change for a machine's points if its policy were another one.
pub fn difference(points: &[Point], old: &Policy, new: &Policy, now: Timestamp) -> Difference {
    let mut difference = Difference::default();
    // INVARIANT: both plans list the same copies in the same order; a plan leaves none out.
    for (before, after) in plan(points, old, now).copies.into_iter().zip(plan(points, new, now).copies) {
        let expiries = (before.expiry(), after.expiry());
        let list = match (before.is_kept(), after.is_kept()) {
            (true, false) => &mut difference.lost,
            (false, true) => &mut difference.longer,
            (true, true) if expiries.1 < expiries.0 => &mut difference.shorter,
            (true, true) if expiries.1 > expiries.0 => &mut difference.longer,
            (true, true) | (false, false) => {
                difference.same += 1;
                continue;
            }
        };
        list.push(Change::new(&before, after));
    }
    difference
}

impl Change {
    fn new(before: &Verdict, after: Verdict) -> Self {
        Self {
            point: after.point,
            taken: after.taken,
            tier: after.tier,
            before: (before.fate, before.expiry()),
            after: (after.fate, after.expiry()),
            reasons: after.reasons,
        }
    }
}
