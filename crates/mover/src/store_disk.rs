//! The loop of the product: each changed extent of a disk is read, stored, and recorded in its new map.

use block::{BlockSource, Extent, ExtentKind, Result, pieces};
use futures_util::stream::TryStreamExt;
use std::sync::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use vault::{Base, CHUNK_BYTES, DiskMap, Session, StoredBatch};

/// Bytes of one read. QEMU serves up to 32 MiB; from 1 MiB on, more saves nothing.
const PIECE_BYTES: u64 = 1 << 20;
/// Pieces being read, compressed or waiting for their turn: of a changed disk they are small, and its device is only
/// busy if it is asked for many.
const PIECES_IN_FLIGHT: usize = 64;
/// Bytes of them. Memory is this, twice.
const BYTES_IN_FLIGHT: u64 = 16 << 20;

/// Stores what `source` holds on top of `base`, or of nothing; gives the new map and the bytes read.
///
/// Ranges that the source calls unchanged stay as they are in `base`. Pieces are read and stored in any
/// order but recorded by offset, so that the map is built along one path. `advance` is told the bytes of
/// disk dealt with.
pub async fn store_disk(
    session: &Session,
    source: &dyn BlockSource,
    base: Option<Base<'_>>,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<(DiskMap, u64)> {
    let mut map = session.disk(source.size(), base).await?;
    let mut read_bytes = 0;
    let spare = Mutex::default();
    // Given in the order in which it is asked for: the piece that all wait for has its room already.
    let room = Semaphore::new(permits(BYTES_IN_FLIGHT) as usize);
    let mut stored = pieces(source, CHUNK_BYTES as u64, PIECE_BYTES)
        .map_ok(|piece| store(session, source, piece, (&spare, &room)))
        .try_buffered(PIECES_IN_FLIGHT);
    while let Some((piece, batch)) = stored.try_next().await? {
        match batch {
            Some((batch, _room)) => {
                map.record(session, &batch).await?;
                read_bytes += piece.length;
                spare.lock().expect("no holder panics").push(batch.buffer);
            }
            None if piece.kind == ExtentKind::Zero => {
                map.record_zeros(session, piece.offset, piece.length).await?;
            }
            None => {} // as it was
        }
        advance(piece.length);
    }
    drop(stored);
    Ok((map.finish(session).await?, read_bytes))
}

/// What the room of a piece is counted in.
fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).expect("pieces fit memory")
}

/// Reads and stores a piece that holds data; the others need neither. Its room is given up when it is recorded.
async fn store<'a>(
    session: &Session,
    source: &dyn BlockSource,
    piece: Extent,
    (spare, room): (&Mutex<Vec<Vec<u8>>>, &'a Semaphore),
) -> Result<(Extent, Option<(StoredBatch, SemaphorePermit<'a>)>)> {
    if piece.kind != ExtentKind::Data {
        return Ok((piece, None));
    }
    let room = room.acquire_many(permits(piece.length)).await.expect("never closed");
    let mut buffer = spare.lock().expect("no holder panics").pop().unwrap_or_default();
    buffer.resize(usize::try_from(piece.length).expect("pieces fit memory"), 0);
    let buffer = source.read(piece.offset, buffer).await?;
    let batch = session.store(piece.offset, buffer).await?;
    Ok((piece, Some((batch, room))))
}
