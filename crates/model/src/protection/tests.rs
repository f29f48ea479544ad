//! The whole table of states and acts, and laws over random lives.

use super::*;
use proptest::prelude::*;
use uuid::Uuid;

const OLD: PolicyId = PolicyId(Uuid::from_u128(1));
const NEW: PolicyId = PolicyId(Uuid::from_u128(2));

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(day * 86_400).unwrap()
}

fn plain(day: i64) -> Circumstances {
    Circumstances {
        soft_delete_days: SOFT_DELETE_DAYS,
        is_immutable: false,
        shortens: false,
        is_elsewhere: false,
        has_pinned: false,
        now: at(day),
    }
}

const ACTS: [Act; 11] = [
    Act::Protect(NEW),
    Act::ChangePolicy(NEW),
    Act::StopAndKeep(KeepWish::Forever),
    Act::StopAndKeep(KeepWish::ByPolicy),
    Act::StopAndDelete,
    Act::Resume(NEW),
    Act::Undelete,
    Act::BackedUp,
    Act::BackupFailed,
    Act::Purge,
    Act::NotBroughtBack(Timestamp::UNIX_EPOCH),
];

#[test]
fn every_state_and_every_act() {
    use {Protection::*, Refusal::*};
    let forever = Ok(Stopped { keep: Keep::Forever {} });
    let by_policy = Ok(Stopped { keep: Keep::ByPolicy { policy: OLD } });
    let deleted = Ok(Deleted { purge_at: at(14) });
    let protected = |policy| Ok(Protected { policy });
    let stopped = Stopped { keep: Keep::ByPolicy { policy: OLD } };
    let gone = IsDeleted(at(20));
    // In the order of ACTS: protect, change, keep for ever, keep by policy, delete, resume, undelete, well, failed,
    // purge, not brought back.
    let active = |changed, failed| {
        [
            Err(ProtectedAlready),
            Ok(changed),
            forever,
            by_policy,
            deleted,
            Err(NotStopped),
            Err(NotDeleted),
            protected(OLD),
            Ok(failed),
            Err(NotDeleted),
            Err(NotStopped),
        ]
    };
    let not = Err(NotProtected);
    let none = Err(NotDeleted);
    let table = [
        (
            Unprotected {},
            [Ok(AwaitsFirst { policy: NEW }), not, not, not, not, not, none, not, not, none, not],
        ),
        (AwaitsFirst { policy: OLD }, active(AwaitsFirst { policy: NEW }, AwaitsFirst { policy: OLD })),
        (Protected { policy: OLD }, active(Protected { policy: NEW }, InError { policy: OLD })),
        (InError { policy: OLD }, active(InError { policy: NEW }, InError { policy: OLD })),
        (
            stopped,
            [
                Err(StoppedWithPoints),
                not,
                not,
                not,
                deleted,
                protected(NEW),
                none,
                Ok(stopped),
                Ok(stopped),
                none,
                Ok(Deleted { purge_at: Timestamp::UNIX_EPOCH }),
            ],
        ),
        (
            Deleted { purge_at: at(20) },
            [
                Err(gone),
                Err(gone),
                Err(gone),
                Err(gone),
                Err(gone),
                Err(gone),
                forever,
                Err(gone),
                Err(gone),
                Err(TooEarly(at(20))),
                Err(gone),
            ],
        ),
    ];
    for (from, row) in table {
        for (act, expected) in ACTS.into_iter().zip(row) {
            assert_eq!(apply(from, act, &plain(0)), expected, "{from:?} {act:?}");
        }
    }
}

#[test]
fn what_is_deleted_waits_for_its_days() {
    let deleted = Protection::Deleted { purge_at: at(20) };
    assert_eq!(apply(deleted, Act::Undelete, &plain(20)), Err(Refusal::TooLate(at(20))));
    assert_eq!(apply(deleted, Act::Purge, &plain(20)), Ok(Protection::Unprotected {}));
}

#[test]
fn circumstances_refuse() {
    let protected = Protection::Protected { policy: OLD };
    let immutable = Circumstances { is_immutable: true, ..plain(0) };
    let shorter = Circumstances { shortens: true, ..immutable };
    let elsewhere = Circumstances { is_elsewhere: true, ..plain(0) };
    let stopped = Protection::Stopped { keep: Keep::Forever {} };
    let refused = |from, act, world: &Circumstances| apply(from, act, world).unwrap_err();
    assert_eq!(refused(protected, Act::StopAndDelete, &immutable), Refusal::Immutable);
    assert_eq!(refused(protected, Act::ChangePolicy(NEW), &shorter), Refusal::Immutable);
    assert_eq!(refused(stopped, Act::Resume(NEW), &shorter), Refusal::Immutable);
    assert!(apply(protected, Act::ChangePolicy(NEW), &immutable).is_ok());
    assert!(apply(protected, Act::StopAndKeep(KeepWish::ByPolicy), &shorter).is_ok());
    assert_eq!(
        refused(Protection::Unprotected {}, Act::Protect(NEW), &elsewhere),
        Refusal::ProtectedElsewhere
    );
    assert_eq!(refused(stopped, Act::Resume(NEW), &elsewhere), Refusal::ProtectedElsewhere);
    let pinned = Circumstances { has_pinned: true, ..plain(0) };
    assert_eq!(refused(protected, Act::StopAndDelete, &pinned), Refusal::Pinned);
    for days in [13, 181] {
        let world = Circumstances { soft_delete_days: days, ..plain(0) };
        assert_eq!(refused(protected, Act::StopAndDelete, &world), Refusal::SoftDeleteDays(days));
    }
}

#[test]
fn the_stored_shape_is_strict() {
    let stored = serde_json::to_value(Protection::Stopped { keep: Keep::Forever {} }).unwrap();
    assert_eq!(stored, serde_json::json!({ "state": "stopped", "keep": { "keep": "forever" } }));
    let strange = serde_json::json!({ "state": "unprotected", "policy": OLD });
    assert!(serde_json::from_value::<Protection>(strange).is_err());
}

proptest! {
    /// Whatever people do: points only go by deletion and its full days, and nothing runs without a policy.
    #[test]
    fn points_go_only_after_their_days(acts in prop::collection::vec((0..ACTS.len() - 1, 0..10_i64), 1..60)) {
        // Without the last: whoever could not bring points back says until when they stay.
        let mut state = Protection::Unprotected {};
        let (mut day, mut deleted_on) = (0, None);
        for (act, days) in acts {
            day += days;
            let Ok(next) = apply(state, ACTS[act], &plain(day)) else { continue };
            if matches!(next, Protection::Deleted { .. }) {
                deleted_on = Some(day);
            }
            if state != next && next == (Protection::Unprotected {}) {
                prop_assert!(deleted_on.is_some_and(|deleted| day >= deleted + 14));
            }
            prop_assert_eq!(next.runs(), next.retention_policy().is_some() && !matches!(next, Protection::Stopped { .. }));
            prop_assert_eq!(next.allows_on_demand(2), next.runs());
            prop_assert!(!next.allows_on_demand(3));
            state = next;
        }
    }
}
