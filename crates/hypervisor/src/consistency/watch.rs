//! The watchdog's own work, in its own process. The other side is `watchdog.rs`.

use super::record::Outstanding;
use super::watchdog::{DONE, READY};
use crate::agent::Agent;
use crate::qmp::Lines;
use crate::{Error, ErrorKind, Machine, Result};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

/// A process that says it is thawing has this long until it must say so again: a try takes 10 s and it
/// rests 20 s.
const WORD_LASTS: Duration = Duration::from_secs(60);

const THAW_PATIENCE: Duration = Duration::from_secs(10);

/// Between tries, so that a hung agent's socket does not fill.
const TRY_PAUSE: Duration = Duration::from_secs(20);

/// Between looks whether QEMU has seen the dead process go.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(200);

/// Tries that follow one another so closely; after that somebody else holds the machine.
const QUICK_TRIES: u32 = 25;

/// No watchdog outlives its work by more than this: the record stays, and the next program that starts reads it.
const WATCH_MAX: Duration = Duration::from_secs(3600);

/// Watches over one freeze from the process that [`Watchdog`](super::Watchdog) starts, and returns when there
/// is nothing more to be done: the freeze ended well, or the guest was thawed and the machine taken back.
///
/// `connect` connects to the machine. Standard input and output are used up.
///
/// # Errors
/// When the machine could not be taken back within an hour. Its record stays.
pub async fn stand_watch<R>(limit: Duration, record: &Path, connect: impl Fn() -> R) -> Result<()>
where
    R: Future<Output = Result<Box<dyn Machine>>>,
{
    survive_signals()?;
    let end = Instant::now() + WATCH_MAX;
    let failed = |e| Error::io("take over the connections of the process that freezes", e);
    let words = std::io::stdin().as_fd().try_clone_to_owned().map(StdStream::from).map_err(failed)?;
    let agent = std::io::stdout().as_fd().try_clone_to_owned().map(StdStream::from).map_err(failed)?;
    words.set_nonblocking(true).map_err(failed)?;
    let words = UnixStream::from_std(words).map_err(failed)?;
    // What is no socket is no connection to an agent.
    let agent = agent.peer_addr().is_ok().then_some(agent);
    if wait_for_end(words, agent.as_ref(), limit, &connect).await? == End::Done {
        return Ok(());
    }
    // The connection may still be good, and nobody else has to let go of it first.
    if let Some(agent) = agent {
        let _ = thaw_over(&agent).await;
        // Not only dropped: standard output is the same connection, and QEMU waits for it to end.
        let _ = agent.shutdown(Shutdown::Both);
    }
    take_back(record, &connect, end).await
}

/// A signal to everything that runs in a terminal or a service must not end the one process that thaws.
fn survive_signals() -> Result<()> {
    let _ = rustix::process::setsid(); // fails only where it has a session of its own
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // Once caught a signal stays so, also when nobody listens.
        drop(signal(kind).map_err(|e| Error::io("survive signals", e))?);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Died,
}

/// Listens until the freeze has ended or its process has. If that takes too long, thaws and listens on.
async fn wait_for_end<R>(
    words: UnixStream,
    agent: Option<&StdStream>,
    limit: Duration,
    connect: &impl Fn() -> R,
) -> Result<End>
where
    R: Future<Output = Result<Box<dyn Machine>>>,
{
    let (reader, mut writer) = words.into_split();
    let mut lines = Lines::new(reader);
    let ready = writer.write_all(format!("{READY}\n").as_bytes()).await;
    ready.map_err(|e| Error::io("tell that the watch has begun", e))?;
    let mut deadline = Some(Instant::now() + limit);
    loop {
        let line = match deadline {
            Some(deadline) => timeout_at(deadline, lines.next()).await,
            None => Ok(lines.next().await),
        };
        match line {
            Ok(Ok(Some(word))) if word == DONE.as_bytes() => return Ok(End::Done),
            Ok(Ok(Some(_))) => deadline = Some(Instant::now() + WORD_LASTS),
            Ok(Ok(None) | Err(_)) => return Ok(End::Died),
            // It lives, but hangs. It finds out by itself that its freeze was broken.
            Err(_) => {
                let thawed = match agent {
                    Some(agent) => thaw_over(agent).await,
                    None => thaw_by(connect).await,
                };
                deadline = thawed.is_err().then(|| Instant::now() + TRY_PAUSE);
            }
        }
    }
}

async fn thaw_over(connection: &StdStream) -> Result<()> {
    let copy = connection.try_clone().map_err(|e| Error::io("use the connection to the agent", e))?;
    Agent::inherited(copy).await?.thaw(THAW_PATIENCE).await.map(drop)
}

async fn thaw_by<R>(connect: &impl Fn() -> R) -> Result<()>
where
    R: Future<Output = Result<Box<dyn Machine>>>,
{
    connect().await?.agent().await?.thaw(THAW_PATIENCE).await.map(drop)
}

/// Lets the machine run, thaws its guest and removes what the dead process left, until that has succeeded.
async fn take_back<R>(record: &Path, connect: &impl Fn() -> R, end: Instant) -> Result<()>
where
    R: Future<Output = Result<Box<dyn Machine>>>,
{
    let mut tries = 0;
    loop {
        if !record.exists() {
            return Ok(()); // somebody else was quicker
        }
        let tried = match Outstanding::take(record) {
            Some(record) => settle(record, connect).await,
            None => Err(Error::new(ErrorKind::Busy, "another process takes the machine back")),
        };
        let Err(error) = tried else { return Ok(()) };
        if Instant::now() >= end {
            return Err(error);
        }
        tries += 1;
        sleep(if tries < QUICK_TRIES { TAKE_OVER_PAUSE } else { TRY_PAUSE }).await;
    }
}

async fn settle<R>(record: Outstanding, connect: &impl Fn() -> R) -> Result<()>
where
    R: Future<Output = Result<Box<dyn Machine>>>,
{
    match connect().await {
        Ok(machine) => machine.reconcile().await.map(drop)?,
        Err(error) if error.is_gone() => {}
        Err(error) => return Err(error),
    }
    record.settle()
}

#[cfg(test)]
mod tests;
