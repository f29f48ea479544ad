//! The laws of restoring many, over sets and their fates drawn at random.

use super::*;
use proptest::prelude::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn states() -> impl Strategy<Value = MemberState> {
    use MemberState::{Cancelled, Done, Failed, UnderWay, Waiting};
    prop_oneof![4 => Just(Waiting), 2 => Just(UnderWay), 1 => Just(Done), 1 => Just(Failed), 1 => Just(Cancelled)]
}

fn members() -> impl Strategy<Value = Vec<RestoreMember<'static>>> {
    let name = || prop::sample::select(NAMES.to_vec());
    let member =
        (0..4_u16, name(), name(), name(), states()).prop_map(|(group, mover, store, target, state)| {
            RestoreMember { group, mover, store, target, state }
        });
    prop::collection::vec(member, 0..20)
}

prop_compose! {
    fn rules()(
        at_once in 1..8_usize,
        per_mover in 1..5_usize,
        per_store in 1..5_usize,
        per_target in 1..5_usize,
        stop_on_failure: bool,
    ) -> RestoreRules {
        let limits = RestoreLimits { at_once, per_mover, per_store, per_target };
        RestoreRules { limits, stop_on_failure }
    }
}

fn is_over(member: &RestoreMember<'_>) -> bool {
    !matches!(member.state, MemberState::Waiting | MemberState::UnderWay)
}

/// How many are under way by what `of` says of each, once those begin that are to.
fn most(members: &[RestoreMember<'_>], begin: &[usize], of: impl Fn(&RestoreMember<'_>) -> String) -> usize {
    let mut counts = BTreeMap::<String, usize>::new();
    for (place, member) in members.iter().enumerate() {
        if member.state == MemberState::UnderWay || begin.contains(&place) {
            *counts.entry(of(member)).or_default() += 1;
        }
    }
    // What was over before, because somebody made the limits smaller, is not added to.
    let grown = begin.iter().map(|place| counts[&of(&members[*place])]);
    grown.max().unwrap_or_default()
}

proptest! {
    #[test]
    fn no_limit_is_passed(members in members(), rules in rules()) {
        let begin = next(&members, &[], &rules, false).begin;
        let limits = rules.limits;
        prop_assert!(most(&members, &begin, |_| String::new()) <= limits.at_once);
        prop_assert!(most(&members, &begin, |one| one.mover.into()) <= limits.per_mover);
        prop_assert!(most(&members, &begin, |one| one.store.into()) <= limits.per_store);
        prop_assert!(most(&members, &begin, |one| one.target.into()) <= limits.per_target);
        for place in &begin {
            prop_assert_eq!(members[*place].state, MemberState::Waiting);
        }
    }

    #[test]
    fn a_group_begins_when_all_earlier_ones_are_over(members in members(), rules in rules()) {
        for place in next(&members, &[], &rules, false).begin {
            let mut earlier = members.iter().filter(|one| one.group < members[place].group);
            prop_assert!(earlier.all(is_over));
        }
    }

    #[test]
    fn whoever_could_have_begun_later_did_not_begin_sooner(members in members(), rules in rules()) {
        let begin = next(&members, &[], &rules, false).begin;
        for (place, member) in members.iter().enumerate() {
            let is_left = member.state == MemberState::Waiting && !begin.contains(&place);
            let alike = |other: &usize| members[*other] == *member && *other > place;
            prop_assert!(!(is_left && begin.iter().any(alike)), "{place} of {begin:?}");
        }
    }

    #[test]
    fn who_is_cancelled_begins_nothing_and_ends(members in members(), rules in rules()) {
        let cancelled = next(&members, &[], &rules, true);
        prop_assert!(cancelled.begin.is_empty());
        let under_way = members.iter().any(|one| one.state == MemberState::UnderWay);
        prop_assert_eq!(cancelled.state.is_over(), !under_way);
    }

    #[test]
    fn one_failure_stops_the_others_only_if_that_is_asked(members in members(), rules in rules()) {
        let has_failed = members.iter().any(|one| one.state == MemberState::Failed);
        let asked = next(&members, &[], &RestoreRules { stop_on_failure: true, ..rules }, false);
        prop_assert!(!has_failed || asked.begin.is_empty());
        let unasked = next(&members, &[], &RestoreRules { stop_on_failure: false, ..rules }, false);
        let waits = members.iter().any(|one| one.state == MemberState::Waiting);
        let under_way = members.iter().any(|one| one.state == MemberState::UnderWay);
        prop_assert!(!waits || under_way || !unasked.begin.is_empty(), "nobody would ever go on");
        prop_assert_eq!(unasked.state.is_over(), !waits && !under_way);
    }

    /// Whatever becomes of each, every member of a set is begun once, and the set comes to its end.
    #[test]
    fn every_set_comes_to_its_end(
        fresh in members(),
        rules in rules(),
        fates in prop::collection::vec((0..100_usize, states()), 1..40),
    ) {
        let mut members: Vec<_> =
            fresh.iter().map(|one| RestoreMember { state: MemberState::Waiting, ..*one }).collect();
        let mut begun = vec![0; members.len()];
        let mut fates = fates.iter().cycle();
        for _ in 0..=2 * members.len() {
            let now = next(&members, &[], &rules, false);
            for place in now.begin {
                begun[place] += 1;
                members[place].state = MemberState::UnderWay;
            }
            let under_way: Vec<_> =
                (0..members.len()).filter(|place| members[*place].state == MemberState::UnderWay).collect();
            let Some((pick, fate)) = fates.next() else { unreachable!("it goes on for ever") };
            let Some(place) = under_way.get(pick % under_way.len().max(1)) else { break };
            let end = RestoreMember { state: *fate, ..members[*place] };
            members[*place].state = if is_over(&end) { *fate } else { MemberState::Done };
        }
        let end = next(&members, &[], &rules, false);
        prop_assert!(end.state.is_over() && end.begin.is_empty(), "{members:?}");
        let all_well = members.iter().all(|one| one.state == MemberState::Done);
        prop_assert_eq!(end.state == RestoreSetState::Completed, all_well);
        let stopped = rules.stop_on_failure && members.iter().any(|one| one.state == MemberState::Failed);
        prop_assert!(begun.iter().all(|times| *times == 1 || (stopped && *times == 0)), "{begun:?}");
    }

    #[test]
    fn what_other_sets_have_under_way_takes_room(members in members(), others in members(), rules in rules()) {
        let begin = next(&members, &others, &rules, false).begin;
        let limits = rules.limits;
        let all: Vec<_> = members.iter().chain(&others).copied().collect();
        prop_assert!(most(&members, &begin, |_| String::new()) <= limits.at_once, "a set's own");
        prop_assert!(most(&all, &begin, |one| one.mover.into()) <= limits.per_mover);
        prop_assert!(most(&all, &begin, |one| one.store.into()) <= limits.per_store);
        prop_assert!(most(&all, &begin, |one| one.target.into()) <= limits.per_target);
        // What is not under way is in nobody's way.
        let idle: Vec<_> = others.into_iter().filter(|other| other.state != MemberState::UnderWay).collect();
        prop_assert_eq!(next(&members, &idle, &rules, false), next(&members, &[], &rules, false));
    }
}
