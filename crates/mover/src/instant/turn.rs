//! Whose turn it is: the reads of a guest that waits go before all that is only for later.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// A guest that has just been answered asks on, if it has more to ask, within this.
const PAUSE: Duration = Duration::from_millis(4);
/// However much the guest reads, others go on after so long: else the data of a busy machine would never follow.
const YIELD_MAX: Duration = Duration::from_millis(200);

/// The reads of one machine's guest, on all its disks.
#[derive(Debug)]
pub(super) struct Turn {
    reads: watch::Sender<Reads>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    under_way: usize,
    /// When the last one ended.
    last: Option<Instant>,
}

/// A read of the guest's that is under way.
pub(super) struct Taken<'a>(&'a Turn);

impl Turn {
    pub(super) fn new() -> Self {
        Self { reads: watch::Sender::new(Reads::default()) }
    }

    /// The guest reads, until this is dropped.
    pub(super) fn take(&self) -> Taken<'_> {
        self.reads.send_modify(|reads| reads.under_way += 1);
        Taken(self)
    }

    /// Whether the guest reads nothing at the moment.
    pub(super) fn is_free(&self) -> bool {
        self.reads.borrow().under_way == 0
    }

    /// Returns when the guest reads nothing, or has gone on reading for long enough.
    pub(super) async fn yield_to_guest(&self) {
        let mut reads = self.reads.subscribe();
        let quiet = async {
            loop {
                let Ok(last) = reads.wait_for(|reads| reads.under_way == 0).await.map(|reads| reads.last)
                else {
                    return;
                };
                let Some(until) = last.map(|last| last + PAUSE).filter(|until| *until > Instant::now())
                else {
                    return;
                };
                let _ = timeout_at(until, reads.wait_for(|reads| reads.under_way > 0)).await;
            }
        };
        let _ = timeout(YIELD_MAX, quiet).await;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.reads.send_modify(|reads| {
            reads.under_way -= 1;
            reads.last = Some(Instant::now());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_guest_that_reads_nothing() {
        let (turn, began) = (Turn::new(), Instant::now());
        turn.yield_to_guest().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_while_the_guest_reads_and_a_moment_longer() {
        let (turn, began) = (Turn::new(), Instant::now());
        let taken = turn.take();
        let guest = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(taken);
        };
        tokio::join!(guest, turn.yield_to_guest());
        assert_eq!(began.elapsed(), Duration::from_millis(50) + PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_never_stops_reading_holds_nobody_for_ever() {
        let (turn, began) = (Turn::new(), Instant::now());
        let _taken = turn.take();
        turn.yield_to_guest().await;
        assert_eq!(began.elapsed(), YIELD_MAX);
    }
}
