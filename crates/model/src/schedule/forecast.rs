//! What will run, and when it will end: the queue, played forward with expected durations.

use super::queue::{Limits, Queue, Run};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Past runs that an expected duration is taken from: a week of nights, so that last month's size does not count.
const PAST_RUNS: usize = 7;

/// What is known when a forecast is made.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Runs under way, and when each should end.
    pub running: Vec<(Run, Timestamp)>,
    /// Runs to come, in any order.
    pub coming: Vec<Run>,
}

/// When things will run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The runs to come, in the order they start.
    pub runs: Vec<Planned>,
    /// When the last of all is over.
    pub ends: Option<Timestamp>,
    /// How many run at once at most.
    pub peak: usize,
}

/// When one run will start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The run.
    pub run: Run,
    /// When it will start: once due, and once there is room.
    pub start: Timestamp,
    /// When it will end.
    pub end: Timestamp,
}

impl Planned {
    /// How long it waits for room.
    pub fn waits(&self) -> SignedDuration {
        self.start.duration_since(self.run.due)
    }
}

/// How long a machine's next run should take: the median of its last ones. None if it never ran.
pub fn expected_duration(past: &[SignedDuration]) -> Option<SignedDuration> {
    let mut last = past[past.len().saturating_sub(PAST_RUNS)..].to_vec();
    last.sort();
    last.get(last.len() / 2).copied()
}

/// What will run and when it will end, if runs take as long as expected.
pub fn forecast(mut expected: Expected, limits: Limits) -> Forecast {
    expected.coming.sort();
    let ends = expected.running.iter().map(|(_, end)| *end).max();
    let mut forecast = Forecast { runs: Vec::with_capacity(expected.coming.len()), ends, peak: 0 };
    let mut playback = Playback::new(limits, expected.running);
    playback.play(&expected.coming, None, &mut forecast);
    forecast.peak = playback.peak;
    forecast
}

impl Watch for Forecast {
    fn starts(&mut self, planned: Planned) {
        self.ends = self.ends.max(Some(planned.end));
        self.runs.push(planned);
    }
}

/// Sees what happens in a playback.
pub(crate) trait Watch {
    /// A run is due. Whether it may wait for room; else it is dropped.
    fn arrives(&mut self, _run: &Run) -> bool {
        true
    }

    /// A run starts.
    fn starts(&mut self, planned: Planned);

    /// A run is over.
    fn ends(&mut self, _run: &Run) {}
}

/// The queue in time: runs arrive when due, start when there is room, and end after their time.
pub(crate) struct Playback {
    queue: Queue,
    ends: BinaryHeap<Reverse<(Timestamp, Run)>>,
    /// How many ran at once at most.
    pub(crate) peak: usize,
    /// How many waited at once at most.
    pub(crate) longest_queue: usize,
}

impl Playback {
    pub(crate) fn new(limits: Limits, running: Vec<(Run, Timestamp)>) -> Self {
        let mut queue = Queue::new(limits);
        running.iter().for_each(|(run, _)| queue.occupy(run));
        let ends = running.into_iter().map(|(run, end)| Reverse((end, run))).collect();
        Self { peak: queue.running(), longest_queue: 0, queue, ends }
    }

    /// Plays these arrivals, in order of `due`: until all are over, or until `before`, to go on from there.
    pub(crate) fn play(&mut self, arrivals: &[Run], before: Option<Timestamp>, watch: &mut impl Watch) {
        let mut arrivals = arrivals.iter().peekable();
        loop {
            let arrival = arrivals.peek().map(|run| run.due);
            let end = self.ends.peek().map(|Reverse((end, _))| *end);
            let Some(now) = arrival.into_iter().chain(end).min() else { break };
            if before.is_some_and(|before| now >= before) {
                break;
            }
            // What ends makes room before what arrives asks for it.
            while let Some(run) = self.pop_ended(now) {
                self.queue.finish(&run);
                watch.ends(&run);
            }
            while let Some(run) = arrivals.next_if(|run| run.due <= now) {
                if watch.arrives(run) {
                    self.queue.offer(*run);
                }
            }
            self.start_all(now, watch);
        }
    }

    fn start_all(&mut self, now: Timestamp, watch: &mut impl Watch) {
        while let Some(run) = self.queue.start() {
            let end = now.saturating_add(run.takes).expect("a duration, not a span");
            self.ends.push(Reverse((end, run)));
            watch.starts(Planned { run, start: now, end });
        }
        self.peak = self.peak.max(self.queue.running());
        self.longest_queue = self.longest_queue.max(self.queue.waiting());
    }

    fn pop_ended(&mut self, now: Timestamp) -> Option<Run> {
        let has_ended = self.ends.peek().is_some_and(|Reverse((end, _))| *end <= now);
        has_ended.then(|| self.ends.pop()).flatten().map(|Reverse((_, run))| run)
    }
}
