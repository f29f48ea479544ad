//! Every interleaving of two writers, two collectors, a janitor and a user, with the product's own step
//! functions; and every rule broken in turn.
//!
//! Any of them may pause for ever at any step. Deletes arrive late and twice. Listings are not atomic: a
//! point or intent at a time. What must never happen: a point that was acknowledged and not purged lacks a
//! pack.
//!
//! By default one writer and two collectors are searched, which already shows every loss;
//! `STRONGROOM_MODEL=full` (as `cargo xtask model` sets it) searches two writers and one collector. Two of each
//! are too many for an afternoon: the first 60 million states of them showed no loss.
//!
//! With a copier, which empties a pack or heals it, or a session that dies and is inherited, one writer and one
//! collector are searched, and two collectors without a writer. A collector here marks in one step and from scratch:
//! what the product's remembers between its looks is outside of the model, and stands to its own rules in
//! `collect/mark.rs`.

mod explore;
mod world;

use super::Rules;
use explore::{Bounds, Verdict, explore};
use world::{Copier, Faults};

/// The log alone.
const LOG: Rules = Rules {
    writer_reads_intents: false,
    writer_checks_presence: false,
    collector_looks_again: false,
    intent_outlives_deletes: false,
    intents_unsettle: false,
    ..Rules::ALL
};
/// The handshake alone.
const HANDSHAKE: Rules = Rules {
    commit_is_validated: false,
    condemn_is_exact: false,
    deleting_is_recorded: false,
    orphans_are_fenced: false,
    copies_need_homes: false,
    ..Rules::ALL
};
const SOUND: Faults = Faults {
    stale_listing: false,
    names_reused: false,
    two_winners: false,
    log_forgets: false,
    intents_adopted: false,
};

fn bounds() -> Bounds {
    let copier = Copier::Absent;
    match std::env::var("STRONGROOM_MODEL").as_deref() {
        Ok("full") => Bounds { writers: 2, collectors: 1, copier, states_max: 100_000_000 },
        _ => Bounds { writers: 1, collectors: 2, copier, states_max: 3_000_000 },
    }
}

/// With a copier, a writer and a collector are searched, and two collectors; with `full`, all of them, as far as
/// it goes.
fn bounds_of(copier: Copier) -> Vec<Bounds> {
    let of = |writers, collectors| Bounds { writers, collectors, copier, states_max: 10_000_000 };
    match std::env::var("STRONGROOM_MODEL").as_deref() {
        Ok("full") => vec![Bounds { states_max: 60_000_000, ..of(1, 2) }],
        _ => vec![of(1, 1), of(0, 2)],
    }
}

fn holds(name: &str, rules: Rules, faults: Faults) {
    holds_within(bounds(), name, rules, faults);
}

fn holds_within(bounds: Bounds, name: &str, rules: Rules, faults: Faults) {
    let found = explore(rules, faults, bounds);
    println!("{name}: {found}");
    assert!(!matches!(found, Verdict::Lost { .. }), "{name}: {found}");
    if let Verdict::Holds { reached, .. } = found {
        let wrote = bounds.writers == 0 || (reached.acknowledged && reached.refused);
        // Without a writer nobody can use what was inherited.
        let unused = bounds.copier == Copier::DiesAndIsInherited && bounds.writers == 0;
        let moved = bounds.copier == Copier::Absent || unused || reached.moved;
        assert!(reached.deleted && wrote && moved, "{name} did too little: {found}");
    }
}

fn loses(name: &str, rules: Rules, faults: Faults) {
    // One writer cannot show every loss: the search grows until it is found.
    let two = Bounds { writers: 2, collectors: 2, copier: Copier::Absent, states_max: 60_000_000 };
    loses_within(&[bounds(), two], name, rules, faults);
}

fn loses_within(bounds: &[Bounds], name: &str, rules: Rules, faults: Faults) {
    let found = bounds.iter().map(|bounds| explore(rules, faults, *bounds));
    let found = found.into_iter().find(|found| matches!(found, Verdict::Lost { .. }));
    println!("{name}: {}", found.as_ref().map_or_else(|| "NOT FOUND".into(), ToString::to_string));
    assert!(found.is_some(), "{name}: the loss was not found");
}

#[test]
fn both_together_lose_nothing() {
    holds("both", Rules::ALL, SOUND);
}

#[test]
fn the_log_alone_loses_nothing() {
    holds("log", LOG, SOUND);
}

#[test]
fn the_handshake_alone_loses_nothing() {
    holds("handshake", HANDSHAKE, SOUND);
}

#[test]
fn each_survives_what_breaks_the_other() {
    holds("both, two winners", Rules::ALL, Faults { two_winners: true, ..SOUND });
    holds("both, stale listing", Rules::ALL, Faults { stale_listing: true, ..SOUND });
}

#[test]
fn the_log_loses_without_any_one_of_its_rules() {
    loses("commit not validated", Rules { commit_is_validated: false, ..LOG }, SOUND);
    loses("condemn not exact", Rules { condemn_is_exact: false, ..LOG }, SOUND);
    loses("deleting not recorded", Rules { deleting_is_recorded: false, ..LOG }, SOUND);
    loses("orphans not fenced", Rules { orphans_are_fenced: false, ..LOG }, SOUND);
    loses("two winners of one name", LOG, Faults { two_winners: true, ..SOUND });
    loses("a log that forgets", LOG, Faults { log_forgets: true, ..SOUND });
    loses("names reused (log)", LOG, Faults { names_reused: true, ..SOUND });
}

#[test]
fn the_handshake_loses_without_any_one_of_its_rules() {
    loses("collector does not look again", Rules { collector_looks_again: false, ..HANDSHAKE }, SOUND);
    loses(
        "writer checks nothing",
        Rules { writer_reads_intents: false, writer_checks_presence: false, ..HANDSHAKE },
        SOUND,
    );
    loses("writer checks presence only", Rules { writer_reads_intents: false, ..HANDSHAKE }, SOUND);
    loses("writer reads intents only", Rules { writer_checks_presence: false, ..HANDSHAKE }, SOUND);
    loses("presence before intents", Rules { presence_comes_last: false, ..HANDSHAKE }, SOUND);
    loses(
        "intent dropped before deletes are confirmed",
        Rules { intent_outlives_deletes: false, ..HANDSHAKE },
        SOUND,
    );
    loses("intents adopted", HANDSHAKE, Faults { intents_adopted: true, ..SOUND });
    loses("stale listing", HANDSHAKE, Faults { stale_listing: true, ..SOUND });
    loses("names reused (handshake)", HANDSHAKE, Faults { names_reused: true, ..SOUND });
}

fn copies_hold(name: &str, rules: Rules, copiers: &[Copier]) {
    for bounds in copiers.iter().flat_map(|copier| bounds_of(*copier)) {
        let Bounds { writers, collectors, copier, .. } = bounds;
        holds_within(bounds, &format!("{name}, {copier:?}, {writers}x{collectors}"), rules, SOUND);
    }
}

#[test]
fn copies_lose_nothing() {
    copies_hold("both", Rules::ALL, &[Copier::Compacts, Copier::Heals]);
}

#[test]
fn copies_lose_nothing_by_the_log_alone() {
    copies_hold("log", LOG, &[Copier::Compacts, Copier::Heals]);
}

#[test]
fn copies_lose_nothing_by_the_handshake_alone() {
    // That nobody uses what is damaged is in the log alone.
    copies_hold("handshake", HANDSHAKE, &[Copier::Compacts]);
}

#[test]
fn what_is_inherited_loses_nothing() {
    let dies = &[Copier::DiesAndIsInherited];
    copies_hold("both, inherited", Rules::ALL, dies);
    copies_hold("log, inherited", LOG, dies);
    copies_hold("handshake, inherited", HANDSHAKE, dies);
}

#[test]
fn what_is_inherited_is_lost_without_any_one_of_its_rules() {
    let loses = |name, rules| loses_within(&bounds_of(Copier::DiesAndIsInherited), name, rules, SOUND);
    loses("orphans not fenced, inherited", Rules { orphans_are_fenced: false, ..LOG });
    loses("commit not validated, inherited", Rules { commit_is_validated: false, ..LOG });
    loses("condemn not exact, inherited", Rules { condemn_is_exact: false, ..LOG });
    loses("collector does not look again, inherited", Rules { collector_looks_again: false, ..HANDSHAKE });
}

#[test]
fn copies_are_lost_without_any_one_of_their_rules() {
    let loses = |copier, name, rules| loses_within(&bounds_of(copier), name, rules, SOUND);
    let late = Bounds { collectors: 2, ..bounds_of(Copier::HasCompacted)[0] };
    loses_within(&[late], "any copy counts", Rules { copies_need_homes: false, ..LOG }, SOUND);
    loses(Copier::Compacts, "condemn not exact, with copies", Rules { condemn_is_exact: false, ..LOG });
    loses(Copier::Compacts, "intents are believed in", Rules { intents_unsettle: false, ..HANDSHAKE });
}
