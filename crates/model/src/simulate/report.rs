//! What came of a simulation.

use super::fleet::Fleet;
use crate::schedule::Playback;
use jiff::SignedDuration;
use std::fmt;

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Slots that came.
    pub slots: u64,
    /// Runs that were started.
    pub runs: u64,
    /// Slots that had no run because the machine's last one was still waiting or under way.
    pub still_running: u64,
    /// Slots that came while the server was off and that a later one's run made up for.
    pub missed: u64,
    /// Runs that made up for those.
    pub caught_up: u64,
    /// Runs at once, at most.
    pub peak: usize,
    /// Runs that waited for room at once, at most.
    pub longest_queue: usize,
    /// From the machine's moment after the slot to the start of its run.
    pub lateness: Percentiles,
    /// The same, the mean of each host's runs.
    pub lateness_of_hosts: Percentiles,
    /// The same, the mean of each machine's runs.
    pub lateness_of_machines: Percentiles,
    /// Jain's index of the mean lateness of machines under the same policy; the lowest of the policies. 1 if all are
    /// late alike; if some are and the others are never, their share.
    pub fairness: f64,
}

/// A distribution in three numbers, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half are not above.
    pub p50: u32,
    /// 99 of 100 are not above.
    pub p99: u32,
    /// The largest.
    pub max: u32,
}

/// What is counted while it goes on.
pub(super) struct Tally<'a> {
    fleet: &'a Fleet,
    pub(super) slots: u64,
    pub(super) still_running: u64,
    pub(super) missed: u64,
    pub(super) caught_up: u64,
    /// Each run's lateness in seconds.
    lateness: Vec<u32>,
    /// By host: runs, and their lateness in all.
    hosts: Vec<(u64, u64)>,
    /// By machine: the same.
    machines: Vec<(u64, u64)>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        Self {
            fleet,
            slots: 0,
            still_running: 0,
            missed: 0,
            caught_up: 0,
            lateness: Vec::new(),
            hosts: vec![(0, 0); fleet.hosts],
            machines: vec![(0, 0); fleet.members.len()],
        }
    }

    pub(super) fn started(&mut self, machine: usize, late: SignedDuration) {
        let seconds = u32::try_from(late.as_secs()).expect("no run starts early, or years late");
        self.lateness.push(seconds);
        for (runs, total) in [&mut self.hosts[self.fleet.host_of(machine)], &mut self.machines[machine]] {
            *runs += 1;
            *total += u64::from(seconds);
        }
    }

    pub(super) fn report(mut self, playback: &Playback) -> Report {
        let under = (0..self.fleet.policies.len()).map(|policy| self.fleet.under(policy));
        let jains = under.map(|members| jain(&means(members.map(|member| &self.machines[member.number]))));
        let fairness = jains.fold(1.0, f64::min);
        Report {
            slots: self.slots,
            runs: self.lateness.len() as u64,
            still_running: self.still_running,
            missed: self.missed,
            caught_up: self.caught_up,
            peak: playback.peak,
            longest_queue: playback.longest_queue,
            lateness: Percentiles::of(&mut self.lateness),
            lateness_of_hosts: Percentiles::of(&mut means(&self.hosts)),
            lateness_of_machines: Percentiles::of(&mut means(&self.machines)),
            fairness,
        }
    }
}

/// The mean of each that had a run.
fn means<'a>(of: impl IntoIterator<Item = &'a (u64, u64)>) -> Vec<u32> {
    let had_runs = of.into_iter().filter(|(runs, _)| *runs > 0);
    had_runs.map(|(runs, total)| u32::try_from(total / runs).expect("a mean of u32")).collect()
}

impl Percentiles {
    fn of(values: &mut [u32]) -> Self {
        values.sort_unstable();
        let at = |percent: usize| values.get((values.len() * percent / 100).min(values.len().max(1) - 1));
        let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
        Self { p50, p99, max }
    }
}

/// The square of the sum, by the count times the sum of squares.
fn jain(values: &[u32]) -> f64 {
    let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    if squares > 0.0 { sum * sum / (values.len() as f64 * squares) } else { 1.0 }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] =
            [self.p50, self.p99, self.max].map(|s| format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60));
        write!(f, "p50 {p50}, p99 {p99}, max {max}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "slots              {}", self.slots)?;
        writeln!(f, "runs               {}, of them {} caught up", self.runs, self.caught_up)?;
        writeln!(f, "skipped            {} still running, {} missed", self.still_running, self.missed)?;
        writeln!(f, "at once            {} at most; {} waiting at most", self.peak, self.longest_queue)?;
        writeln!(f, "lateness           {}", self.lateness)?;
        writeln!(f, "  mean by host     {}", self.lateness_of_hosts)?;
        writeln!(f, "  mean by machine  {}", self.lateness_of_machines)?;
        write!(
            f,
            "fairness           {:.3} (Jain's index of mean lateness within the worst policy)",
            self.fairness
        )
    }
}
