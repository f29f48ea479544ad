//! The queue against one that looks at everything, and forecasts.

use super::{at, host, machine, store};
use crate::schedule::{Expected, Limits, Queue, Run, forecast};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const MIDNIGHT: &str = "2026-01-01T00:00:00Z";

fn minutes(count: u64) -> SignedDuration {
    SignedDuration::from_mins(count.cast_signed())
}

fn run(number: u64, (on, to): (u64, u64), due: u64, takes: u64) -> Run {
    let due = at(MIDNIGHT).saturating_add(minutes(due)).unwrap();
    Run { due, machine: machine(number), host: host(on), store: store(to), takes: minutes(takes) }
}

/// How many of them a host, a store, all have.
fn load(running: &[Run], of: &Run) -> (usize, usize, usize) {
    let on_host = running.iter().filter(|run| run.host == of.host).count();
    (on_host, running.iter().filter(|run| run.store == of.store).count(), running.len())
}

fn has_room(running: &[Run], of: &Run, limits: Limits) -> bool {
    let (host, store, all) = load(running, of);
    host < limits.per_host && store < limits.per_store && all < limits.overall
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Never over a limit; never idle while something could start; in a lane, first due first; all run.
    #[test]
    fn keeps_the_limits_and_wastes_no_room(
        runs in prop::collection::vec((0..4_u64, 0..3_u64, 0..50_u64), 1..60),
        limits in (1..4_usize, 1..4_usize, 1..7_usize),
        choices in prop::collection::vec((0..3_u8, any::<usize>()), 0..200),
    ) {
        let limits = Limits { per_host: limits.0, per_store: limits.1, overall: limits.2 };
        let mut queue = Queue::new(limits);
        let mut offers: Vec<Run> = runs.iter().zip(0..).map(|((h, s, d), n)| run(n, (*h, *s), *d, 1)).collect();
        let (mut waiting, mut running, mut done) = (Vec::<Run>::new(), Vec::<Run>::new(), 0);
        let mut choices = choices.into_iter();
        while done < runs.len() {
            let (choice, which) = choices.next().unwrap_or((0, 0));
            match choice {
                1 | 2 if !offers.is_empty() => {
                    let offer = offers.swap_remove(which % offers.len());
                    queue.offer(offer);
                    waiting.push(offer);
                }
                _ if !running.is_empty() => {
                    let over = running.swap_remove(which % running.len());
                    queue.finish(&over);
                    done += 1;
                }
                _ => {
                    for offer in offers.drain(..) {
                        queue.offer(offer);
                        waiting.push(offer);
                    }
                }
            }
            while let Some(started) = queue.start() {
                prop_assert!(has_room(&running, &started, limits));
                let lane = waiting.iter().filter(|run| (run.host, run.store) == (started.host, started.store));
                prop_assert_eq!(lane.min(), Some(&started));
                waiting.retain(|run| run != &started);
                running.push(started);
            }
            prop_assert!(waiting.iter().all(|run| !has_room(&running, run, limits)));
            prop_assert_eq!((queue.running(), queue.waiting()), (running.len(), waiting.len()));
        }
    }
}

#[test]
fn says_what_runs_tonight_and_when_it_ends() {
    let limits = Limits { per_host: 1, per_store: 2, overall: 3 };
    let started = run(9, (1, 1), 0, 0);
    let expected = Expected {
        running: vec![(started, at("2026-01-01T00:30:00Z"))],
        coming: vec![
            run(1, (1, 1), 10, 60), // its host is busy until 00:30
            run(2, (2, 1), 10, 60), // runs at once, and fills the store
            run(3, (3, 1), 20, 5),  // the store is full until 01:10
            run(4, (4, 2), 20, 5),  // another store
        ],
    };
    let forecast = forecast(expected, limits);
    let times: Vec<_> = forecast
        .runs
        .iter()
        .map(|planned| {
            let hhmm = |at: Timestamp| at.strftime("%H:%M").to_string();
            (planned.run.machine, hhmm(planned.start), hhmm(planned.end))
        })
        .collect();
    let row = |number, start: &str, end: &str| (machine(number), start.to_owned(), end.to_owned());
    assert_eq!(
        times,
        [
            row(2, "00:10", "01:10"),
            row(4, "00:20", "00:25"),
            row(1, "00:30", "01:30"),
            row(3, "01:10", "01:15")
        ]
    );
    assert_eq!(forecast.ends, Some(at("2026-01-01T01:30:00Z")));
    assert_eq!(forecast.peak, 3);
    assert_eq!(forecast.runs[3].waits(), minutes(50));
}
