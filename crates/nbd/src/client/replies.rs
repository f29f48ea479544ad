//! The receiving half of a connection: from the server's messages to answers.

use super::connection::Pending;
use super::coverage::Coverage;
use super::handshake::Contexts;
use crate::address::Reader;
use crate::wire::{
    DATA_CHUNK_HEAD_BYTES, ErrorChunk, HoleChunk, Malformed, ReplyHead, StatusChunk, chunk, errno,
};
use block::{Error, ErrorKind};
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// What a request hopes to get.
pub(super) enum Wanted {
    /// That it was done.
    Done,
    /// Bytes, read straight into the caller's own buffer.
    Bytes(Target),
    /// Extents.
    Status(Status),
}

/// Where the bytes of a read go.
pub(super) struct Target {
    pub(super) buffer: Vec<u8>,
    /// The part of the buffer that this request fills.
    pub(super) range: Range<usize>,
    /// The disk's offset of the part's first byte.
    pub(super) offset: u64,
    /// What of the part is answered.
    pub(super) covered: Coverage,
}

/// Extents (length and flags) from the request's offset, for each context agreed upon.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) allocation: Vec<(u32, u32)>,
    pub(super) bitmap: Vec<(u32, u32)>,
}

/// What a request got.
pub(super) enum Answer {
    Done,
    Bytes(Vec<u8>),
    Status(Status),
}

/// A request that was sent, and the first error the server told of it.
struct Waiting {
    pending: Pending,
    failed: Option<Error>,
}

/// Reads replies and matches them to requests.
pub(super) struct Replies {
    reader: Reader,
    registered: mpsc::Receiver<Pending>,
    waiting: HashMap<u64, Waiting>,
    contexts: Contexts,
}

impl Replies {
    pub(super) fn new(reader: Reader, registered: mpsc::Receiver<Pending>, contexts: Contexts) -> Self {
        Self { reader, registered, waiting: HashMap::new(), contexts }
    }

    /// Answers requests until the connection ends or the server breaks the protocol.
    pub(super) async fn receive(&mut self) -> std::io::Result<Infallible> {
        loop {
            let head = self.head().await?;
            let (ReplyHead::Simple { cookie, .. } | ReplyHead::Chunk { cookie, .. }) = head;
            let mut waiting = self.take(cookie)?;
            let last = match head {
                ReplyHead::Simple { error, .. } => {
                    self.simple(&mut waiting, error).await?;
                    true
                }
                ReplyHead::Chunk { flags, kind, length, .. } => {
                    self.chunk(&mut waiting, kind, length).await?;
                    flags & chunk::DONE != 0
                }
            };
            if last {
                waiting.finish();
            } else {
                self.waiting.insert(cookie, waiting);
            }
        }
    }

    async fn head(&mut self) -> std::io::Result<ReplyHead> {
        let mut bytes = [0; ReplyHead::BYTES_MAX];
        let (magic, _) = bytes.split_first_chunk_mut::<{ ReplyHead::MAGIC_BYTES }>().expect("20 bytes");
        self.reader.read_exact(magic).await?;
        let length = ReplyHead::bytes(*magic)?;
        self.reader.read_exact(&mut bytes[ReplyHead::MAGIC_BYTES..length]).await?;
        Ok(ReplyHead::decode(&bytes[..length])?)
    }

    /// The request a reply belongs to.
    fn take(&mut self, cookie: u64) -> Result<Waiting, Malformed> {
        // A request is registered before it is sent, so whatever can be answered is in the channel.
        while let Ok(pending) = self.registered.try_recv() {
            self.waiting.insert(pending.cookie, Waiting { pending, failed: None });
        }
        self.waiting.remove(&cookie).ok_or(Malformed("reply to a request we did not send"))
    }

    async fn simple(&mut self, waiting: &mut Waiting, error: u32) -> std::io::Result<()> {
        if error != 0 {
            waiting.fail(error, "");
            return Ok(());
        }
        match &mut waiting.pending.wanted {
            Wanted::Done => Ok(()),
            Wanted::Bytes(target) => {
                let (offset, length) = (target.offset, target.range.len());
                self.reader.read_exact(target.window(offset, length)?).await?;
                Ok(())
            }
            Wanted::Status(_) => Err(Malformed("simple reply to block status").into()),
        }
    }

    async fn chunk(&mut self, waiting: &mut Waiting, kind: u16, length: u32) -> std::io::Result<()> {
        match (kind, &mut waiting.pending.wanted) {
            (chunk::NONE, _) => {
                self.content(length, 0).await?;
            }
            (chunk::OFFSET_DATA, Wanted::Bytes(target)) => {
                let bytes =
                    length.checked_sub(DATA_CHUNK_HEAD_BYTES).ok_or(Malformed("data chunk too short"))?;
                let offset = self.reader.read_u64().await?;
                self.reader.read_exact(target.window(offset, bytes as usize)?).await?;
            }
            (chunk::OFFSET_HOLE, Wanted::Bytes(target)) => {
                let hole = HoleChunk::decode(&self.content(length, HoleChunk::BYTES).await?)?;
                target.window(hole.offset, hole.length as usize)?.fill(0);
            }
            (chunk::BLOCK_STATUS, Wanted::Status(status)) => {
                let told = StatusChunk::decode(&self.content(length, StatusChunk::BYTES_MAX).await?)?;
                status.add(self.contexts, told)?;
            }
            (kind, _) if kind & chunk::ERROR_BIT != 0 => {
                let error = ErrorChunk::decode(&self.content(length, ErrorChunk::BYTES_MAX).await?)?;
                waiting.fail(error.error, &error.message);
            }
            _ => return Err(Malformed("chunk that does not answer its request").into()),
        }
        Ok(())
    }

    /// A chunk's content, if it is no longer than such a chunk can be.
    async fn content(&mut self, length: u32, limit: u32) -> std::io::Result<Vec<u8>> {
        if length > limit {
            return Err(Malformed("chunk longer than its kind allows").into());
        }
        let mut content = vec![0; length as usize];
        self.reader.read_exact(&mut content).await?;
        Ok(content)
    }
}

impl Target {
    /// The bytes of the buffer for `length` bytes of disk at `offset`: inside the request, and not yet
    /// answered.
    fn window(&mut self, offset: u64, length: usize) -> Result<&mut [u8], Malformed> {
        let start = offset
            .checked_sub(self.offset)
            .and_then(|start| usize::try_from(start).ok())
            .ok_or(Malformed("answer before the range asked for"))?;
        let end = start
            .checked_add(length)
            .filter(|end| *end <= self.range.len())
            .ok_or(Malformed("answer beyond the range asked for"))?;
        if !self.covered.add(start, end) {
            return Err(Malformed("bytes answered twice, or none"));
        }
        Ok(&mut self.buffer[self.range.clone()][start..end])
    }
}

impl Status {
    /// Takes a chunk in. Each context may answer once.
    fn add(&mut self, contexts: Contexts, told: StatusChunk) -> Result<(), Malformed> {
        let id = Some(told.context);
        let extents = if id == contexts.bitmap {
            &mut self.bitmap
        } else if id == contexts.allocation {
            &mut self.allocation
        } else {
            return Err(Malformed("block status in a context not agreed upon"));
        };
        if !extents.is_empty() {
            return Err(Malformed("block status told twice"));
        }
        *extents = told.extents;
        Ok(())
    }
}

impl Waiting {
    fn fail(&mut self, error: u32, message: &str) {
        let kind = match error {
            errno::EPERM | errno::EINVAL | errno::EOVERFLOW | errno::ENOTSUP => ErrorKind::Invalid,
            errno::ENOSPC => ErrorKind::NoSpace,
            errno::ESHUTDOWN => ErrorKind::Unreachable,
            _ => ErrorKind::Io,
        };
        let context = format!("the server failed the request with error {error}: {message}");
        self.failed.get_or_insert(Error::new(kind, context));
    }

    /// Tells the caller, if it still listens.
    fn finish(self) {
        let answer = match (self.failed, self.pending.wanted) {
            (Some(error), _) => Err(error),
            (None, Wanted::Done) => Ok(Answer::Done),
            (None, Wanted::Status(status)) => Ok(Answer::Status(status)),
            (None, Wanted::Bytes(target)) if target.covered.is_whole(target.range.len()) => {
                Ok(Answer::Bytes(target.buffer))
            }
            (None, Wanted::Bytes(_)) => {
                Err(Error::new(ErrorKind::Io, "the server answered only a part of a read"))
            }
        };
        let _ = self.pending.answer.send(answer);
    }
}
