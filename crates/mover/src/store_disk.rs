//! The loop of the product: each changed extent of a disk is read, stored, and recorded in its new map.

use block::{BlockSource, Extent, ExtentKind, Result, pieces};
use futures_util::stream::TryStreamExt;
use std::sync::Mutex;
use vault::{Base, CHUNK_BYTES, DiskMap, Session, StoredBatch};

/// Bytes of one read. QEMU serves up to 32 MiB; from 1 MiB on, more saves nothing.
const PIECE_BYTES: u64 = 1 << 20;
/// Pieces being read, compressed or waiting for their turn. Memory is this times [`PIECE_BYTES`], twice.
const PIECES_IN_FLIGHT: usize = 16;
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
    let mut stored = pieces(source, CHUNK_BYTES as u64, PIECE_BYTES)
        .map_ok(|piece| store(session, source, piece, &spare))
        .try_buffered(PIECES_IN_FLIGHT);
    while let Some((piece, batch)) = stored.try_next().await? {
        match batch {
            Some(batch) => {
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

/// Reads and stores a piece that holds data; the others need neither.
async fn store(
    session: &Session,
    source: &dyn BlockSource,
    piece: Extent,
    spare: &Mutex<Vec<Vec<u8>>>,
) -> Result<(Extent, Option<StoredBatch>)> {
    if piece.kind != ExtentKind::Data {
        return Ok((piece, None));
    }
    let mut buffer = spare.lock().expect("no holder panics").pop().unwrap_or_default();
    buffer.resize(usize::try_from(piece.length).expect("pieces fit memory"), 0);
    let buffer = source.read(piece.offset, buffer).await?;
    let batch = session.store(piece.offset, buffer).await?;
    Ok((piece, Some(batch)))
}
