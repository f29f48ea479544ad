//! The engine: what every server does by itself, again and again.
//!
//! Several servers on one catalog all run it. Each of its ticks is safe beside the same tick elsewhere: a slot has one
//! job, whoever looks; what changes a row compares its revision; and what was begun and not finished is found again.

use crate::{Control, Result};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// What is due is looked for so often: starts are spread over minutes, so a second later is not late.
const EVERY: Duration = Duration::from_secs(1);
/// What nobody waits for.
const SELDOM: Duration = Duration::from_secs(60);
/// Jobs and skipped runs are told for so long after their end: Azure's reports go back half a year.
const HISTORY: SignedDuration = SignedDuration::from_hours(24 * 183);

impl Control {
    /// Runs the engine until `shutdown` says so, or its sender is gone.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        let due = async {
            let mut beat = Beat::new(EVERY, shutdown.clone());
            while beat.next().await {
                tell("follow", self.tick_follow().await);
                tell("restore sets", self.tick_restore_sets().await);
                tell("schedule", self.tick_schedule(self.now()).await);
                self.tick_files(self.now());
            }
        };
        let plans = async {
            let mut beat = Beat::new(EVERY, shutdown.clone());
            while beat.next().await {
                tell("plans", self.tick_plans(self.now()).await);
            }
        };
        let seldom = async {
            let mut beat = Beat::new(SELDOM, shutdown.clone());
            while beat.next().await {
                self.tick_seldom(self.now()).await;
            }
        };
        // By itself: a store that does not answer keeps nothing else waiting.
        let notes = async {
            let mut beat = Beat::new(SELDOM, shutdown.clone());
            while beat.next().await {
                tell("keys", self.tick_keys().await);
                tell("notes", self.tick_notes(self.now()).await);
            }
        };
        tokio::join!(due, plans, seldom, notes);
    }

    /// What is done once a minute.
    async fn tick_seldom(&self, now: Timestamp) {
        tell("policies", self.tick_policies().await);
        tell("retention", self.tick_retention(now).await);
        tell("drills", self.tick_drills(now).await);
        tell("collect", self.tick_collect(now).await);
        tell("copies", self.tick_copies(now).await);
        tell("archive", self.tick_archive(now).await);
        tell("purge", self.tick_purge(now).await);
        tell("snapshots", self.tick_snapshots(now).await);
        tell("waiting", self.tick_waiting(now).await);
        tell("history", self.tick_history(now).await);
    }

    /// Finds items whose policy was changed by whoever did not say so.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_policies(&self) -> Result<()> {
        self.catalog.find_items_to_plan().await?;
        Ok(())
    }

    /// Forgets what happened long ago.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_history(&self, now: Timestamp) -> Result<()> {
        let before = now - HISTORY;
        // Before their jobs, without which nobody could tell how they went.
        self.catalog.forget_restore_sets(before).await?;
        self.catalog.forget_jobs(before).await?;
        self.catalog.forget_skipped_runs(before).await?;
        self.forget_usage(now).await
    }
}

/// A rhythm that ends with the server. A beat that was missed is not made up for.
struct Beat {
    clock: Interval,
    shutdown: watch::Receiver<bool>,
}

impl Beat {
    fn new(every: Duration, shutdown: watch::Receiver<bool>) -> Self {
        let mut clock = interval(every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { clock, shutdown }
    }

    /// Waits for the next beat; false at the end.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.shutdown.wait_for(|over| *over) => false,
            _ = self.clock.tick() => true,
        }
    }
}

/// A catalog that does not answer is there again some time: the engine goes on.
fn tell(tick: &str, done: Result<()>) {
    if let Err(error) = done {
        tracing::error!(tick, %error, "the engine could not do its part");
    }
}
