//! What becomes of a point in the catalog that two stores may have: the vault tier, and the archive.
//!
//! | vault tier | archive | the point |
//! | --- | --- | --- |
//! | live | – | in the vault |
//! | live | live | in both: what moves, or has come back, was on its way |
//! | live | deleted | in the vault: who brought it back did so there. The archive may have it |
//! | deleted | – | deleted |
//! | deleted | live | in the archive: moving it dropped it in the vault tier |
//! | deleted | deleted | in the archive, and deleted there, by people or because it expired |
//! | – | live | in the archive |
//! | – | deleted | in the archive, and deleted there |
//!
//! INVARIANT: what one of the two has live is not deleted. Whoever deletes a point that is archived has it deleted in both;
//! where that ended half way, the point is back, for nothing is lost because a vault was taken in.

use jiff::{SignedDuration, Timestamp};
use model::archive::HELD_DAYS_MAX;
use model::{ArchiveCopy, Near};

/// How a store has a point that it lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    /// Since then; it can be had back.
    Deleted(Timestamp),
}

impl Standing {
    pub(super) fn deleted_at(self) -> Option<Timestamp> {
        match self {
            Self::Live => None,
            Self::Deleted(at) => Some(at),
        }
    }
}

/// Until when a point can be brought back, if it is deleted; and what the archive has of it. `until` is when what was
/// deleted then may be purged.
pub(super) fn standing(
    near: Option<Standing>,
    far: Option<(&vault::Point, Standing)>,
    until: impl Fn(Timestamp) -> Timestamp,
    now: Timestamp,
) -> (Option<Timestamp>, ArchiveCopy) {
    use Standing::{Deleted, Live};
    let Some((point, far)) = far else {
        return (near.and_then(Standing::deleted_at).map(until), ArchiveCopy::Never);
    };
    let near_is = |near: Near| ArchiveCopy::There {
        since: written(point).unwrap_or(now).min(now),
        stored_bytes: point.stats.stored_bytes,
        near,
    };
    match (near, far) {
        // Nobody can tell how long it was to be held: as long as anybody could have asked for.
        (Some(Live), Live) => {
            let until = now + SignedDuration::from_hours(24 * i64::from(HELD_DAYS_MAX));
            (None, near_is(Near::Held { until }))
        }
        (Some(Live), Deleted(_)) => (None, ArchiveCopy::Expected),
        (Some(Deleted(at)), Live) => (None, near_is(Near::Dropped { purge_at: until(at) })),
        (Some(Deleted(at)), Deleted(there)) => {
            (Some(until(there.max(at))), near_is(Near::Dropped { purge_at: until(at) }))
        }
        (None, Live) => (None, near_is(Near::Gone {})),
        (None, Deleted(there)) => (Some(until(there)), near_is(Near::Gone {})),
    }
}

/// When the copy was written: the session's id tells it.
fn written(point: &vault::Point) -> Option<Timestamp> {
    let (seconds, nanoseconds) = point.session.0.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn point() -> vault::Point {
        let session = Uuid::now_v7();
        let record = serde_json::json!({
            "format": 1, "id": Uuid::now_v7(), "machine": "db", "machine_name": "db",
            "instant": "2026-01-04T02:00:00Z", "parent": null, "session": session, "disks": [],
            "consistency": null, "description": null,
            "stats": { "read_bytes": 0, "new_bytes": 0, "stored_bytes": 7 },
        });
        serde_json::from_value(record).expect("a point")
    }

    #[test]
    fn what_one_store_has_live_is_not_deleted() {
        let (now, early, late) =
            (at("2100-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z"));
        let (week, point) = (SignedDuration::from_hours(7 * 24), point());
        let all = [None, Some(Standing::Live), Some(Standing::Deleted(early)), Some(Standing::Deleted(late))];
        for near in all {
            for far in all.into_iter().filter(|far| near.is_some() || far.is_some()) {
                let (purge_at, archive) = standing(near, far.map(|far| (&point, far)), |at| at + week, now);
                let is_live = [near, far].contains(&Some(Standing::Live));
                assert_eq!(purge_at.is_none(), is_live, "{near:?} {far:?}");
                let last = [near, far].into_iter().flatten().filter_map(Standing::deleted_at).max();
                assert!(
                    is_live || purge_at == last.map(|at| at + week),
                    "{near:?} {far:?}: the later counts"
                );
                assert_eq!(archive.is_never(), far.is_none(), "what it may have there is deleted there");
                let is_near = matches!(archive.near(), None | Some(Near::Held { .. }));
                assert_eq!(is_near, far.is_none() || near == Some(Standing::Live), "{near:?} {far:?}");
                if let ArchiveCopy::There { since, stored_bytes, near: held } = archive {
                    assert!(since <= now && stored_bytes == 7);
                    let dropped = near.and_then(Standing::deleted_at).map(|at| at + week);
                    assert!(dropped.is_none_or(|purge_at| held == Near::Dropped { purge_at }));
                }
            }
        }
    }
}
