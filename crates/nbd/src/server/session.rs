//! One client: handshake, then requests carried out side by side within bounds.

use super::command::perform;
use super::export::Exports;
use super::handshake::{Agreed, negotiate};
use super::replies::{Reply, encode, write_replies};
use crate::address::{Reader, Writer};
use crate::wire::{Malformed, REQUEST_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, Request, command};
use futures_util::poll;
use std::io::Result;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A client that has not chosen an export by then is sent away.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of a client that went away get this long to end by themselves, so that no sink is left in
/// the middle of a write; then they are given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of payload one client may have in memory, requests and replies not yet taken together: two of
/// the largest requests, or all 16 of the 1 MiB ones that clients really send.
const BYTES_IN_FLIGHT_MAX: usize = 2 * REQUEST_BYTES_MAX as usize;
/// Buffers up to this size are kept for reuse, larger ones are rare. Fresh memory costs more than the
/// copy into it.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Serves one client until it leaves, breaks the protocol, or the server stops.
pub(super) async fn serve(
    mut reader: Reader,
    mut writer: Writer,
    exports: Arc<Exports>,
    mut stopped: watch::Receiver<bool>,
) {
    let negotiated = tokio::select! {
        negotiated = timeout(HANDSHAKE_TIMEOUT, negotiate(&mut reader, &mut writer, &exports)) => negotiated,
        _ = stopped.changed() => return,
    };
    let Ok(Ok(Some(agreed))) = negotiated else { return };
    let session = Arc::new(Session::new(agreed));
    let (replies, finished) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
    let mut work = JoinSet::new();
    {
        let mut writing = pin!(write_replies(writer, finished, &session.spare));
        tokio::select! {
            // The client left, politely or not: what it asked for before is still answered.
            _ = receive(&mut reader, &session, &mut work, replies) => {
                let drained = async { tokio::join!(drain(&mut work), &mut writing) };
                let _ = timeout(DRAIN_TIMEOUT, drained).await;
            }
            _ = &mut writing => {}
            _ = stopped.changed() => {}
        }
    }
    // With both halves gone the client is told at once, whatever is still under way.
    drop(reader);
    let _ = timeout(DRAIN_TIMEOUT, drain(&mut work)).await;
}

async fn drain(work: &mut JoinSet<()>) {
    while work.join_next().await.is_some() {}
}

/// What all requests of a client share.
pub(super) struct Session {
    pub(super) agreed: Agreed,
    pub(super) spare: Spare,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Session {
    fn new(agreed: Agreed) -> Self {
        Self {
            agreed,
            spare: Spare::default(),
            requests: Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX)),
            bytes: Arc::new(Semaphore::new(BYTES_IN_FLIGHT_MAX)),
        }
    }
}

/// Buffers for reuse, of one client only: what one left in them no other can see.
#[derive(Default)]
pub(super) struct Spare {
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Spare {
    /// A buffer of `length` bytes of no particular content.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.buffers.lock().expect("no holder panics").pop().unwrap_or_default();
        if buffer.capacity() < length {
            return vec![0; length];
        }
        buffer.resize(length, 0);
        buffer
    }

    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock().expect("no holder panics");
        if buffer.capacity() <= SPARE_BYTES_MAX && buffers.len() < REQUESTS_IN_FLIGHT_MAX {
            buffers.push(buffer);
        }
    }
}

/// Receives requests and starts them, until the client leaves.
async fn receive(
    reader: &mut Reader,
    session: &Arc<Session>,
    work: &mut JoinSet<()>,
    replies: mpsc::Sender<Reply>,
) -> Result<()> {
    loop {
        let mut head = [0; Request::BYTES];
        reader.read_exact(&mut head).await?;
        let request = Request::decode(&head)?;
        if request.command == command::DISC {
            return Ok(());
        }
        let held = admit(session, request).await?;
        let mut payload = Vec::new();
        if request.command == command::WRITE {
            payload = session.spare.take(request.length as usize);
            reader.read_exact(&mut payload).await?;
        }
        while work.try_join_next().is_some() {} // forget those that have ended
        let shared = Arc::clone(session);
        let mut answering = Box::pin(async move {
            let outcome = perform(&shared, request, payload).await;
            Reply { chunks: encode(request.cookie, shared.agreed.structured, outcome), held }
        });
        // What is at hand is answered here: a task of its own would cost more than the answer.
        match poll!(answering.as_mut()) {
            // If nobody takes replies any more, the client is gone.
            Poll::Ready(reply) => drop(replies.send(reply).await),
            Poll::Pending => {
                let replies = replies.clone();
                work.spawn(async move { drop(replies.send(answering.await).await) });
            }
        }
    }
}

/// Waits until there is room for a request. What it returns is held until the reply is written.
async fn admit(session: &Session, request: Request) -> Result<[OwnedSemaphorePermit; 2]> {
    let bytes = match request.command {
        // It would have to be received only to be refused.
        command::WRITE if request.length > REQUEST_BYTES_MAX => {
            return Err(Malformed("write of more than 32 MiB").into());
        }
        command::READ | command::WRITE => request.length.min(REQUEST_BYTES_MAX),
        _ => 0,
    };
    let slot = Arc::clone(&session.requests).acquire_owned().await.expect("never closed");
    let bytes = Arc::clone(&session.bytes).acquire_many_owned(bytes).await.expect("never closed");
    Ok([slot, bytes])
}
