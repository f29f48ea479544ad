//! One connection in its transmission phase: a task that owns it, and the handle requests go through.
//!
//! Requests go to the sending half over a bounded channel; it numbers them, hands what is waited for to
//! the receiving half over another and only then writes them, so no reply can be unexpected. A caller
//! may stop waiting at any time: its request stays accounted for until the reply is there.

use super::handshake::Contexts;
use super::replies::{Answer, Replies, Wanted};
use crate::address::{Reader, Writer};
use crate::wire::{REQUESTS_IN_FLIGHT_MAX, Request, command};
use block::{Error, ErrorKind, Result};
use bytes::Buf;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// The goodbye gets this long; a server that no longer reads will notice the closed socket instead.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// The handle of a connection. Dropping it lets the task say goodbye and end.
pub(super) struct Connection {
    submissions: mpsc::Sender<Submission>,
    slots: Arc<Semaphore>,
    end: Arc<OnceLock<String>>,
    task: JoinHandle<()>,
}

/// A request on its way to the wire.
struct Submission {
    request: Request,
    payload: Option<Payload>,
    pending: Pending,
}

/// The bytes of a write. The buffer goes back once they are sent.
struct Payload {
    buffer: Vec<u8>,
    range: Range<usize>,
    back: oneshot::Sender<Vec<u8>>,
}

/// A request whose reply is not there yet. Dropped unanswered, it tells its caller of the end.
pub(super) struct Pending {
    pub(super) cookie: u64,
    pub(super) wanted: Wanted,
    pub(super) answer: oneshot::Sender<Result<Answer>>,
    /// Its place among the requests in flight, and what else must not be given up before the reply.
    _held: Vec<OwnedSemaphorePermit>,
}

impl Connection {
    /// Takes over a connection whose handshake is done.
    pub(super) fn start(reader: Reader, writer: Writer, contexts: Contexts) -> Self {
        let (submissions, submitted) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
        let end = Arc::new(OnceLock::new());
        let task = tokio::spawn(run(reader, writer, contexts, submitted, Arc::clone(&end)));
        Self { submissions, slots: Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX)), end, task }
    }

    /// Requests it could take at once.
    pub(super) fn free_slots(&self) -> usize {
        self.slots.available_permits()
    }

    /// Sends a request without payload and waits for its reply. `held` is released with the reply,
    /// not when the caller stops waiting.
    pub(super) async fn call(
        &self,
        request: Request,
        wanted: Wanted,
        held: Option<OwnedSemaphorePermit>,
    ) -> Result<Answer> {
        let answered = self.submit(request, wanted, None, held).await?;
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Sends a WRITE of a part of `buffer` and gives the buffer back when it is answered.
    pub(super) async fn write(
        &self,
        request: Request,
        buffer: Vec<u8>,
        range: Range<usize>,
    ) -> Result<Vec<u8>> {
        let (back, returned) = oneshot::channel();
        let payload = Payload { buffer, range, back };
        let answered = self.submit(request, Wanted::Done, Some(payload), None).await?;
        answered.await.unwrap_or_else(|_| Err(self.gone()))?;
        returned.await.map_err(|_| self.gone())
    }

    async fn submit(
        &self,
        request: Request,
        wanted: Wanted,
        payload: Option<Payload>,
        held: Option<OwnedSemaphorePermit>,
    ) -> Result<oneshot::Receiver<Result<Answer>>> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("slots are never closed");
        let (answer, answered) = oneshot::channel();
        let held = held.into_iter().chain([slot]).collect();
        let pending = Pending { cookie: 0, wanted, answer, _held: held };
        let submission = Submission { request, payload, pending };
        self.submissions.send(submission).await.map_err(|_| self.gone())?;
        Ok(answered)
    }

    fn gone(&self) -> Error {
        let reason = self.end.get().map_or("the connection ended", String::as_str);
        Error::new(ErrorKind::Unreachable, format!("exchange with the server: {reason}"))
    }

    /// Says goodbye and returns when the connection is closed.
    pub(super) async fn close(self) {
        drop(self.submissions);
        // An aborted task only means that the runtime is going down.
        let _ = self.task.await;
    }
}

#[cfg(test)]
impl Pending {
    /// A request that holds nothing.
    pub(super) fn for_test(cookie: u64, wanted: Wanted, answer: oneshot::Sender<Result<Answer>>) -> Self {
        Self { cookie, wanted, answer, _held: Vec::new() }
    }
}

/// Owns the connection to its end and notes why that came.
async fn run(
    reader: Reader,
    writer: Writer,
    contexts: Contexts,
    submitted: mpsc::Receiver<Submission>,
    end: Arc<OnceLock<String>>,
) {
    // As large as the number of slots: registering never waits.
    let (register, registered) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
    let mut replies = Replies::new(reader, registered, contexts);
    let mut sending = pin!(send(writer, submitted, register));
    let mut receiving = pin!(replies.receive());
    let reason = tokio::select! {
        sent = &mut sending => sent.map_or_else(|e| format!("sending failed: {e}"), |()| "it was closed".into()),
        received = &mut receiving => match received {
            Ok(never) => match never {},
            Err(e) => format!("receiving failed: {e}"),
        },
    };
    // Before the two halves are dropped and with them wake whoever waits: they will ask for the reason.
    let _ = end.set(reason);
}

/// Writes requests until nobody can make any more, then says goodbye.
async fn send(
    mut writer: Writer,
    mut submitted: mpsc::Receiver<Submission>,
    register: mpsc::Sender<Pending>,
) -> std::io::Result<()> {
    let mut cookie = 0;
    while let Some(mut submission) = submitted.recv().await {
        cookie += 1;
        submission.request.cookie = cookie;
        submission.pending.cookie = cookie;
        if register.send(submission.pending).await.is_err() {
            break; // the receiving half has ended and says why
        }
        let head = submission.request.encode();
        match submission.payload {
            None => writer.write_all(&head).await?,
            Some(Payload { buffer, range, back }) => {
                writer.write_all_buf(&mut head.chain(&buffer[range])).await?;
                // The caller may have stopped waiting; then the buffer is nobody's.
                let _ = back.send(buffer);
            }
        }
        if submitted.is_empty() {
            writer.flush().await?;
        }
    }
    let goodbye = Request { flags: 0, command: command::DISC, cookie: cookie + 1, offset: 0, length: 0 };
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, async {
        writer.write_all(&goodbye.encode()).await?;
        writer.flush().await
    })
    .await;
    Ok(())
}
