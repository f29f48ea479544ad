//! Freezing and thawing the guest's file systems.
//!
//! A client that gives up on a freeze does not stop it: the guest may be frozen seconds later, with nobody
//! left to thaw it. So whatever a freeze ends with but success, [`Agent::thaw`] must follow until it succeeds.

use super::Agent;
use crate::{Error, ErrorKind, Result};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Thawing runs the guest's thaw scripts, a few seconds for a database under load.
const THAW_WAIT: Duration = Duration::from_secs(10);

/// Between tries to thaw. An agent that is alive needs one try; a hung one is not helped by more.
const THAW_PAUSE: Duration = Duration::from_millis(250);

impl Agent {
    /// Freezes all file systems that can be, running the guest's hooks before, and returns their number.
    ///
    /// # Errors
    /// `Guest` when a hook or the freeze failed, or it took longer than `limit`. The guest's state is then
    /// unknown: [`thaw`](Self::thaw) it.
    pub async fn freeze(&mut self, limit: Duration) -> Result<u64> {
        let frozen = self.execute_within("guest-fsfreeze-freeze", Value::Null, limit).await?;
        frozen
            .as_u64()
            .ok_or_else(|| Error::new(ErrorKind::Guest, "guest-fsfreeze-freeze: no number returned"))
    }

    /// Whether the guest is frozen, by the agent's own account.
    pub async fn is_frozen(&mut self) -> Result<bool> {
        let status = self.execute("guest-fsfreeze-status", Value::Null).await?;
        match status.as_str() {
            Some("frozen") => Ok(true),
            Some("thawed") => Ok(false),
            _ => Err(Error::new(ErrorKind::Guest, format!("guest-fsfreeze-status: {status}"))),
        }
    }

    /// Thaws until the agent says thawed, or `patience` is over. Harmless when nothing is frozen.
    ///
    /// Returns what the thaw itself complained of, if it did: a Windows guest reports there that its snapshot
    /// timed out, so a complaint means that the freeze proved nothing.
    ///
    /// # Errors
    /// `Guest` when it is not known to be thawed when `patience` ends.
    pub async fn thaw(&mut self, patience: Duration) -> Result<Option<Error>> {
        let deadline = Instant::now() + patience;
        let mut complaint = None;
        loop {
            let thawed = self.execute_within("guest-fsfreeze-thaw", Value::Null, THAW_WAIT).await;
            let refused = thawed.err();
            let state = self.is_frozen().await;
            if refused.is_some() {
                complaint = refused;
            }
            match state {
                Ok(false) => return Ok(complaint),
                // QEMU is gone, and the guest with it.
                Err(error) if error.kind() == ErrorKind::Unreachable => return Err(error),
                Ok(true) | Err(_) if Instant::now() < deadline => sleep(THAW_PAUSE).await,
                Ok(true) => {
                    return Err(Error::new(ErrorKind::Guest, "the guest stays frozen: thaw it by hand"));
                }
                Err(error) => return Err(error.within("thaw the guest")),
            }
        }
    }
}
