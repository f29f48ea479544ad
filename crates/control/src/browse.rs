//! Looking into the files of points.
//!
//! The server has no block of a disk: a mover reads the point, and parses what a guest wrote in a cage. Movers are never
//! called, so a **session** stands between: a caller opens it, the point's mover finds it by asking, and from then on
//! waits for its questions. Bytes go through this server piece by piece, as fast as the caller takes them.
//!
//! It is no job: it does not wait behind backups, nobody goes on with it after a crash, and nothing of it is kept but
//! the audit log's word. `desk.rs` holds the sessions of this server, `lent.rs` is the mover's side.
//!
//! CRASH: sessions are gone, streams break off, which callers notice, and movers are told that there is no such session.

mod desk;
mod lent;

pub(crate) use desk::Desk;
pub use desk::Pieces;

use crate::faults::Faults;
use crate::machines::OWN_MOVER;
use crate::people::Asker;
use crate::points::PointPlace;
use crate::request::of_copy;
use crate::{Control, Error, Result};
use api::Code;
use api::files::{
    FilesDownload, FilesQuestion, FilesSaid, FilesSession, NamePattern, OpenFiles, PLACE_BYTES_MAX,
};
use catalog::ErrorKind;
use jiff::Timestamp;
use model::VaultId;
use serde_json::json;
use uuid::Uuid;

/// Characters of a pattern: longer ones are no names.
const PATTERN_MAX: usize = 1000;
/// Entries of one page of a folder, and what one search finds.
const PAGE_MAX: u32 = 1000;
const MATCHES_MAX: u32 = 1_000_000;

/// A session, and who asks for it.
#[derive(Clone, Debug)]
pub struct FilesPlace {
    /// In this vault.
    pub vault: VaultId,
    /// The session.
    pub session: Uuid,
    /// It is nobody else's to see.
    pub by: Asker,
}

/// What was answered, and the pieces of a stream; none follow another answer.
#[derive(Debug)]
pub struct FilesReply {
    /// The question's number.
    pub number: u64,
    /// [`FilesSaid::Regions`], [`FilesSaid::Entries`] or [`FilesSaid::Begins`].
    pub said: FilesSaid,
    /// Of a stream.
    pub pieces: Pieces,
}

impl Control {
    /// Opens a session on a point.
    ///
    /// # Errors
    /// `Conflict` for a point that cannot be read; `TooManyRequests` where there are enough sessions.
    pub async fn open_files(&self, by: &Asker, place: PointPlace, wish: OpenFiles) -> Result<FilesSession> {
        let from_copy = wish.from_copy;
        let (item, _) = self.readable(place, from_copy).await?;
        let mover = match wish.mover {
            Some(mover) => self.known_mover(mover).await?,
            None => {
                let host = self.catalog.host_of(item.machine).await?;
                let reaches_copy = match from_copy {
                    true => of_copy(&self.vault_row(place.vault).await?)?,
                    false => None,
                };
                host.map(|host| host.mover).or(reaches_copy).unwrap_or_else(|| OWN_MOVER.to_owned())
            }
        };
        let now = self.now();
        let about = FilesSession {
            id: self.draw(),
            vault: place.vault,
            item: place.item,
            point: place.point,
            mover,
            from_copy,
            opened: now,
            ends: now + desk::LIFE,
            idle_seconds: desk::IDLE.as_secs() as u32,
        };
        let detail = json!({
            "vault": place.vault, "item": place.item, "name": item.name, "mover": about.mover, "session": about.id,
            "from_copy": from_copy,
        });
        self.audit(&by.actor, "files.open", &place.point.to_string(), &detail).await?;
        self.desk.open(about.clone(), by.user)?;
        Ok(about)
    }

    /// One session.
    ///
    /// # Errors
    /// `NotFound`, as with all that is asked of one.
    pub fn files_session(&self, place: &FilesPlace) -> Result<FilesSession> {
        self.desk.of_caller(place, |session| Ok(session.about.clone()))
    }

    /// Ends a session.
    pub fn close_files(&self, place: &FilesPlace) -> Result<()> {
        self.desk.of_caller(place, |_| Ok(()))?;
        self.desk.close(place.session, &Error::new(Code::NotFound, "its caller has closed it"));
        Ok(())
    }

    /// Asks something of a session's mover. What brings content out, or searches, is in the audit log before.
    ///
    /// # Errors
    /// The mover's; `Unavailable` if that is gone.
    pub async fn ask_files(&self, place: &FilesPlace, question: FilesQuestion) -> Result<FilesReply> {
        check(&question)?;
        let about = self.files_session(place)?;
        if let Some(verb) = verb(&question) {
            let detail = json!({
                "vault": about.vault, "item": about.item, "session": about.id, "mover": about.mover,
                "asked": question,
            });
            self.audit(&place.by.actor, verb, &about.point.to_string(), &detail).await?;
        }
        self.desk.ask(place, question, self.now())?.answered().await
    }

    /// What came of a download.
    pub fn files_download(&self, place: &FilesPlace, number: u64) -> Result<FilesDownload> {
        self.desk.of_caller(place, |session| {
            let found = session.downloads.iter().find(|one| one.number == number);
            found.cloned().ok_or_else(|| Error::not_found(format!("download {number} in the session")))
        })
    }

    /// Ends sessions that nobody uses, that lasted long enough, or whose mover is gone.
    pub fn tick_files(&self, now: Timestamp) {
        self.desk.tidy(now);
    }

    async fn known_mover(&self, name: String) -> Result<String> {
        let mut faults = Faults::default();
        faults.name("/mover", &name);
        faults.none()?;
        match self.catalog.mover(&name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::invalid("/mover", format!("must be one of the movers; {name} is none")))
            }
            found => Ok(found?.name),
        }
    }
}

/// What the audit log calls it; a look at a list is part of having opened the session.
fn verb(question: &FilesQuestion) -> Option<&'static str> {
    match question {
        FilesQuestion::Regions {} | FilesQuestion::Entries { .. } => None,
        FilesQuestion::Content { .. } | FilesQuestion::Archive { .. } => Some("files.download"),
        FilesQuestion::Matches { .. } => Some("files.find"),
    }
}

fn check(question: &FilesQuestion) -> Result<()> {
    let mut faults = Faults::default();
    let place = match question {
        FilesQuestion::Regions {} => None,
        FilesQuestion::Entries { place, .. }
        | FilesQuestion::Content { place, .. }
        | FilesQuestion::Archive { place, .. } => Some(place),
        FilesQuestion::Matches { place, .. } => place.as_ref(),
    };
    if let Some(place) = place {
        faults.text("place", place, PLACE_BYTES_MAX);
    }
    let mut limited = |found: u32, most: u32| {
        if !(1..=most).contains(&found) {
            faults.add("limit", format!("must be 1 to {most}, is {found}"));
        }
    };
    match question {
        FilesQuestion::Entries { limit, .. } => limited(*limit, PAGE_MAX),
        FilesQuestion::Matches { limit, pattern, .. } => {
            limited(*limit, MATCHES_MAX);
            let (name, text) = match pattern {
                NamePattern::Glob(text) => ("name", text),
                NamePattern::Regex(text) => ("regex", text),
            };
            faults.text(name, text, PATTERN_MAX);
        }
        _ => {}
    }
    faults.none()
}
