//! What is due, by the clock. Only insurance and promises to people depend on it, never safety.

use super::CollectOptions;
use crate::log::Told;
use crate::protocol::{PointState, SessionState, State};
use crate::{PackId, PointId, SessionId};
use jiff::{SignedDuration, Timestamp};

/// Deleted points whose time is over.
pub(super) fn due_points(told: &Told, options: &CollectOptions) -> Vec<PointId> {
    told.state.points.keys().filter(|point| is_due_point(told, point, options)).copied().collect()
}

/// Whether a point was deleted long enough ago.
pub(super) fn is_due_point(told: &Told, point: &PointId, options: &CollectOptions) -> bool {
    let deleted = told.state.points.get(point) == Some(&PointState::SoftDeleted);
    let may_go = options.only.as_ref().is_none_or(|only| only.contains(point));
    deleted
        && may_go
        && told.deleted_at.get(point).is_some_and(|at| is_over(*at, options.soft_delete, options))
}

/// Sessions are drawn as version 7 ids, which tell when. One that does not tell is left to people.
pub(super) fn due_sessions(state: &State, options: &CollectOptions) -> Vec<SessionId> {
    let is_old = |session: &SessionId| {
        let (seconds, _) = session.0.get_timestamp().map(|stamp| stamp.to_unix()).unwrap_or((u64::MAX, 0));
        let begun = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        begun.is_some_and(|begun| is_over(begun, options.session_age, options))
    };
    let open = state.sessions.iter().filter(|(_, state)| **state == SessionState::Open);
    open.map(|(session, _)| *session).filter(is_old).collect()
}

/// Whether a pack was condemned long enough ago.
pub(super) fn is_due(told: &Told, pack: &PackId, options: &CollectOptions) -> bool {
    told.condemned_at.get(pack).is_some_and(|at| is_over(*at, options.grace, options))
}

/// Whether a time has passed. One beyond the end of the calendar never has.
fn is_over(from: Timestamp, time: SignedDuration, options: &CollectOptions) -> bool {
    from.checked_add(time).is_ok_and(|until| until <= options.now)
}
