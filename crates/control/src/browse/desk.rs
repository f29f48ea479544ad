//! The sessions of this server: who has opened them, what is asked, what is being answered.
//!
//! A session's mover answers one question at a time; the others wait in their order. Of a stream a few pieces are in
//! memory, and the mover sends no more before the caller has taken one.

use super::{FilesPlace, FilesReply};
use crate::{Error, Result};
use api::files::{
    FILES_SILENCE_SECONDS, FilesDownload, FilesDownloadState, FilesQuestion, FilesReport, FilesSaid,
    FilesSession,
};
use api::{Code, Problem};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// A session that nobody uses is closed: each keeps a process busy on the mover's host.
pub(super) const IDLE: SignedDuration = SignedDuration::from_mins(10);
/// The longest download of a single session: a disk of 8 TB at 100 MB/s.
pub(super) const LIFE: SignedDuration = SignedDuration::from_hours(24);
/// A mover that did not say a word for so long will not any more.
const SILENCE: SignedDuration = SignedDuration::from_secs(FILES_SILENCE_SECONDS as i64);
/// A mover that has room comes at once: it waits for nothing else. Shorter than an answer may take.
const COMES_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// Sessions of one user: some windows of a browser, and a script.
const OF_USER_MAX: usize = 8;
/// Sessions in all: each holds 3 MiB at most of what its caller has not taken yet.
const OPEN_MAX: usize = 64;
/// Questions that wait in a session: a person asks one, a program a few.
const WAITING_MAX: usize = 16;
/// Pieces of a stream that wait for the caller: the next is on its way while one is taken.
const PIECES_WAITING: usize = 2;
/// Downloads of a session whose end is remembered.
const DOWNLOADS_MAX: usize = 16;
/// Sessions whose end is remembered, for those who ask what came of a stream that broke off.
const ENDED_MAX: usize = 256;

/// The sessions.
pub(crate) struct Desk {
    sessions: Mutex<Sessions>,
    /// Counted up when there is a session or a question that there was not.
    changed: watch::Sender<u64>,
}

/// Those that are open, and how some others ended.
#[derive(Default)]
pub(super) struct Sessions {
    pub(super) open: BTreeMap<Uuid, Session>,
    ended: VecDeque<(Uuid, Uuid, Error)>,
}

impl Sessions {
    /// That a user has no such session; if it was theirs, why it ended.
    fn none(&self, id: Uuid, user: Uuid) -> Error {
        let ended = self.ended.iter().rev().find(|(one, whose, _)| (*one, *whose) == (id, user));
        match ended {
            Some((_, _, why)) => {
                let text = format!("the session on files has ended: {why}");
                Error::new(Code::NotFound, text).hint("open another one")
            }
            None => no_session(id),
        }
    }
}

/// One session.
pub(super) struct Session {
    pub(super) about: FilesSession,
    user: Uuid,
    /// When the caller last asked, or took something.
    pub(super) used: Timestamp,
    /// When its mover last said something.
    pub(super) heard: Timestamp,
    /// Whether its mover has found it.
    pub(super) is_taken: bool,
    pub(super) waiting: VecDeque<Asked>,
    pub(super) answering: Option<Answering>,
    numbers: u64,
    pub(super) downloads: VecDeque<FilesDownload>,
}

/// A question that its mover has not heard yet.
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) question: FilesQuestion,
    ways: Ways,
}

/// A question that is being answered.
pub(super) struct Answering {
    pub(super) number: u64,
    pub(super) next_piece: u64,
    pub(super) pieces: mpsc::Sender<Vec<u8>>,
    /// The answer; taken when it was given.
    said: Option<oneshot::Sender<Result<FilesSaid>>>,
    outcome: oneshot::Sender<Result<()>>,
}

/// To the caller.
struct Ways {
    said: oneshot::Sender<Result<FilesSaid>>,
    pieces: mpsc::Sender<Vec<u8>>,
    outcome: oneshot::Sender<Result<()>>,
}

/// What a caller waits for.
pub(super) struct Awaited {
    number: u64,
    said: oneshot::Receiver<Result<FilesSaid>>,
    pieces: Pieces,
}

/// The pieces of a stream.
#[derive(Debug)]
pub struct Pieces {
    pieces: mpsc::Receiver<Vec<u8>>,
    outcome: oneshot::Receiver<Result<()>>,
}

impl Pieces {
    /// The next piece; none at the end, which only comes when the mover has said that the stream is whole.
    ///
    /// # Errors
    /// The mover's; `Unavailable` when it went away.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece));
        }
        // INVARIANT: the outcome is sent before the way of the pieces is closed.
        match self.outcome.try_recv() {
            Ok(outcome) => outcome.map(|()| None),
            Err(_) => Err(broken_off()),
        }
    }
}

impl Awaited {
    pub(super) async fn answered(self) -> Result<FilesReply> {
        let said = self.said.await.unwrap_or_else(|_| Err(broken_off()))?;
        Ok(FilesReply { number: self.number, said, pieces: self.pieces })
    }
}

impl Default for Desk {
    fn default() -> Self {
        let (changed, _) = watch::channel(0);
        Self { sessions: Mutex::default(), changed }
    }
}

impl Desk {
    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().expect("no holder panics")
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell_changed(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn open(&self, about: FilesSession, user: Uuid) -> Result<()> {
        let mut sessions = self.sessions();
        let of_user = sessions.open.values().filter(|one| one.user == user).count();
        if of_user >= OF_USER_MAX || sessions.open.len() >= OPEN_MAX {
            let (count, whose) = if of_user >= OF_USER_MAX { (of_user, "yours") } else { (OPEN_MAX, "open") };
            let error =
                Error::new(Code::TooManyRequests, format!("{count} sessions on files are {whose} already"));
            let hint =
                format!("close one; those that nobody uses are closed after {} minutes", IDLE.as_mins());
            return Err(error.hint(hint));
        }
        let now = about.opened;
        let session = Session {
            user,
            used: now,
            heard: now,
            is_taken: false,
            waiting: VecDeque::new(),
            answering: None,
            numbers: 0,
            downloads: VecDeque::new(),
            about,
        };
        sessions.open.insert(session.about.id, session);
        drop(sessions);
        self.tell_changed();
        Ok(())
    }

    /// Does something with a session of the caller's.
    pub(super) fn of_caller<T>(
        &self,
        place: &FilesPlace,
        act: impl FnOnce(&mut Session) -> Result<T>,
    ) -> Result<T> {
        let mut sessions = self.sessions();
        let is_theirs = |one: &&mut Session| one.user == place.by.user && one.about.vault == place.vault;
        match sessions.open.get_mut(&place.session).filter(is_theirs) {
            Some(session) => act(session),
            None => Err(sessions.none(place.session, place.by.user)),
        }
    }

    /// Does something with a session that the mover has taken, and notes that it is there.
    pub(super) fn of_mover<T>(
        &self,
        mover: &str,
        id: Uuid,
        now: Timestamp,
        act: impl FnOnce(&mut Session) -> Result<T>,
    ) -> Result<T> {
        let mut sessions = self.sessions();
        let session = sessions.open.get_mut(&id).filter(|one| one.about.mover == mover && one.is_taken);
        let session = session.ok_or_else(|| no_session(id))?;
        session.heard = now;
        act(session)
    }

    /// Notes a question.
    pub(super) fn ask(&self, place: &FilesPlace, question: FilesQuestion, now: Timestamp) -> Result<Awaited> {
        let awaited = self.of_caller(place, |session| {
            session.waiting.retain(|asked| !asked.ways.said.is_closed());
            if session.waiting.len() >= WAITING_MAX {
                let detail = format!("{WAITING_MAX} questions wait in the session already");
                return Err(Error::new(Code::TooManyRequests, detail).retry_after(1));
            }
            session.numbers += 1;
            session.used = now;
            let number = session.numbers;
            let (said, heard) = oneshot::channel();
            let (sender, pieces) = mpsc::channel(PIECES_WAITING);
            let (outcome, ended) = oneshot::channel();
            let ways = Ways { said, pieces: sender, outcome };
            session.waiting.push_back(Asked { number, question, ways });
            Ok(Awaited { number, said: heard, pieces: Pieces { pieces, outcome: ended } })
        })?;
        self.tell_changed();
        Ok(awaited)
    }

    /// Ends a session; whoever waits for something in it is told why.
    pub(super) fn close(&self, id: Uuid, why: &Error) {
        let mut sessions = self.sessions();
        if let Some(mut session) = sessions.open.remove(&id) {
            if sessions.ended.len() >= ENDED_MAX {
                sessions.ended.pop_front();
            }
            sessions.ended.push_back((id, session.user, why.clone()));
            session.give_up(why);
            for asked in session.waiting {
                let _ = asked.ways.said.send(Err(why.clone())); // or nobody waits
            }
        }
        drop(sessions);
        self.tell_changed();
    }

    pub(super) fn tidy(&self, now: Timestamp) {
        let why = |session: &Session| session.why_over(now).map(|why| (session.about.id, why));
        let over: Vec<_> = self.sessions().open.values().filter_map(why).collect();
        for (id, why) in over {
            tracing::info!(session = %id, why = %why, "a session on files was closed");
            self.close(id, &why);
        }
    }
}

impl Session {
    /// The next question that somebody waits for the answer of.
    pub(super) fn next(&mut self) -> Option<(u64, FilesQuestion)> {
        // Its mover asks for the next: it will say no more of this one.
        self.give_up(&Error::new(Code::Unavailable, "the mover did not answer to the end"));
        loop {
            let Asked { number, question, ways } = self.waiting.pop_front()?;
            if !ways.said.is_closed() {
                let Ways { said, pieces, outcome } = ways;
                self.answering = Some(Answering { number, next_piece: 0, pieces, said: Some(said), outcome });
                return Some((number, question));
            }
        }
    }

    /// Whether a question is the one that is being answered.
    pub(super) fn answers(&mut self, number: u64) -> Result<&mut Answering> {
        self.answering.as_mut().filter(|one| one.number == number).ok_or_else(unwanted)
    }

    /// Takes in what the mover says of the question that it answers.
    pub(super) fn take(&mut self, number: u64, said: FilesSaid, now: Timestamp) -> Result<()> {
        let answering = self.answers(number)?;
        match said {
            FilesSaid::Begins { .. } => {
                // Said again because the answer to it was lost.
                let Some(way) = answering.said.take() else { return Ok(()) };
                if way.send(Ok(said)).is_err() {
                    self.answering = None;
                    return Err(unwanted());
                }
                let (state, bytes) = (FilesDownloadState::UnderWay, 0);
                if self.downloads.len() >= DOWNLOADS_MAX {
                    self.downloads.pop_front();
                }
                self.downloads.push_back(FilesDownload { number, state, bytes, report: None, problem: None });
            }
            FilesSaid::Regions { .. } | FilesSaid::Entries { .. } => {
                let way = self.answering.take().and_then(|answering| answering.said);
                if let Some(way) = way {
                    let _ = way.send(Ok(said)); // or nobody waits
                }
            }
            FilesSaid::Ended { report } => self.end(Ok(report)),
            FilesSaid::Failed { problem } => self.end(Err(Error::from(problem))),
        }
        self.used = now;
        Ok(())
    }

    /// The question that is being answered comes to nothing more.
    pub(super) fn give_up(&mut self, why: &Error) {
        self.end(Err(why.clone()));
    }

    fn end(&mut self, outcome: Result<FilesReport>) {
        let Some(Answering { number, said, outcome: way, pieces, .. }) = self.answering.take() else {
            return;
        };
        if let Some(download) = self.downloads.iter_mut().find(|one| one.number == number) {
            match &outcome {
                Ok(report) => {
                    download.state = FilesDownloadState::Complete;
                    download.report = Some(report.clone());
                }
                Err(error) => {
                    download.state = FilesDownloadState::Failed;
                    download.problem = Some(error.problem().clone());
                }
            }
        }
        let outcome = outcome.map(|_| ());
        // Whoever waits for an answer is told there; a stream that never began cannot have ended well.
        if let Some(said) = said {
            let _ = said.send(Err(outcome.err().unwrap_or_else(broken_off)));
        } else {
            let _ = way.send(outcome); // or nobody reads
        }
        drop(pieces);
    }

    fn why_over(&self, now: Timestamp) -> Option<Error> {
        let unavailable = |text: String| Error::new(Code::Unavailable, text);
        let mover = &self.about.mover;
        let silence = if self.is_taken { SILENCE } else { COMES_WITHIN };
        if self.heard.duration_until(now) > silence {
            let text = match self.is_taken {
                true => format!("the mover {mover} was not heard of for {FILES_SILENCE_SECONDS} s"),
                false => format!("the mover {mover} did not come for the session within 30 s"),
            };
            let hint =
                format!("see that it runs and has room: `strongroom mover list` tells when {mover} was seen");
            return Some(unavailable(text).hint(hint));
        }
        // Who reads slowly uses it; who stopped reading does not.
        let is_at_work = |one: &Answering| one.pieces.capacity() > 0 && !one.pieces.is_closed();
        let is_used = self.answering.as_ref().is_some_and(is_at_work);
        if !is_used && self.used.duration_until(now) > IDLE {
            return Some(unavailable(format!("the session was not used for {} minutes", IDLE.as_mins())));
        }
        (now > self.about.ends).then(|| unavailable("the session has lasted long enough".to_owned()))
    }
}

pub(super) fn no_session(id: Uuid) -> Error {
    Error::not_found(format!("session {id} on files (any more)")).hint("open another one")
}

/// To a mover: it is to stop with this answer.
pub(super) fn unwanted() -> Error {
    Error::new(Code::NotFound, "nobody waits for that answer any more")
}

fn broken_off() -> Error {
    Error::from(Problem::new(Code::Unavailable, "the stream broke off: the session has ended"))
}
