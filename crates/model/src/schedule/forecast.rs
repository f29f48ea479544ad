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
    let mut playback = Playback::new(limits, expected.running);
    let mut runs = Vec::with_capacity(expected.coming.len());
    playback.play(&expected.coming, None, |planned| runs.push(planned));
    Forecast { runs, ends: playback.last_end, peak: playback.peak }
}

/// The queue in time: runs arrive when due, start when there is room, and end after their time.
pub(crate) struct Playback {
    queue: Queue,
    ends: BinaryHeap<Reverse<(Timestamp, Run)>>,
    last_end: Option<Timestamp>,
    /// How many ran at once at most.
    pub(crate) peak: usize,
}

impl Playback {
    pub(crate) fn new(limits: Limits, running: Vec<(Run, Timestamp)>) -> Self {
        let mut queue = Queue::new(limits);
        running.iter().for_each(|(run, _)| queue.occupy(run));
        let last_end = running.iter().map(|(_, end)| *end).max();
        let ends = running.into_iter().map(|(run, end)| Reverse((end, run))).collect();
        Self { peak: queue.running(), queue, ends, last_end }
    }

    /// Plays these arrivals, in order of `due`, until all have started; or until `before`, to go on from there.
    pub(crate) fn play(
        &mut self,
        arrivals: &[Run],
        before: Option<Timestamp>,
        mut started: impl FnMut(Planned),
    ) {
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
            }
            while let Some(run) = arrivals.next_if(|run| run.due <= now) {
                self.queue.offer(*run);
            }
            self.start_all(now, &mut started);
        }
    }

    fn start_all(&mut self, now: Timestamp, started: &mut impl FnMut(Planned)) {
        while let Some(run) = self.queue.start() {
            let end = now.saturating_add(run.takes).expect("a duration, not a span");
            self.ends.push(Reverse((end, run)));
            self.last_end = self.last_end.max(Some(end));
            started(Planned { run, start: now, end });
        }
        self.peak = self.peak.max(self.queue.running());
    }

    fn pop_ended(&mut self, now: Timestamp) -> Option<Run> {
        let has_ended = self.ends.peek().is_some_and(|Reverse((end, _))| *end <= now);
        has_ended.then(|| self.ends.pop()).flatten().map(|Reverse((_, run))| run)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }
}
