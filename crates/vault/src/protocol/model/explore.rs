//! The search: depth first through every world that can be reached, each looked at once.

use super::world::{Copier, Faults, Next, Reached, World};
use crate::protocol::Rules;
use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasher;

/// How much is searched.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) writers: usize,
    pub(super) collectors: usize,
    pub(super) copier: Copier,
    /// The search ends here without a verdict on the rest.
    pub(super) states_max: usize,
}

/// What the search came to.
pub(super) enum Verdict {
    /// Nothing is lost anywhere.
    Holds { states: usize, edges: usize, reached: Reached },
    /// Nothing is lost in the part that was searched.
    Unfinished { states: usize },
    /// This is how.
    Lost { states: usize, trace: Vec<&'static str> },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds { states, edges, reached } => {
                write!(f, "holds: {states} states, {edges} edges, {reached:?}")
            }
            Self::Unfinished { states } => write!(f, "no loss in the first {states} states"),
            Self::Lost { states, trace } => write!(f, "LOST after {states} states: {}", trace.join(" > ")),
        }
    }
}

/// Worlds are remembered by 128 bits of hash: two that collide would hide one of them, which among 10^8 has
/// a chance of 10^-23.
struct Seen {
    hashes: HashSet<u128>,
    seeds: [std::hash::RandomState; 2],
}

impl Seen {
    fn is_new(&mut self, world: &World) -> bool {
        let half = |seed: &std::hash::RandomState| u128::from(seed.hash_one(world));
        self.hashes.insert(half(&self.seeds[0]) << 64 | half(&self.seeds[1]))
    }
}

/// Searches every world that can be reached under these rules and faults.
pub(super) fn explore(rules: Rules, faults: Faults, bounds: Bounds) -> Verdict {
    let mut seen = Seen { hashes: HashSet::new(), seeds: Default::default() };
    let mut reached = Reached::default();
    let mut edges = 0;
    let mut trace: Vec<&'static str> = Vec::new();
    let start = World::new(bounds.writers, bounds.collectors, bounds.copier);
    seen.is_new(&start);
    let mut waiting: Vec<(Next, usize)> = vec![((start, "the beginning"), 0)];
    let mut nexts = Vec::new();
    while let Some(((world, label), depth)) = waiting.pop() {
        trace.truncate(depth);
        trace.push(label);
        if world.is_lost() {
            return Verdict::Lost { states: seen.hashes.len(), trace: trace.split_off(1) };
        }
        if seen.hashes.len() > bounds.states_max {
            return Verdict::Unfinished { states: seen.hashes.len() };
        }
        world.reached(&mut reached);
        world.nexts(rules, faults, &mut nexts);
        edges += nexts.len();
        waiting.extend(nexts.drain(..).filter(|(next, _)| seen.is_new(next)).map(|next| (next, depth + 1)));
    }
    Verdict::Holds { states: seen.hashes.len(), edges, reached }
}
