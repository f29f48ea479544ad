//! Two servers and one job: every interleaving, a crash at any point, a person who cancels.
//!
//! A server claims, does a step's work, reports it, renews, fails, gives back, dies, or sleeps as long as it likes and
//! then goes on as if nothing had happened. Work is what steps really are: putting an object create-only, under a name
//! that the job and the step give, so that doing it again finds it. Time moves in ticks of half a lease.
//!
//! Searched breadth first over all states. Checked in each: what is over stays as it is; a report counts only from
//! whoever claimed last; a job is completed only with all its work there. And from each an end can be reached.

use super::*;
use crate::ClaimantId;
use jiff::Timestamp;
use std::collections::HashMap;
use uuid::Uuid;

const TICK_SECONDS: i64 = 30;
const LEASE_SECONDS: i64 = 60;
const SERVERS: usize = 2;

/// How much may happen: bounds the search.
#[derive(Clone, Copy)]
struct Bounds {
    ticks: i64,
    claims: u64,
    crashes: u8,
    failures: u8,
}

/// What a server believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Server {
    Idle,
    /// It has a claim, and is at this step's work, or has done it.
    Works {
        claim: Claim,
        step: usize,
        is_done: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    job: Job,
    servers: [Server; SERVERS],
    /// Who claimed last.
    newest: Option<usize>,
    /// Which steps' objects are there.
    objects: [bool; 2],
    ticks: i64,
    crashes: u8,
    failures: u8,
    has_cancelled: bool,
}

impl World {
    fn begin() -> Self {
        Self {
            job: Job::new(JobKind::Backup),
            servers: [Server::Idle; SERVERS],
            newest: None,
            objects: [false; 2],
            ticks: 0,
            crashes: 0,
            failures: 0,
            has_cancelled: false,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.ticks * TICK_SECONDS).expect("small")
    }

    fn lease_end(&self) -> Timestamp {
        Timestamp::from_second(self.ticks * TICK_SECONDS + LEASE_SECONDS).expect("small")
    }

    /// All that may happen next. `fenced`: reports are checked; else the rule is broken for a test of this search.
    fn next(&self, bounds: Bounds, fenced: bool) -> Result<Vec<Self>, String> {
        let mut worlds = Vec::new();
        if self.ticks < bounds.ticks {
            worlds.push(Self { ticks: self.ticks + 1, ..self.clone() });
        }
        if !self.has_cancelled {
            let mut world = Self { has_cancelled: true, ..self.clone() };
            world.take(None, Event::Cancel, true)?;
            worlds.push(world);
        }
        for at in 0..SERVERS {
            match self.servers[at] {
                Server::Idle if self.job.generation.0 < bounds.claims => worlds.extend(self.claims(at)?),
                Server::Idle => {}
                Server::Works { claim, step, is_done } => {
                    worlds.extend(self.works(at, claim, (step, is_done), fenced)?);
                    if self.failures < bounds.failures {
                        let mut world = Self { failures: self.failures + 1, ..self.clone() };
                        world.take(Some(at), Event::Fail(claim, Failure::Busy, 0), fenced)?;
                        world.servers[at] = Server::Idle;
                        worlds.push(world);
                    }
                    if self.crashes < bounds.crashes {
                        let mut world = Self { crashes: self.crashes + 1, ..self.clone() };
                        world.servers[at] = Server::Idle;
                        worlds.push(world);
                    }
                }
            }
        }
        Ok(worlds)
    }

    fn claims(&self, at: usize) -> Result<Option<Self>, String> {
        let mut world = self.clone();
        let claimant = ClaimantId(Uuid::from_u64_pair(8, at as u64));
        if !world.take(None, Event::Claim(claimant, self.lease_end()), true)? {
            return Ok(None);
        }
        let Some(claim) = world.job.claimed() else { return Ok(Some(world)) };
        if self.job.claimed().is_some_and(|before| before.generation >= claim.generation) {
            return Err("a claim took no new generation".to_owned());
        }
        world.newest = Some(at);
        world.servers[at] = Server::Works { claim, step: world.job.steps_done, is_done: false };
        Ok(Some(world))
    }

    /// The step's work, its report, a renewal, giving back, ending what was cancelled.
    fn works(
        &self,
        at: usize,
        claim: Claim,
        (step, is_done): (usize, bool),
        fenced: bool,
    ) -> Result<Vec<Self>, String> {
        let mut worlds = Vec::new();
        if !is_done {
            let mut world = self.clone();
            world.objects[step] = true;
            world.servers[at] = Server::Works { claim, step, is_done: true };
            worlds.push(world);
        }
        let mut reports =
            vec![Event::Renew(claim, self.lease_end()), Event::Release(claim), Event::Cancelled(claim)];
        if is_done {
            reports.push(Event::StepDone(claim, JobKind::Backup.steps()[step]));
        }
        for report in reports {
            let mut world = self.clone();
            let counts = world.take(Some(at), report, fenced)?;
            let goes_on = matches!(report, Event::Renew(..) | Event::StepDone(..)) && !world.job.is_over();
            let refused_only = matches!(report, Event::Cancelled(_)) && !counts && self.is_newest(claim);
            world.servers[at] = match report {
                _ if refused_only => self.servers[at],
                Event::StepDone(..) if goes_on && counts => {
                    Server::Works { claim, step: step + 1, is_done: false }
                }
                Event::Renew(..) if goes_on && counts => self.servers[at],
                _ => Server::Idle,
            };
            worlds.push(world);
        }
        Ok(worlds)
    }

    fn is_newest(&self, claim: Claim) -> bool {
        self.job.claimed() == Some(claim)
    }

    /// Applies an event if it counts; checks what must hold for it.
    fn take(&mut self, reporter: Option<usize>, event: Event, fenced: bool) -> Result<bool, String> {
        let before = self.job.clone();
        let event = if fenced { event } else { forge(event, &before) };
        let Ok(after) = before.apply(event, self.now()) else { return Ok(false) };
        if before.is_over() {
            return Err(format!("what was over changed: {event:?}"));
        }
        if reporter.is_some() && reporter != self.newest {
            return Err(format!("a report counted that was not from who claimed last: {event:?}"));
        }
        let is_completed = matches!(after.state, JobState::Completed | JobState::CompletedWithWarnings);
        if is_completed && self.objects != [true; 2] {
            return Err("completed without all its work".to_owned());
        }
        if after.generation < before.generation || after.steps_done < before.steps_done {
            return Err(format!("went backwards: {event:?}"));
        }
        self.job = after;
        Ok(true)
    }
}

/// The report as it would be if nobody looked at its generation.
fn forge(event: Event, job: &Job) -> Event {
    let Some(newest) = job.claimed() else { return event };
    match event {
        Event::StepDone(_, step) => Event::StepDone(newest, step),
        Event::Fail(_, failure, seed) => Event::Fail(newest, failure, seed),
        Event::Release(_) => Event::Release(newest),
        Event::Renew(_, until) => Event::Renew(newest, until),
        other => other,
    }
}

/// All reachable worlds, and the places of those that each may become.
struct Reached {
    worlds: Vec<World>,
    next: Vec<Vec<usize>>,
}

fn search(bounds: Bounds, fenced: bool) -> Result<Reached, String> {
    let mut reached = Reached { worlds: vec![World::begin()], next: Vec::new() };
    let mut places = HashMap::from([(World::begin(), 0)]);
    while reached.next.len() < reached.worlds.len() {
        let next = reached.worlds[reached.next.len()].next(bounds, fenced)?;
        let next = next.into_iter().map(|world| {
            *places.entry(world).or_insert_with_key(|world| {
                reached.worlds.push(world.clone());
                reached.worlds.len() - 1
            })
        });
        let next = next.collect();
        reached.next.push(next);
    }
    Ok(reached)
}

impl Reached {
    /// The worlds from which no end can be reached.
    fn stuck(&self) -> impl Iterator<Item = &World> {
        let mut before = vec![Vec::new(); self.worlds.len()];
        for (place, next) in self.next.iter().enumerate() {
            next.iter().for_each(|next| before[*next].push(place));
        }
        let mut ends: Vec<bool> = self.worlds.iter().map(|world| world.job.is_over()).collect();
        let mut waiting: Vec<usize> = (0..ends.len()).filter(|place| ends[*place]).collect();
        while let Some(place) = waiting.pop() {
            for earlier in &before[place] {
                if !std::mem::replace(&mut ends[*earlier], true) {
                    waiting.push(*earlier);
                }
            }
        }
        self.worlds.iter().zip(ends).filter(|(_, ends)| !ends).map(|(world, _)| world)
    }
}

#[test]
fn every_job_ends_done_exactly_once() {
    let bounds = Bounds { ticks: 7, claims: 4, crashes: 2, failures: 2 };
    let reached = search(bounds, true).unwrap();
    // Where the bounds leave no time for a lease to lapse, or no claim to make, a job may be left: not its fault.
    let has_room = |world: &&World| world.ticks + 2 < bounds.ticks && world.job.generation.0 < bounds.claims;
    assert_eq!(reached.stuck().find(has_room), None, "no end can be reached");
    // The search is worth something: all ends, and jobs that every claim worked on.
    for end in [JobState::Completed, JobState::Cancelled] {
        let is_late = |world: &World| world.job.state == end && world.job.generation.0 == bounds.claims;
        assert!(reached.worlds.iter().any(is_late), "{end:?}");
    }
    println!("{} states", reached.worlds.len());
    assert!(reached.worlds.len() > 50_000, "{} states", reached.worlds.len());
}

#[test]
fn without_the_generation_the_search_finds_the_fault() {
    let bounds = Bounds { ticks: 4, claims: 3, crashes: 0, failures: 1 };
    let found = search(bounds, false).err().expect("a fault");
    assert!(found.contains("not from who claimed last"), "{found}");
}
