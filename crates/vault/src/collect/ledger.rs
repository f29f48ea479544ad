//! How often each stored chunk and node is needed, and by how many machines: the memory of a metering (`meter.rs`).
//!
//! Memory is bounded: packs are looked at from the first on, and where there would be more entries than may be, the last
//! packs are left to another round. Packs are walked twice a round: once to count the machines that need an entry, once
//! to give each of them its part.

use crate::PackId;
use crate::map::Child;
use crate::pack::ENTRY_BYTES;
use std::collections::BTreeMap;

/// Entries of a round: 20 bytes each, 120 MiB. 200 GiB of chunks of an ordinary size.
pub(super) const ENTRIES_MAX: usize = 6 << 20;
/// What a pack's entries grow by: doubling would waste as much again.
const GROWTH: usize = 64;
/// No machine.
const NOBODY: u32 = u32::MAX;

/// A chunk or node in a pack.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u32,
    length: u32,
    /// How many machines need it.
    machines: u32,
    /// The machine that was seen last.
    last: u32,
    /// How many machines have been given their part.
    given: u32,
}

impl Entry {
    /// What it takes: itself, and its row in the pack's table of contents.
    fn bytes(&self) -> u64 {
        u64::from(self.length) + ENTRY_BYTES as u64
    }

    /// The part of the machine that comes now. Bytes that cannot be divided go to one each, not always to the first: who
    /// begins depends on where the entry lies.
    fn part(&self) -> u64 {
        let machines = u64::from(self.machines);
        let turn = (u64::from(self.given) + u64::from(self.offset)) % machines;
        self.bytes() / machines + u64::from(turn < self.bytes() % machines)
    }
}

/// A machine's part of what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Its part: whole of what it alone needs, a share of what others need too.
    pub(super) share: u64,
    /// What it alone needs.
    pub(super) alone: u64,
}

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Count,
    Share,
}

/// What is known of the packs of a round.
pub(super) struct Ledger {
    walk: Walk,
    /// Packs up to this one were in earlier rounds.
    after: Option<PackId>,
    /// Packs from this one on are left to later rounds.
    end: Option<PackId>,
    packs: BTreeMap<PackId, Vec<Entry>>,
    entries: usize,
    entries_max: usize,
    machine: u32,
    parts: Vec<Part>,
}

impl Ledger {
    /// For so many machines.
    pub(super) fn new(machines: usize, entries_max: usize) -> Self {
        Self {
            walk: Walk::Count,
            after: None,
            end: None,
            packs: BTreeMap::new(),
            entries: 0,
            entries_max,
            machine: NOBODY,
            parts: vec![Part::default(); machines],
        }
    }

    /// What is noted from now on is needed by this machine.
    pub(super) fn of_machine(&mut self, machine: usize) {
        self.machine = u32::try_from(machine).expect("machines are listed by object: far fewer");
    }

    /// The machines were counted: now each is given its part.
    pub(super) fn share(&mut self) {
        self.walk = Walk::Share;
        self.packs.values_mut().flatten().for_each(|entry| entry.last = NOBODY);
    }

    /// Goes on with the packs that were left out. `false` if there are none.
    pub(super) fn next_round(&mut self) -> bool {
        let Some(end) = self.end.take() else { return false };
        self.after = Some(self.packs.last_key_value().map_or(end, |(last, _)| *last));
        (self.walk, self.entries) = (Walk::Count, 0);
        self.packs.clear();
        true
    }

    /// What each machine was given.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Notes that the machine needs these, which lie in one pack.
    pub(super) fn note(&mut self, pack: PackId, children: &[Child]) {
        if self.after.is_some_and(|after| pack <= after) || self.end.is_some_and(|end| pack >= end) {
            return;
        }
        match self.walk {
            Walk::Count => self.count(pack, children),
            Walk::Share => self.give(pack, children),
        }
    }

    fn count(&mut self, pack: PackId, children: &[Child]) {
        let machine = self.machine;
        let entries = self.packs.entry(pack).or_default();
        for child in children {
            let (offset, length) = (child.at.offset, child.at.length);
            match entries.binary_search_by_key(&offset, |entry| entry.offset) {
                Ok(at) if entries[at].last == machine => {}
                Ok(at) => {
                    entries[at].machines += 1;
                    entries[at].last = machine;
                }
                Err(at) => {
                    if entries.len() == entries.capacity() {
                        entries.reserve_exact(GROWTH);
                    }
                    entries.insert(at, Entry { offset, length, machines: 1, last: machine, given: 0 });
                    self.entries += 1;
                }
            }
        }
        // One pack is always looked at: it has 1.3 million entries at most.
        while self.entries > self.entries_max && self.packs.len() > 1 {
            let (last, dropped) = self.packs.pop_last().expect("there are several");
            self.entries -= dropped.len();
            self.end = Some(last);
        }
    }

    fn give(&mut self, pack: PackId, children: &[Child]) {
        // What nobody needed when machines were counted is nobody's: of a point that was made since.
        let Some(entries) = self.packs.get_mut(&pack) else { return };
        let part = &mut self.parts[self.machine as usize];
        for child in children {
            let Ok(at) = entries.binary_search_by_key(&child.at.offset, |entry| entry.offset) else {
                continue;
            };
            let entry = &mut entries[at];
            if entry.last == self.machine || entry.given == entry.machines {
                continue;
            }
            part.share += entry.part();
            part.alone += if entry.machines == 1 { entry.bytes() } else { 0 };
            entry.last = self.machine;
            entry.given += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Location;
    use crate::{ChunkId, PackKind, SessionId};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn child((pack, row): (u32, u32)) -> Child {
        let pack = PackId { kind: PackKind::Data, session: SessionId(Uuid::from_u128(1)), sequence: pack };
        // Odd lengths, none divisible by all numbers of machines.
        let at = Location { pack, offset: 72 + row * 1009, length: 900 + row * 7 % 101 };
        Child { id: ChunkId([0; 32]), at }
    }

    /// Every machine's places, walked as often as the ledger wants to.
    fn metered(machines: &[Vec<(u32, u32)>], entries_max: usize) -> (Vec<Part>, u32) {
        let mut ledger = Ledger::new(machines.len(), entries_max);
        let mut rounds = 0;
        loop {
            rounds += 1;
            for walk in [Walk::Count, Walk::Share] {
                if walk == Walk::Share {
                    ledger.share();
                }
                for (machine, places) in machines.iter().enumerate() {
                    ledger.of_machine(machine);
                    for place in places {
                        let child = child(*place);
                        ledger.note(child.at.pack, &[child]);
                    }
                }
            }
            if !ledger.next_round() {
                return (ledger.parts().to_vec(), rounds);
            }
        }
    }

    proptest! {
        #[test]
        fn parts_are_fair_and_add_up_however_little_memory_there_is(
            machines in prop::collection::vec(prop::collection::vec((0u32..5, 0u32..40), 0..120), 1..7),
            entries_max in 1usize..300,
        ) {
            let (parts, rounds) = metered(&machines, entries_max);
            prop_assert_eq!(&parts, &metered(&machines, usize::MAX).0);
            prop_assert!(rounds <= 5, "a round looks at one pack at least: {}", rounds);
            let of: Vec<BTreeSet<_>> = machines.iter().map(|one| one.iter().copied().collect()).collect();
            let all: BTreeSet<_> = of.iter().flatten().copied().collect();
            let bytes = |place: &(u32, u32)| u64::from(child(*place).at.length) + ENTRY_BYTES as u64;
            let sum: u64 = parts.iter().map(|part| part.share).sum();
            prop_assert_eq!(sum, all.iter().map(bytes).sum::<u64>());
            for (part, own) in parts.iter().zip(&of) {
                let users = |place: &(u32, u32)| of.iter().filter(|one| one.contains(place)).count() as u64;
                let alone: u64 = own.iter().filter(|place| users(place) == 1).map(bytes).sum();
                prop_assert_eq!(part.alone, alone);
                // Each chunk is divided to within a byte.
                let least: u64 = own.iter().map(|place| bytes(place) / users(place)).sum();
                prop_assert!((least..=least + own.len() as u64).contains(&part.share));
            }
        }
    }
}
