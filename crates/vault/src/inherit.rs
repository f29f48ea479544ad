//! Inheriting: what a session that died had uploaded serves those that come after it.
//!
//! Its packs are whole, for a pack is put whole or not at all. What lacks is that anybody knows them:
//! 1. a run of the index says what lies in them;
//! 2. the log commits the session without a point, as it does the session of a compaction.
//!
//! From 2 on its chunks are found and used like those of any other session, and its writer is fenced as by an abort:
//! a session commits once, so no point comes of it. What nobody uses of it goes with the next collections; if that
//! happens while somebody begins to, the protocol says which of them was first.
//!
//! CRASH: before 2, a run that names packs of an open session. Nobody may use these; inheriting it again goes on, and
//! aborting it makes them garbage. What the writer uploads after 1 stands in no run: garbage as well.

use crate::fence::{Ended, TRIES_MAX};
use crate::log::Told;
use crate::protocol::{Record, SessionState};
use crate::vault::Vault;
use crate::{Error, ErrorKind, PackId, PackKind, Result, SessionId};
use jiff::Timestamp;
use std::collections::BTreeSet;

impl Vault {
    /// Ends a session that may be somebody else's, be it under way or not begun, as [`abort_session`] does; and keeps
    /// what it has uploaded, for whoever does the same work again.
    ///
    /// Once this returns `Aborted`, no point comes of the session. `Committed` says that it had ended before: by its
    /// point, or by having been inherited.
    ///
    /// [`abort_session`]: Self::abort_session
    pub async fn inherit_session(&self, session: SessionId, now: Timestamp) -> Result<Ended> {
        let mut told = self.read_log(Told::default()).await?;
        if told.state.sessions.get(&session) != Some(&SessionState::Open) {
            return self.abort_session(session, now).await;
        }
        let packs = self.packs_of(session).await?;
        if packs.is_empty() || self.index_packs(packs).await? == 0 {
            return self.abort_session(session, now).await;
        }
        let nothing = BTreeSet::new;
        let record = Record::Retire { session: Some(session), packs: nothing(), damaged: nothing() };
        for _ in 0..TRIES_MAX {
            told = self.read_log(told).await?;
            if told.state.sessions.get(&session) != Some(&SessionState::Open) {
                return self.abort_session(session, now).await;
            }
            if self.append(&told, &record, now).await? {
                return Ok(Ended::Aborted);
            }
        }
        Err(Error::new(ErrorKind::Conflict, "the vault's log was never free: too many write to it"))
    }

    /// Inherits those of some sessions that are under way; others stay as they are.
    pub async fn inherit_open(&self, sessions: &BTreeSet<SessionId>, now: Timestamp) -> Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        let state = self.read_log(Told::default()).await?.state;
        let is_open = |session: &&SessionId| state.sessions.get(session) == Some(&SessionState::Open);
        for session in sessions.iter().filter(is_open) {
            self.inherit_session(*session, now).await?;
        }
        Ok(())
    }

    /// The packs of a session that are there, with their sizes.
    async fn packs_of(&self, session: SessionId) -> Result<Vec<(PackId, u64)>> {
        let mut packs = Vec::new();
        for kind in [PackKind::Data, PackKind::Map] {
            let listed = self.store().list(&format!("{}/{session}", kind.folder())).await?;
            packs.extend(listed.iter().filter_map(|(name, size)| Some((PackId::from_object(name)?, *size))));
        }
        Ok(packs)
    }
}
