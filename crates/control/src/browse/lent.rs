//! The mover's side: it finds the sessions that are its own, hears what is asked, and answers.

use super::desk::unwanted;
use crate::{Control, Error, Result};
use api::files::{FILES_WAIT_SECONDS_MAX, FilesAsked, FilesOrder, FilesSaid, FilesSession};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

/// How long a piece waits for the caller to take one before it; then the mover sends it again.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

impl Control {
    /// A session that a mover is to answer; waits for one.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn claim_files(&self, mover: &str, wait_seconds: u32) -> Result<Option<FilesOrder>> {
        self.catalog.see_mover(mover, self.now()).await?;
        let (end, mut changed) = (end(wait_seconds), self.desk.changed());
        loop {
            changed.mark_unchanged();
            while let Some(about) = self.take_session(mover) {
                match self.files_order(&about).await {
                    Ok(order) => return Ok(Some(order)),
                    Err(error) => self.desk.close(about.id, &error),
                }
            }
            if !is_woken(&mut changed, end).await {
                return Ok(None);
            }
        }
    }

    /// What is asked next; waits for it. What was asked before is over.
    ///
    /// # Errors
    /// `NotFound` for a session that is over.
    pub async fn next_of_files(
        &self,
        mover: &str,
        session: Uuid,
        wait_seconds: u32,
    ) -> Result<Option<FilesAsked>> {
        let (end, mut changed) = (end(wait_seconds), self.desk.changed());
        loop {
            changed.mark_unchanged();
            let next = self.desk.of_mover(mover, session, self.now(), |one| Ok(one.next()))?;
            if let Some((number, question)) = next {
                return Ok(Some(FilesAsked { number, question }));
            }
            if !is_woken(&mut changed, end).await {
                return Ok(None);
            }
        }
    }

    /// Notes that a session's mover is at work.
    ///
    /// # Errors
    /// `NotFound` for a session that is over.
    pub fn files_alive(&self, mover: &str, session: Uuid) -> Result<()> {
        self.desk.of_mover(mover, session, self.now(), |_| Ok(()))
    }

    /// Takes in what a mover says of a question.
    ///
    /// # Errors
    /// `NotFound` if nobody wants to know.
    pub fn files_said(&self, mover: &str, (session, number): (Uuid, u64), said: FilesSaid) -> Result<()> {
        let now = self.now();
        self.desk.of_mover(mover, session, now, |one| one.take(number, said, now))
    }

    /// Takes in a piece of a stream. False if the caller has not taken those before it yet: it is to be sent again.
    ///
    /// # Errors
    /// `NotFound` if nobody wants it.
    pub async fn files_piece(
        &self,
        mover: &str,
        (session, number, piece): (Uuid, u64, u64),
        bytes: Vec<u8>,
    ) -> Result<bool> {
        let found = self.desk.of_mover(mover, session, self.now(), |one| {
            let answering = one.answers(number)?;
            Ok((answering.next_piece, answering.pieces.clone()))
        });
        let (next, way) = found?;
        if piece < next {
            return Ok(true);
        }
        if piece > next {
            return Err(Error::new(api::Code::Conflict, format!("piece {next} comes before piece {piece}")));
        }
        let Ok(room) = timeout(ROOM_WITHIN, way.reserve()).await else { return Ok(false) };
        let now = self.now();
        self.desk.of_mover(mover, session, now, |one| {
            let Ok(room) = room else {
                one.give_up(&unwanted());
                return Err(unwanted());
            };
            let answering = one.answers(number)?;
            // Sent twice, both waited: one of them was taken.
            if answering.next_piece == piece {
                answering.next_piece += 1;
                one.used = now;
                if let Some(download) = one.downloads.iter_mut().find(|download| download.number == number) {
                    download.bytes += bytes.len() as u64;
                }
                room.send(bytes);
            }
            Ok(true)
        })
    }

    fn take_session(&self, mover: &str) -> Option<FilesSession> {
        let mut sessions = self.desk.sessions();
        let session = sessions.open.values_mut().find(|one| one.about.mover == mover && !one.is_taken)?;
        session.is_taken = true;
        session.heard = self.now();
        Some(session.about.clone())
    }

    async fn files_order(&self, about: &FilesSession) -> Result<FilesOrder> {
        let row = self.vault_row(about.vault).await?;
        let vault = match about.from_copy {
            true => self.access_to_copy(&row).await?,
            false => self.access_to(row).await?,
        };
        Ok(FilesOrder { session: about.id, vault, item: about.item, point: about.point })
    }
}

fn end(wait_seconds: u32) -> Instant {
    Instant::now() + Duration::from_secs(wait_seconds.min(FILES_WAIT_SECONDS_MAX).into())
}

/// Waits for a change; false when the time is up.
async fn is_woken(changed: &mut watch::Receiver<u64>, end: Instant) -> bool {
    // The desk holds the sender.
    timeout_at(end, changed.changed()).await.is_ok()
}
