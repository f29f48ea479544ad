//! Who may start: first come, first served, under limits for each host, each store, and all together.
//!
//! Runs of one host and store wait in one *lane*, by the time they are due. A lane stands in one place: `ready`, or
//! parked where it was refused, at its host or its store. What finishes frees one place, and wakes one lane there. So
//! a start costs the same however many wait, and the order is a function of what was offered, not of chance.

use crate::{HostId, MachineId, StoreId};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// How many runs at once. Each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On one host: what its disks and network can lose to backups.
    pub per_host: usize,
    /// Into one store: what it takes before it slows down.
    pub per_store: usize,
    /// In all: what movers and servers can carry.
    pub overall: usize,
}

/// A run that is to start. Ordered by when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// From when on it may start.
    pub due: Timestamp,
    /// Of which machine.
    pub machine: MachineId,
    /// Where the machine is.
    pub host: HostId,
    /// Where its blocks go.
    pub store: StoreId,
    /// How long it is expected to take.
    pub takes: SignedDuration,
}

/// Runs that wait, and how many are under way.
#[derive(Clone, Debug)]
pub struct Queue {
    limits: Limits,
    running: usize,
    waiting: usize,
    lanes: HashMap<(HostId, StoreId), BinaryHeap<Reverse<Run>>>,
    /// Lanes that may have a run to start, by the first run of each.
    ready: BinaryHeap<Reverse<Run>>,
    hosts: HashMap<HostId, Gate>,
    stores: HashMap<StoreId, Gate>,
}

/// A host or a store: how many runs it carries, and which lanes wait for that to become fewer.
#[derive(Clone, Debug, Default)]
struct Gate {
    running: usize,
    parked: BinaryHeap<Reverse<Run>>,
}

impl Queue {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: 0,
            waiting: 0,
            lanes: HashMap::new(),
            ready: BinaryHeap::new(),
            hosts: HashMap::new(),
            stores: HashMap::new(),
        }
    }

    /// Has a run wait.
    pub fn offer(&mut self, run: Run) {
        let lane = self.lanes.entry((run.host, run.store)).or_default();
        if lane.is_empty() {
            self.ready.push(Reverse(run));
        }
        lane.push(Reverse(run));
        self.waiting += 1;
    }

    /// Counts a run that is under way already, whatever the limits.
    pub fn occupy(&mut self, run: &Run) {
        self.hosts.entry(run.host).or_default().running += 1;
        self.stores.entry(run.store).or_default().running += 1;
        self.running += 1;
    }

    /// The next run to start now; it counts as under way until [`finish`](Self::finish).
    pub fn start(&mut self) -> Option<Run> {
        while self.running < self.limits.overall {
            let Reverse(first) = self.ready.pop()?;
            let host = self.hosts.entry(first.host).or_default();
            let store = self.stores.entry(first.store).or_default();
            let host_full = host.running >= self.limits.per_host;
            let store_full = store.running >= self.limits.per_store;
            // A lane that was woken at one gate and is refused at the other passes its turn on.
            let passed_on = match (host_full, store_full) {
                (false, false) => return Some(self.take((first.host, first.store))),
                (true, false) => store.parked.pop(),
                (false, true) => host.parked.pop(),
                (true, true) => None,
            };
            if host_full {
                host.parked.push(Reverse(first));
            } else {
                store.parked.push(Reverse(first));
            }
            self.ready.extend(passed_on);
        }
        None
    }

    /// A run that was started is over.
    pub fn finish(&mut self, run: &Run) {
        self.running -= 1;
        let host = self.hosts.get_mut(&run.host);
        let store = self.stores.get_mut(&run.store);
        for gate in [host, store].into_iter().flatten() {
            gate.running -= 1;
            self.ready.extend(gate.parked.pop());
        }
    }

    /// How many are under way.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn take(&mut self, lane: (HostId, StoreId)) -> Run {
        let waiting = self.lanes.get_mut(&lane).expect("a lane that stands somewhere exists");
        let Reverse(run) = waiting.pop().expect("a lane that stands somewhere is not empty");
        match waiting.peek() {
            Some(next) => self.ready.push(*next),
            None => {
                self.lanes.remove(&lane);
            }
        }
        self.waiting -= 1;
        self.occupy(&run);
        run
    }
}
