//! Fencing: a session that must not become a point any more, whoever has it and whatever he still believes.
//!
//! The log does it. A session commits only while it is open (`protocol/state.rs`), and opens only once: one that was
//! aborted never commits, and one that was opened to be aborted never begins.

use crate::log::Told;
use crate::protocol::{Record, SessionState};
use crate::vault::Vault;
use crate::{Error, ErrorKind, Result, SessionId};
use jiff::Timestamp;

/// How often others may be quicker to append to the log before it is given up.
pub(crate) const TRIES_MAX: u32 = 1000;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It never commits, and its packs are garbage.
    Aborted,
    /// It had committed: its point exists.
    Committed,
}

impl Vault {
    /// Ends a session that may be somebody else's, be it under way or not begun. Once this returns `Aborted`, no point
    /// comes of it.
    ///
    /// CRASH: one that had not begun may stay open in the log. Nobody writes under it; collection aborts it one day.
    pub async fn abort_session(&self, session: SessionId, now: Timestamp) -> Result<Ended> {
        let mut told = Told::default();
        for _ in 0..TRIES_MAX {
            told = self.read_log(told).await?;
            let record = match told.state.sessions.get(&session) {
                Some(SessionState::Aborted) => return Ok(Ended::Aborted),
                Some(SessionState::Committed) => return Ok(Ended::Committed),
                Some(SessionState::Open) => Record::Abort { session },
                None => Record::Open { session },
            };
            // Whether it stands or another was quicker, the log tells next.
            self.append(&told, &record, now).await?;
        }
        Err(Error::new(ErrorKind::Conflict, "the vault's log was never free: too many write to it"))
    }
}
