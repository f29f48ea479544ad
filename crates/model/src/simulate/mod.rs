//! A month of many machines, simulated: does the schedule spread, keep its limits, and treat all alike?
//!
//! The same slots, starts, catching up and queue as in the server; only the machines and how long their runs take are
//! made up, from a seed. One day in, the server is off for some hours, so that there is something to catch up.

mod fleet;
mod report;
#[cfg(test)]
mod tests;

pub use report::{Percentiles, Report};

use crate::chance::Random;
use crate::schedule::{Limits, Planned, Playback, Run, Slot, Watch};
use fleet::{Fleet, Member};
use jiff::{SignedDuration, Timestamp};
use report::Tally;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Decides everything that is made up.
    pub seed: u64,
    /// How many machines.
    pub machines: u32,
    /// How many machines a host runs.
    pub machines_per_host: u32,
    /// How many stores they are spread over.
    pub stores: u32,
    /// For how many days.
    pub days: u32,
    /// How many runs at once.
    pub limits: Limits,
    /// From when on.
    pub from: Timestamp,
    /// For how many hours the server is off, on the second day from 20:00 UTC.
    pub outage_hours: u32,
}

impl Scenario {
    /// The scenario whose figures are published: 100,000 machines on 1,000 hosts, 30 days.
    pub fn standard(seed: u64) -> Self {
        Self {
            seed,
            machines: 100_000,
            machines_per_host: 100,
            stores: 20,
            days: 30,
            limits: Limits { per_host: 4, per_store: 200, overall: 3000 },
            // 1 October 2026, 00:00 UTC. Within its month clocks change in Europe and Australia.
            from: Timestamp::constant(1_790_812_800, 0),
            outage_hours: 10,
        }
    }

    fn hours(&self, hours: u32) -> Timestamp {
        let after = SignedDuration::from_hours(i64::from(hours));
        self.from.saturating_add(after).expect("a duration, not a span")
    }
}

/// Simulates it. The same scenario gives the same report.
pub fn simulate(scenario: &Scenario) -> Report {
    let fleet = Fleet::new(scenario);
    let mut world = World::new(scenario, &fleet);
    let mut playback = Playback::new(scenario.limits, Vec::new());
    // An hour at a time: arrivals of a month would not fit in memory.
    for hour in 0..scenario.days * 24 {
        let (start, end) = (scenario.hours(hour), scenario.hours(hour + 1));
        let arrivals = world.arrivals(start, end);
        playback.play(&arrivals, Some(end), &mut world);
    }
    playback.play(&[], None, &mut world);
    world.tally.report(&playback)
}

/// The machines, and what became of their runs.
struct World<'a> {
    fleet: &'a Fleet,
    /// From and before when nobody starts anything.
    outage: (Timestamp, Timestamp),
    random: Random,
    /// Whether a run of the machine waits or is under way.
    busy: Vec<bool>,
    /// When a run should have started, if not when it arrived: those caught up.
    wanted: Vec<Option<Timestamp>>,
    tally: Tally<'a>,
}

impl<'a> World<'a> {
    fn new(scenario: &Scenario, fleet: &'a Fleet) -> Self {
        let machines = fleet.members.len();
        // On the second day at 20:00.
        let outage = (scenario.hours(44), scenario.hours(44 + scenario.outage_hours));
        Self {
            fleet,
            outage,
            random: Random::new(scenario.seed ^ 1),
            busy: vec![false; machines],
            wanted: vec![None; machines],
            tally: Tally::new(fleet),
        }
    }

    /// Runs that become due in that hour, in order: for slots whose start falls into it, and, in the hour that the
    /// server comes back, for what was missed.
    fn arrivals(&mut self, start: Timestamp, end: Timestamp) -> Vec<Run> {
        let mut arrivals = Vec::new();
        let (off, on) = self.outage;
        for (number, policy) in self.fleet.policies.iter().enumerate() {
            // As `Policy::starts`, but the slots of a policy are looked up once for all its machines.
            let earliest = start.saturating_sub(policy.start_window()).expect("a duration, not a span");
            let slots: Vec<Slot> = policy.slots(earliest, end).collect();
            for member in self.fleet.under(number) {
                for slot in &slots {
                    let due = policy.start_of(slot, member.machine);
                    if (start..end).contains(&due) && !(off..on).contains(&due) {
                        arrivals.push(self.run(member, due));
                    }
                }
                if (start..end).contains(&on) {
                    arrivals.extend(self.caught_up(member));
                }
            }
        }
        self.tally.slots += arrivals.len() as u64;
        arrivals.sort_unstable();
        arrivals
    }

    /// What a machine runs when the server is back, by the rule that the server has for it.
    fn caught_up(&mut self, member: &Member) -> Option<Run> {
        let (off, on) = self.outage;
        let policy = &self.fleet.policies[member.policy];
        // A slot just before the outage may have started before it, or not any more.
        let before = off.saturating_sub(policy.start_window()).expect("a duration, not a span");
        let just_before = policy.slots(before, off);
        let had = just_before.filter(|slot| policy.start_of(slot, member.machine) < off).last();
        let settled = had.map_or(before, |slot| slot.at);
        let due = policy.due(member.machine, settled, on, self.busy[member.number]);
        let skipped = due.skipped.len() as u64;
        self.tally.slots += skipped;
        match due.run {
            None => self.tally.still_running += skipped,
            Some(_) => self.tally.missed += skipped,
        }
        let slot = due.run?;
        let start = policy.start_of(&slot, member.machine);
        if start >= on {
            // Not missed: due in this very moment, it arrives as usual.
            return None;
        }
        self.wanted[member.number] = Some(start);
        self.tally.caught_up += 1;
        Some(self.run(member, on))
    }

    fn run(&mut self, member: &Member, due: Timestamp) -> Run {
        let Member { machine, host, store, .. } = *member;
        Run { due, machine, host, store, takes: member.next_duration(&mut self.random) }
    }
}

impl Watch for World<'_> {
    fn arrives(&mut self, run: &Run) -> bool {
        let number = Fleet::number(run.machine);
        let is_busy = std::mem::replace(&mut self.busy[number], true);
        self.tally.still_running += u64::from(is_busy);
        !is_busy
    }

    fn starts(&mut self, planned: Planned) {
        let number = Fleet::number(planned.run.machine);
        let wanted = self.wanted[number].take().unwrap_or(planned.run.due);
        self.tally.started(number, planned.start.duration_since(wanted));
    }

    fn ends(&mut self, run: &Run) {
        self.busy[Fleet::number(run.machine)] = false;
    }
}
