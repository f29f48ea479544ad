//! Waiting for something that announces itself only when asked.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Between the first two questions.
const POLL_MIN: Duration = Duration::from_millis(10);
/// Between later ones: a question costs an emulated guest time that it may be measuring.
const POLL_MAX: Duration = Duration::from_millis(250);

/// Asks until there is an answer or the time is over. `what` completes "waited … for".
pub(crate) fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut poll = POLL_MIN;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > timeout {
            bail!("waited {} s for {what}, in vain", timeout.as_secs());
        }
        pause(poll);
        poll = (poll * 5 / 4).min(POLL_MAX);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one poll of the harness; QEMU and the guest cannot call us"
)]
fn pause(poll: Duration) {
    std::thread::sleep(poll);
}
