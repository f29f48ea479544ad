//! How far an order is, and what has to be told of it.

use crate::Progress;
use api::work::{LEASE_SECONDS, ReportEvent};
use api::{DiskProgress, JobProgress};
use model::job::Step;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// A claim is made longer three times as often as it would lapse.
pub(super) const RENEW_AFTER: Duration = Duration::from_secs(LEASE_SECONDS as u64 / 3);
/// Bytes go by all the time; whoever watches a bar sees it move.
const BYTES_AFTER: Duration = Duration::from_secs(5);
/// What is told in words comes seldom, and several at once.
const WORDS_AFTER: Duration = Duration::from_secs(1);
/// Warnings that are told of one order: each says something else to do, and nobody reads more.
const WARNINGS_MAX: usize = 50;

/// What changed since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    #[default]
    Nothing,
    Bytes,
    Words,
}

/// How far an order is, and what has to be told of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    progress: JobProgress,
    changed: Changed,
    /// What happened and was not yet answered, in order.
    events: VecDeque<ReportEvent>,
    /// Steps that were told, or will be.
    steps: Vec<Step>,
    /// How often somebody wished that the claim be made longer.
    pub(super) wishes: u64,
    /// Up to which wish it was, and when.
    pub(super) granted: u64,
    pub(super) granted_at: Option<Instant>,
    /// Nothing more will happen.
    is_over: bool,
}

/// When the next report is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Now.
    Now,
    /// So long after the last one.
    After(Duration),
    /// Never: all is told.
    Never,
}

impl Told {
    pub(super) fn due(&self) -> Due {
        match self.changed {
            _ if !self.events.is_empty() => Due::Now,
            _ if self.is_over => Due::Never,
            _ if self.wishes > self.granted => Due::Now,
            Changed::Nothing => Due::After(RENEW_AFTER),
            Changed::Bytes => Due::After(BYTES_AFTER),
            Changed::Words => Due::After(WORDS_AFTER),
        }
    }

    /// What is to be said next. What is said is kept until [`said`](Self::said).
    pub(super) fn next(&mut self) -> (ReportEvent, JobProgress) {
        self.changed = Changed::Nothing;
        let event = self.events.front().cloned();
        (event.unwrap_or(ReportEvent::GoesOn {}), self.progress.clone())
    }

    /// The server has answered what was said.
    pub(super) fn said(&mut self, event: &ReportEvent) {
        if self.events.front() == Some(event) {
            self.events.pop_front();
        }
    }

    pub(super) fn step_done(&mut self, step: Step, result: Option<Value>) {
        self.steps.push(step);
        self.events.push_back(ReportEvent::StepDone { step, result });
    }

    /// Whether a step was told, or will be.
    pub(super) fn has_step(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// The last word on the order, if steps did not say it.
    pub(super) fn end(&mut self, event: Option<ReportEvent>) {
        self.events.extend(event);
        self.is_over = true;
    }

    pub(super) fn warn(&mut self, text: String) {
        let warnings = &mut self.progress.warnings;
        if warnings.len() < WARNINGS_MAX && !warnings.contains(&text) {
            warnings.push(text);
            self.change(Changed::Words);
        }
    }

    /// Begins to count anew: of `total_bytes`, or nobody knows of how many.
    pub(super) fn begin(&mut self, doing: &str, total_bytes: u64) {
        let warnings = std::mem::take(&mut self.progress.warnings);
        self.progress =
            JobProgress { doing: doing.to_owned(), total_bytes, warnings, ..JobProgress::default() };
        self.change(Changed::Words);
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.progress.done_bytes += bytes;
        if let Some(disk) = self.progress.disks.last_mut() {
            disk.done_bytes += bytes;
        }
        self.change(Changed::Bytes);
    }

    /// Takes in what a loop tells. Gives whether the next report is due sooner by it.
    pub(super) fn take(&mut self, progress: Progress) -> bool {
        let before = self.changed;
        match progress {
            Progress::Step(text) => {
                self.progress.doing = text;
                self.change(Changed::Words);
            }
            Progress::Frozen { consistency, fell_because, is_all_there_is, bytes, .. } => {
                self.progress.total_bytes = bytes;
                // A guest without freeze scripts is backed up as well as it can be. The point tells why it is no more.
                let reasons = fell_because.iter().filter(|_| !is_all_there_is);
                let reasons = reasons.map(|why| format!("The point is only {consistency}: {why}"));
                reasons.for_each(|text| self.warn(text));
                self.change(Changed::Words);
            }
            Progress::Distrusted { disk, reason } => {
                self.warn(format!(
                    "Disk {disk}: {reason}; everything is read. Check what else writes to its image, and whether QEMU \
                     is up to date"
                ));
            }
            Progress::Disk { name, size, tracking } => {
                let disk = DiskProgress { name, done_bytes: 0, total_bytes: size, tracking };
                self.progress.disks.push(disk);
                let known = self.progress.disks.iter().map(|disk| disk.total_bytes).sum();
                self.progress.total_bytes = self.progress.total_bytes.max(known);
                self.change(Changed::Words);
            }
            Progress::Advance(bytes) => self.advance(bytes),
            Progress::DiskDone => {}
        }
        self.changed > before
    }

    fn change(&mut self, what: Changed) {
        self.changed = self.changed.max(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_told_at_once_and_in_order_and_the_rest_in_time() {
        let mut told = Told::default();
        assert_eq!(told.due(), Due::After(RENEW_AFTER));
        assert!(told.take(Progress::Advance(1)) && !told.take(Progress::Advance(1)));
        assert_eq!(told.due(), Due::After(BYTES_AFTER));
        assert!(told.take(Progress::Step("words".into())));
        assert_eq!(told.due(), Due::After(WORDS_AFTER));
        told.step_done(Step::TakeSnapshot, None);
        told.step_done(Step::TransferToVault, None);
        told.end(None);
        for step in [Step::TakeSnapshot, Step::TransferToVault] {
            assert_eq!(told.due(), Due::Now);
            let (event, progress) = told.next();
            assert_eq!(event, ReportEvent::StepDone { step, result: None });
            assert_eq!(told.next().0, event, "until it is answered");
            assert_eq!((progress.doing.as_str(), progress.done_bytes), ("words", 2));
            told.said(&event);
        }
        assert_eq!(told.due(), Due::Never);
    }

    #[test]
    fn a_wish_to_go_on_is_passed_on_until_it_is_granted() {
        let mut told = Told::default();
        told.wishes += 1;
        assert_eq!(told.due(), Due::Now);
        assert_eq!(told.next().0, ReportEvent::GoesOn {});
        assert_eq!(told.due(), Due::Now);
        told.granted = 1;
        assert_eq!(told.due(), Due::After(RENEW_AFTER));
    }

    #[test]
    fn disks_add_up_and_warnings_stay() {
        let mut told = Told::default();
        let frozen = Progress::Frozen {
            paused: Duration::ZERO,
            consistency: "crash-consistent".into(),
            fell_because: vec!["the guest has no agent".into()],
            is_all_there_is: false,
            bytes: 30,
        };
        told.take(frozen);
        let without_scripts = Progress::Frozen {
            paused: Duration::ZERO,
            consistency: "file-system-consistent".into(),
            fell_because: vec!["no application has a freeze script in the guest".into()],
            is_all_there_is: true,
            bytes: 30,
        };
        told.take(without_scripts);
        for name in ["d0", "d1"] {
            told.take(Progress::Disk { name: name.into(), size: 15, tracking: "only changes".into() });
            told.take(Progress::Advance(15));
        }
        let (_, progress) = told.next();
        assert_eq!((progress.done_bytes, progress.total_bytes, progress.disks.len()), (30, 30, 2));
        told.begin("Transfer data to vault", 0);
        told.warn("The point is only crash-consistent: the guest has no agent".into());
        let (_, progress) = told.next();
        assert_eq!((progress.done_bytes, progress.disks.len(), progress.warnings.len()), (0, 0, 1));
    }
}
