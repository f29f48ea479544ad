//! The claim on a job: kept by reports, and asked for before anything is committed.
//!
//! One loop ([`Lease::keep`]) sends all reports of an order, one after the other, so that the server sees what
//! happened in the order in which it did.

use super::orders::serves;
use super::server::{Server, in_words, is_passing};
use super::told::{Due, RENEW_AFTER, Told};
use crate::Progress;
use api::Code;
use api::client::ClientError;
use api::work::{Instruction, Order, Report, ReportEvent};
use model::job::{Generation, Step};
use model::{ClaimantId, JobId};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Before a report is sent again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Each wait is twice as long as the one before, up to this.
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// Without a word of the server for so long, an order is dropped: a machine is not kept frozen for a server that is
/// gone. A restart, or an upgrade, takes less. One that machines run on is not: they would stand still, and nobody takes
/// it over meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// Why [`Lease::keep`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody wants the order to end.
    Cancel,
    /// The claim is no longer good.
    Lost,
    /// All is told, or the job is over for the server.
    Told,
}

/// The claim on a job.
pub(super) struct Lease {
    server: Arc<dyn Server>,
    claimant: ClaimantId,
    pub(super) job: JobId,
    generation: Generation,
    silence_max: Duration,
    told: Mutex<Told>,
    /// Something is to be told sooner than was thought.
    sooner: Notify,
    /// Up to which wish the claim was made longer.
    granted: watch::Sender<u64>,
}

impl Lease {
    pub(super) fn new(server: Arc<dyn Server>, claimant: ClaimantId, order: &Order) -> Self {
        let Order { job, generation, .. } = *order;
        let (granted, _) = watch::channel(0);
        let silence_max = if serves(order.kind) { Duration::MAX } else { SILENCE_MAX };
        let (told, sooner) = (Mutex::default(), Notify::new());
        Self { server, claimant, job, generation, silence_max, told, sooner, granted }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no holder panics")
    }

    /// Takes in what a loop tells.
    pub(super) fn progress(&self, progress: Progress) {
        if self.told().take(progress) {
            self.sooner.notify_one();
        }
    }

    /// Begins to count anew.
    pub(super) fn begin(&self, doing: &str, total_bytes: u64) {
        self.told().begin(doing, total_bytes);
        self.sooner.notify_one();
    }

    pub(super) fn warn(&self, text: String) {
        self.told().warn(text);
    }

    /// A step is done.
    pub(super) fn step_done(&self, step: Step, result: Option<Value>) {
        self.told().step_done(step, result);
        self.sooner.notify_one();
    }

    /// Whether a step was told of.
    pub(super) fn has_step(&self, step: Step) -> bool {
        self.told().has_step(step)
    }

    /// The last word.
    pub(super) fn end(&self, event: Option<ReportEvent>) {
        self.told().end(event);
        self.sooner.notify_one();
    }

    /// Returns once the server has said, after this was called, that the order may go on.
    pub(super) async fn renewed(&self) {
        let mut granted = self.granted.subscribe();
        let wish = {
            let mut told = self.told();
            told.wishes += 1;
            told.wishes
        };
        self.sooner.notify_one();
        let granted = granted.wait_for(|granted| *granted >= wish).await;
        drop(granted.expect("the lease holds the sender"));
    }

    /// The same, unless it was said so lately that nobody can have taken over.
    pub(super) async fn renewed_lately(&self) {
        let granted_at = self.told().granted_at;
        if granted_at.is_none_or(|at| at.elapsed() > RENEW_AFTER) {
            self.renewed().await;
        }
    }

    /// Reports until there is nothing more to say, or the server ends it. May be called again.
    pub(super) async fn keep(&self) -> End {
        let mut last = Instant::now();
        loop {
            let due = self.told().due();
            match due {
                Due::Never => return End::Told,
                Due::After(time) => tokio::select! {
                    () = sleep_until(last + time) => {}
                    () = self.sooner.notified() => continue,
                },
                Due::Now => {}
            }
            let (wishes, (event, progress)) = {
                let mut told = self.told();
                (told.wishes, told.next())
            };
            let said = self.send(event.clone(), progress).await;
            last = Instant::now();
            if said != Said::Gone {
                self.told().said(&event);
            }
            match said {
                Said::GoOn => {
                    let mut told = self.told();
                    (told.granted, told.granted_at) = (wishes, Some(last));
                    drop(told);
                    self.granted.send_replace(wishes);
                }
                Said::Cancel => {
                    // Whoever waits to go on will not.
                    self.told().granted = wishes;
                    return End::Cancel;
                }
                Said::Over => return End::Told,
                Said::Gone => return End::Lost,
            }
        }
    }

    /// Reports until it is answered.
    async fn send(&self, event: ReportEvent, progress: api::JobProgress) -> Said {
        let Self { claimant, generation, .. } = *self;
        let report = Report { claimant, generation, event, progress: Some(progress) };
        let (began, mut wait, mut is_unsure) = (Instant::now(), RETRY_FIRST, false);
        loop {
            let error = match self.server.report(self.job, &report).await {
                Ok(Instruction::GoOn { .. }) => return Said::GoOn,
                Ok(Instruction::Cancel {}) => return Said::Cancel,
                Ok(Instruction::Over {}) => return Said::Over,
                Ok(Instruction::Lost {}) => return Said::Gone,
                Err(error) => error,
            };
            let words = in_words(&error);
            tracing::warn!(job = %self.job, error = words, "a report was not taken");
            match error {
                error if is_passing(&error) && began.elapsed() < self.silence_max => {}
                // Its answer was lost, and it is known by now.
                ClientError::Refused(problem) if is_unsure && problem.code == Code::Conflict => {
                    return Said::GoOn;
                }
                _ => return Said::Gone,
            }
            is_unsure = true;
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }
}

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    GoOn,
    Cancel,
    Over,
    Gone,
}
