//! Reading ahead of a stream: QEMU asks for one piece after the other, and would wait for a distant store each time.

use block::BlockSource;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use vault::PointDisk;

/// QEMU's jobs deal with this many bytes at a time, at any offset, where nothing was written yet.
pub(super) const PIECE_BYTES: u64 = 512 << 10;
/// Pieces under way or waiting to be asked for: 4 MiB a disk.
const PIECES: u64 = 8;

/// A piece that is on its way; nothing if it could not be read: whoever wants it then reads it himself.
type Coming = Shared<BoxFuture<'static, Option<Arc<Vec<u8>>>>>;

/// What is read ahead of a disk's stream.
#[derive(Default)]
pub(super) struct Ahead {
    pieces: Mutex<BTreeMap<u64, Coming>>,
}

impl Ahead {
    /// The stream is at `offset`: what follows is fetched, what lies behind is let go.
    pub(super) fn follow(&self, disk: &Arc<PointDisk>, offset: u64) {
        let first = offset / PIECE_BYTES;
        let end = (first + PIECES).min(disk.size().div_ceil(PIECE_BYTES));
        let mut pieces = self.pieces.lock().expect("no holder panics");
        pieces.retain(|piece, _| (first..end).contains(piece));
        for piece in first..end {
            pieces.entry(piece).or_insert_with(|| fetch(disk, piece));
        }
    }

    /// Fills the buffer from what was fetched; gives it back as an error if that is not at hand.
    pub(super) async fn take(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        let piece = offset / PIECE_BYTES;
        let coming = self.pieces.lock().expect("no holder panics").get(&piece).cloned();
        let Some(coming) = coming else { return Err(buffer) };
        let Some(bytes) = coming.await else { return Err(buffer) };
        let from = (offset - piece * PIECE_BYTES) as usize;
        let Some(found) = bytes.get(from..from + buffer.len()) else { return Err(buffer) };
        buffer.copy_from_slice(found);
        Ok(buffer)
    }
}

fn fetch(disk: &Arc<PointDisk>, piece: u64) -> Coming {
    let disk = Arc::clone(disk);
    let offset = piece * PIECE_BYTES;
    let length = PIECE_BYTES.min(disk.size() - offset) as usize;
    let reading = tokio::spawn(async move { disk.read(offset, vec![0; length]).await.ok().map(Arc::new) });
    // A task that ended otherwise than by its end means that the runtime goes down.
    async move { reading.await.ok().flatten() }.boxed().shared()
}
