//! The world of one seed: the objects of the one store, the clock, the weather, and what happened.

use crate::random::Random;
use crate::trace::Trace;
use crate::weather::{Fault, Request, Weather};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When every simulation begins.
const BEGIN_SECONDS: i64 = 1_800_000_000;

/// Everything that outlives a crash of those who work in it.
pub(crate) struct World {
    begun: Instant,
    inner: Mutex<Inner>,
}

pub(crate) struct Inner {
    pub(crate) objects: BTreeMap<String, Bytes>,
    pub(crate) random: Random,
    pub(crate) weather: Weather,
    pub(crate) trace: Trace,
}

/// One run of a program: it ends by itself, or is cut off after so many requests.
pub(crate) struct Process {
    pub(crate) name: String,
    left: Mutex<Option<u64>>,
    is_dead: AtomicBool,
    died: Notify,
}

impl World {
    pub(crate) fn new(random: Random, weather: Weather, trace: Trace) -> Arc<Self> {
        let inner = Inner { objects: BTreeMap::new(), random, weather, trace };
        Arc::new(Self { begun: Instant::now(), inner: Mutex::new(inner) })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    /// Since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The time of day.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        let millis = i64::try_from(self.elapsed().as_millis()).expect("not that long");
        jiff::Timestamp::from_millisecond(BEGIN_SECONDS * 1000 + millis).expect("within the calendar")
    }

    /// Milliseconds of the era, as ids tell them.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.now().as_millisecond()).expect("after 1970")
    }

    /// Notes what happened.
    pub(crate) fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let millis = self.elapsed().as_millis();
        self.inner().trace.add(millis, who, what);
    }

    /// What the store does now.
    pub(crate) fn weather(&self) -> Weather {
        self.inner().weather.clone()
    }

    /// The end of all faults.
    pub(crate) fn calm_down(&self) {
        self.inner().weather = Weather::calm();
    }

    /// What happens to a request that is made now, and how many milliseconds it takes.
    pub(crate) fn fate(&self, request: Request) -> (Option<Fault>, u64) {
        let second = self.elapsed().as_secs();
        let Inner { random, weather, .. } = &mut *self.inner();
        let fault = weather.fault(request, second, random);
        let longest = if random.happens(20) { 2000 } else { 20 };
        let latency = 1 + random.below(longest);
        let extra = if fault == Some(Fault::Slow) { random.below(weather.late_millis) } else { 0 };
        (fault, latency + extra)
    }
}

impl Process {
    /// One that is cut off after so many requests, if it makes as many.
    pub(crate) fn new(name: impl Into<String>, cut_after: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            left: Mutex::new(cut_after),
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
        })
    }

    /// Counts a request. `false` if it is the one in which the process dies.
    pub(crate) fn step(&self) -> bool {
        let mut left = self.left.lock().expect("no holder panics");
        match &mut *left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// Returns when it is dead.
    pub(crate) async fn death(&self) {
        self.died.notified().await;
    }
}
