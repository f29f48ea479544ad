//! Sessions on files: this mover finds those that are its own, and answers what is asked in them.
//!
//! A session has a thread, as a [`files::Browser`] waits for its worker; the worker's cage holds the parsing. Beside it the
//! server is told that we are at work, however long an answer takes; when nobody is there to hear it any more, the disks
//! give no more bytes, so that whatever is under way ends.

use super::backup::makes_no_sense;
use super::failure::{Failed, Result};
use super::nearest::nearest;
use super::orders::Mover;
use super::server::{in_words, is_passing};
use crate::browse::answer;
use api::client::{Client, ClientError, Method};
use api::files::{
    FILES_SILENCE_SECONDS, FILES_WAIT_SECONDS_MAX, FilesAsked, FilesOrder, FilesSaid, FilesWait,
};
use api::{Code, Problem};
use async_trait::async_trait;
use block::{BlockSource, Extent};
use files::Browser;
use model::job::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use vault::PointDisk;

/// Sessions at once: each may have a worker of 2 GiB of address space, and caches of the point's disks.
const SESSIONS_MAX: usize = 8;
/// Often enough that a lost word or two do no harm.
const TELL_EVERY: Duration = Duration::from_secs(FILES_SILENCE_SECONDS as u64 / 4);
/// Before a server that does not answer is asked again; twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// And at most so long.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// A server that does not answer for so long has forgotten the session.
const SILENCE: Duration = Duration::from_secs(FILES_SILENCE_SECONDS as u64);

/// Takes sessions and has them answered, for ever. A mover that was given no program to parse with lends none.
pub(super) async fn lend(mover: Arc<Mover>, stopping: watch::Receiver<bool>) {
    let (Some(client), Some(program)) = (mover.server.files(), mover.settings.files_program.clone()) else {
        return;
    };
    let mut sessions = JoinSet::new();
    let mut retry = RETRY_FIRST;
    loop {
        while sessions.len() >= SESSIONS_MAX {
            sessions.join_next().await;
        }
        while sessions.try_join_next().is_some() {}
        let wish = FilesWait { wait_seconds: FILES_WAIT_SECONDS_MAX };
        match client.send::<_, FilesOrder>(Method::POST, "/v1/work/files/claim", &wish).await {
            Ok(order) => {
                retry = RETRY_FIRST;
                if let Some(order) = order {
                    tracing::info!(session = %order.session, point = %order.point, "a session on files began");
                    let line = Line::new(client.clone(), order.session, stopping.clone());
                    sessions.spawn(serve(Arc::clone(&mover), program.clone(), order, line));
                }
            }
            Err(error) => {
                let error = in_words(&error);
                tracing::warn!(error, "no session on files could be taken");
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_LONGEST);
            }
        }
    }
}

/// One session, to its end.
async fn serve(mover: Arc<Mover>, program: files::Program, order: FilesOrder, line: Line) {
    let mut teller = JoinSet::new();
    teller.spawn(line.clone().tell());
    let session = order.session;
    match disks(mover, order, Arc::clone(&line.is_over)).await {
        Ok(disks) => crate::files::browse(program, disks, move |browser| serve_all(browser, &line)).await,
        Err(Failed(error)) => {
            let mut problem = Problem::new(code(error.failure), error.text);
            problem.hint = error.hint;
            refuse_all(&line, problem).await;
        }
    }
    tracing::info!(%session, "a session on files ended");
}

/// The disks of the point that a guest has written.
async fn disks(
    mover: Arc<Mover>,
    order: FilesOrder,
    is_over: Arc<AtomicBool>,
) -> Result<Vec<(String, Arc<dyn BlockSource>)>> {
    let (store, point) = nearest(&mover.vaults, &order.vault, order.item, order.point).await?;
    let of_guest = point.disks.iter().filter(|disk| !crate::is_firmware(&point, &disk.name));
    let disks: Vec<_> = of_guest
        .map(|disk| {
            let source = PointDisk::new(Arc::clone(&store), disk.map.clone());
            let lent: Arc<dyn BlockSource> = Arc::new(Lent { source, is_over: Arc::clone(&is_over) });
            (disk.name.clone(), lent)
        })
        .collect();
    if disks.is_empty() {
        return Err(makes_no_sense("the point has no disks"));
    }
    Ok(disks)
}

fn serve_all(browser: &mut Browser, line: &Line) {
    let mut listed = None;
    while let Some(FilesAsked { number, question }) = line.runtime.block_on(line.next()) {
        answer(browser, &mut listed, &question, &mut Asked { line, number, pieces: 0 });
    }
}

/// Tells whoever asks why there is nothing to be had.
async fn refuse_all(line: &Line, problem: Problem) {
    while let Some(FilesAsked { number, .. }) = line.next().await {
        // Nobody waits, or the session is over: the next question tells.
        let _ = line.say(number, &FilesSaid::Failed { problem: problem.clone() }).await;
    }
}

fn code(failure: Failure) -> Code {
    match failure {
        Failure::Unreachable | Failure::Busy => Code::Unavailable,
        _ => Code::Conflict,
    }
}

/// What the server is told and asked in a session.
#[derive(Clone)]
struct Line {
    client: Client,
    path: String,
    runtime: Handle,
    stopping: watch::Receiver<bool>,
    is_over: Arc<AtomicBool>,
}

impl Line {
    fn new(client: Client, session: Uuid, stopping: watch::Receiver<bool>) -> Self {
        let path = format!("/v1/work/files/{session}");
        Self { client, path, runtime: Handle::current(), stopping, is_over: Arc::default() }
    }

    /// Tells that we are at work until nobody is there to hear it.
    async fn tell(self) {
        let mut heard = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            match self.client.act::<()>(Method::POST, &format!("{}/alive", self.path)).await {
                Ok(_) => heard = Instant::now(),
                Err(error) if is_passing(&error) && heard.elapsed() < SILENCE => {}
                Err(_) => self.end(),
            }
            sleep(TELL_EVERY).await;
        }
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// What is asked next; none when the session is over.
    async fn next(&self) -> Option<FilesAsked> {
        let mut stopping = self.stopping.clone();
        let path = format!("{}/next", self.path);
        let wish = FilesWait { wait_seconds: FILES_WAIT_SECONDS_MAX };
        while !self.is_over.load(Ordering::Relaxed) {
            let asked = tokio::select! {
                asked = self.client.send(Method::POST, &path, &wish) => asked,
                _ = stopping.wait_for(|stopping| *stopping) => break,
            };
            match asked {
                Ok(Some(asked)) => return Some(asked),
                Ok(None) => {}
                // Whether it is over, the teller finds out.
                Err(error) if is_passing(&error) => sleep(RETRY_FIRST).await,
                Err(_) => break,
            }
        }
        self.end();
        None
    }

    async fn say(&self, number: u64, said: &FilesSaid) -> std::result::Result<(), ClientError> {
        let path = format!("{}/answers/{number}", self.path);
        let began = Instant::now();
        loop {
            match self.client.send::<_, ()>(Method::POST, &path, said).await {
                Err(error) if is_worth_another(&error, began) => sleep(RETRY_FIRST).await,
                said => return said.map(drop),
            }
        }
    }

    async fn bring(&self, (number, piece): (u64, u64), bytes: &[u8]) -> std::result::Result<(), ClientError> {
        let path = format!("{}/answers/{number}/pieces/{piece}", self.path);
        let mut began = Instant::now();
        loop {
            match self.client.put_bytes(&path, bytes.to_vec()).await {
                Ok(true) => return Ok(()),
                // Not taken is no error: the caller reads slowly.
                Ok(false) => began = Instant::now(),
                Err(error) if is_worth_another(&error, began) => sleep(RETRY_FIRST).await,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether what was said is to be said again. Said twice, it is taken once.
fn is_worth_another(error: &ClientError, began: Instant) -> bool {
    is_passing(error) && began.elapsed() < SILENCE
}

/// Whoever asked one question.
struct Asked<'l> {
    line: &'l Line,
    number: u64,
    pieces: u64,
}

impl crate::browse::Asker for Asked<'_> {
    fn say(&mut self, said: &FilesSaid) -> bool {
        self.line.runtime.block_on(self.line.say(self.number, said)).is_ok()
    }

    fn bring(&mut self, bytes: &[u8]) -> bool {
        let brought = self.line.runtime.block_on(self.line.bring((self.number, self.pieces), bytes));
        self.pieces += 1;
        brought.is_ok()
    }
}

/// A disk of a point, as long as the session lasts.
struct Lent {
    source: PointDisk,
    is_over: Arc<AtomicBool>,
}

#[async_trait]
impl BlockSource for Lent {
    fn size(&self) -> u64 {
        self.source.size()
    }

    async fn extents(&self, offset: u64, length: u64) -> block::Result<Vec<Extent>> {
        self.source.extents(offset, length).await
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> block::Result<Vec<u8>> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(block::Error::new(block::ErrorKind::Unreachable, "the session on its files is over"));
        }
        self.source.read(offset, buffer).await
    }
}
