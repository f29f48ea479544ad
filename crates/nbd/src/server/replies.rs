//! From what became of requests to the bytes that tell it.

use super::command::{Content, Done, Outcome, Piece};
use super::session::Spare;
use crate::address::Writer;
use crate::wire::{DATA_CHUNK_HEAD_BYTES, HoleChunk, ReplyHead, StatusChunk, chunk};
use bytes::Buf;
use std::io::Result;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Payloads up to this are gathered, so that all that is ready goes out with one system call, which costs more than
/// copying them; longer ones go straight to the socket.
const GATHERED_BYTES_MAX: usize = 8 << 10;

/// A reply ready to be written.
pub(super) struct Reply {
    pub(super) chunks: Vec<Chunk>,
    /// Its place among the requests in flight and its bytes, free again once it is written.
    pub(super) held: [OwnedSemaphorePermit; 2],
}

/// Bytes made here, then bytes read from the disk.
pub(super) struct Chunk {
    head: Vec<u8>,
    data: Vec<u8>,
}

/// Writes replies, each whole, until no more can come or the client takes none.
pub(super) async fn write_replies(
    mut writer: Writer,
    mut finished: mpsc::Receiver<Reply>,
    spare: &Spare,
) -> Result<()> {
    while let Some(reply) = finished.recv().await {
        for Chunk { head, data } in reply.chunks {
            let mut bytes = head.chain(&data[..]);
            if data.len() > GATHERED_BYTES_MAX {
                writer.flush().await?;
                writer.get_mut().write_all_buf(&mut bytes).await?;
            } else {
                writer.write_all_buf(&mut bytes).await?;
            }
            spare.give(data);
        }
        drop(reply.held);
        if finished.is_empty() {
            writer.flush().await?;
        }
    }
    writer.flush().await
}

/// The bytes of a reply, in chunks if the client can take them.
pub(super) fn encode(cookie: u64, structured: bool, outcome: Outcome) -> Vec<Chunk> {
    if structured { chunks(cookie, outcome) } else { vec![simple(cookie, outcome)] }
}

/// Such clients are told no holes and no status, so a read is one piece of data.
fn simple(cookie: u64, outcome: Outcome) -> Chunk {
    let (error, data) = match outcome {
        Err(refusal) => (refusal.error, Vec::new()),
        Ok(Done::Pieces(pieces)) => {
            let data = pieces.into_iter().find_map(|piece| match piece.content {
                Content::Data(data) => Some(data),
                Content::Hole(_) => None,
            });
            (0, data.expect("without structured replies a read is one piece of data"))
        }
        Ok(Done::Plain | Done::Status(_)) => (0, Vec::new()),
    };
    Chunk { head: ReplyHead::Simple { error, cookie }.encode(), data }
}

fn chunks(cookie: u64, outcome: Outcome) -> Vec<Chunk> {
    let contents: Vec<(u16, Chunk)> = match outcome {
        Err(refusal) => vec![(chunk::ERROR, bare(refusal.encode()))],
        Ok(Done::Plain) => vec![(chunk::NONE, bare(Vec::new()))],
        Ok(Done::Pieces(pieces)) => pieces.into_iter().map(piece).collect(),
        Ok(Done::Status(told)) => told
            .into_iter()
            .map(|(context, extents)| (chunk::BLOCK_STATUS, bare(StatusChunk { context, extents }.encode())))
            .collect(),
    };
    let last = contents.len() - 1;
    let finish = |(at, (kind, content)): (usize, (u16, Chunk))| {
        let flags = if at == last { chunk::DONE } else { 0 };
        let length =
            u32::try_from(content.head.len() + content.data.len()).expect("at most 32 MiB and a bit");
        let mut head = ReplyHead::Chunk { flags, kind, cookie, length }.encode();
        head.extend(content.head);
        Chunk { head, data: content.data }
    };
    contents.into_iter().enumerate().map(finish).collect()
}

fn bare(head: Vec<u8>) -> Chunk {
    Chunk { head, data: Vec::new() }
}

fn piece(Piece { offset, content }: Piece) -> (u16, Chunk) {
    match content {
        Content::Hole(length) => (chunk::OFFSET_HOLE, bare(HoleChunk { offset, length }.encode())),
        Content::Data(data) => {
            let head = offset.to_be_bytes().to_vec();
            debug_assert_eq!(head.len(), DATA_CHUNK_HEAD_BYTES as usize);
            (chunk::OFFSET_DATA, Chunk { head, data })
        }
    }
}
