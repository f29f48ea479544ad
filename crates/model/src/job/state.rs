//! The job, and every transition it can make.

use super::kind::{JobKind, Step};
use super::retry::Failure;
use crate::ClaimantId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// So often a job's claimants may go away without a word before it has failed: it may be what kills them.
pub const LAPSES_MAX: u32 = 5;

/// One run of work that a person can see. Changed only by [`apply`](Self::apply), and stored only if nobody changed
/// the row since it was read: two servers cannot both succeed from the same state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// Where it is.
    pub state: JobState,
    /// How many of its steps are done.
    pub steps_done: usize,
    /// Attempts that began; see [`Failure::wait`].
    pub attempts: u32,
    /// Holders that went away without a word.
    pub lapses: u32,
    /// Whether something is to be told though it went well.
    pub has_warnings: bool,
    /// What the last attempt failed of.
    pub failure: Option<Failure>,
    /// How often it was claimed.
    pub generation: Generation,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobState {
    /// Waits to be claimed.
    Queued,
    /// Waits to be tried again.
    Waiting {
        /// Not before.
        until: Timestamp,
    },
    /// Its claimant works on it.
    InProgress {
        /// Who.
        lease: Lease,
    },
    /// Somebody wants it to end; waits for its claimant to leave things tidy.
    Cancelling {
        /// Who.
        lease: Lease,
    },
    /// All steps are done.
    Completed,
    /// All steps are done, and there is something to tell.
    CompletedWithWarnings,
    /// Over, without all steps done.
    Failed,
    /// Ended because somebody wanted it.
    Cancelled,
}

/// A time-limited claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Whose.
    pub claimant: ClaimantId,
    /// From then on somebody else may claim.
    pub until: Timestamp,
}

/// The number of a claim: grows with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Generation(pub u64);

/// What a claimant shows with each report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Who reports.
    pub claimant: ClaimantId,
    /// Under which claim.
    pub generation: Generation,
}

/// Something that happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants to work on it, until the time given. Also takes over what a claimant has let lapse.
    Claim(ClaimantId, Timestamp),
    /// The claimant goes on, until the time given.
    Renew(Claim, Timestamp),
    /// The claimant has done this step. The last one completes the job, even if it is being cancelled.
    StepDone(Claim, Step),
    /// The claimant has something to tell.
    Warn(Claim),
    /// The claimant's attempt failed. The seed spreads the waits.
    Fail(Claim, Failure, u64),
    /// The claimant gives it back unharmed: it shuts down.
    Release(Claim),
    /// A person wants it to end.
    Cancel,
    /// The claimant has ended it as wanted.
    Cancelled(Claim),
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The job is over.
    Over,
    /// Another claimant's lease has not lapsed.
    Held(Lease),
    /// It is not to be tried again yet.
    NotBefore(Timestamp),
    /// The claim is not the newest: its claimant must stop, and leave everything as it is.
    Stale,
    /// That is not the step it is at.
    NotThatStep(Step),
    /// Nobody wants it to end.
    NotCancelling,
}

impl Job {
    /// A new one.
    pub fn new(kind: JobKind) -> Self {
        Self {
            kind,
            state: JobState::Queued,
            steps_done: 0,
            attempts: 0,
            lapses: 0,
            has_warnings: false,
            failure: None,
            generation: Generation::default(),
        }
    }

    /// What comes of an event: the job as it is to be stored. The only way a job changes.
    ///
    /// # Errors
    /// Why the event changes nothing.
    pub fn apply(&self, event: Event, now: Timestamp) -> Result<Self, Refusal> {
        if self.is_over() {
            return Err(Refusal::Over);
        }
        let mut next = self.clone();
        match event {
            Event::Claim(claimant, until) => next.claim(Lease { claimant, until }, now)?,
            Event::Cancel => match self.state {
                JobState::InProgress { lease } => next.state = JobState::Cancelling { lease },
                JobState::Cancelling { .. } => {}
                _ => next.state = JobState::Cancelled,
            },
            Event::Renew(claim, until) => {
                next.holds(claim)?.until = until;
            }
            Event::StepDone(claim, step) => {
                next.holds(claim)?;
                next.step_done(step)?;
            }
            Event::Warn(claim) => {
                next.holds(claim)?;
                next.has_warnings = true;
            }
            Event::Fail(claim, failure, seed) => {
                next.holds(claim)?;
                next.fail(failure, seed, now);
            }
            Event::Release(claim) => {
                next.holds(claim)?;
                // An attempt that nothing went wrong with does not count.
                next.attempts -= 1;
                next.state = if self.is_cancelling() { JobState::Cancelled } else { JobState::Queued };
            }
            Event::Cancelled(claim) => {
                next.holds(claim)?;
                if !self.is_cancelling() {
                    return Err(Refusal::NotCancelling);
                }
                next.state = JobState::Cancelled;
            }
        }
        Ok(next)
    }

    /// Whether it will never change again.
    pub fn is_over(&self) -> bool {
        use JobState::{Cancelled, Completed, CompletedWithWarnings, Failed};
        matches!(self.state, Completed | CompletedWithWarnings | Failed | Cancelled)
    }

    /// The step it is at; none once all are done.
    pub fn step(&self) -> Option<Step> {
        self.kind.steps().get(self.steps_done).copied()
    }

    /// The lease on it.
    pub fn lease(&self) -> Option<Lease> {
        match self.state {
            JobState::InProgress { lease } | JobState::Cancelling { lease } => Some(lease),
            _ => None,
        }
    }

    /// What its claimant is to show with each report.
    pub fn claimed(&self) -> Option<Claim> {
        self.lease().map(|lease| Claim { claimant: lease.claimant, generation: self.generation })
    }

    fn is_cancelling(&self) -> bool {
        matches!(self.state, JobState::Cancelling { .. })
    }

    fn claim(&mut self, lease: Lease, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            JobState::Waiting { until } if now < until => return Err(Refusal::NotBefore(until)),
            JobState::InProgress { lease } | JobState::Cancelling { lease } => {
                if now < lease.until {
                    return Err(Refusal::Held(lease));
                }
                self.lapses += 1;
            }
            _ => {}
        }
        // Machines read through whoever is at this step: as long as the job goes on, the next claim serves them again.
        let machines_need_it = self.step() == Some(Step::FollowData);
        if self.lapses > LAPSES_MAX && !machines_need_it {
            self.failure = Some(Failure::Lost);
            self.state = JobState::Failed;
            return Ok(());
        }
        self.generation.0 += 1;
        self.attempts += 1;
        self.state = match self.state {
            JobState::Cancelling { .. } => JobState::Cancelling { lease },
            _ => JobState::InProgress { lease },
        };
        Ok(())
    }

    /// The lease, if the claim is the newest. That its time is over does not matter as long as nobody took over.
    fn holds(&mut self, claim: Claim) -> Result<&mut Lease, Refusal> {
        if self.claimed() != Some(claim) {
            return Err(Refusal::Stale);
        }
        match &mut self.state {
            JobState::InProgress { lease } | JobState::Cancelling { lease } => Ok(lease),
            _ => Err(Refusal::Stale),
        }
    }

    fn step_done(&mut self, step: Step) -> Result<(), Refusal> {
        if self.step() != Some(step) {
            return Err(Refusal::NotThatStep(step));
        }
        self.steps_done += 1;
        if self.step().is_none() {
            self.failure = None;
            self.state =
                if self.has_warnings { JobState::CompletedWithWarnings } else { JobState::Completed };
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure, seed: u64, now: Timestamp) {
        self.failure = Some(failure);
        let wait: Option<SignedDuration> = failure.wait(self.attempts, seed);
        self.state = match wait {
            _ if self.is_cancelling() => JobState::Cancelled,
            None => JobState::Failed,
            Some(wait) => {
                JobState::Waiting { until: now.saturating_add(wait).expect("a duration, not a span") }
            }
        };
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over => f.write_str("the job is over"),
            Self::Held(lease) => write!(f, "{} holds the job until {}", lease.claimant, lease.until),
            Self::NotBefore(until) => write!(f, "the job is tried again at {until}"),
            Self::Stale => f.write_str("somebody else has taken the job over"),
            Self::NotThatStep(step) => write!(f, "the job is not at the step '{step}'"),
            Self::NotCancelling => f.write_str("nobody has cancelled the job"),
        }
    }
}

impl std::error::Error for Refusal {}
