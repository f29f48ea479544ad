//! The copy loop: what restore, export and conversion are.

use crate::{BlockSink, BlockSource, Error, ErrorKind, Extent, ExtentKind, Result, pieces};
use futures_util::stream::TryStreamExt;
use std::sync::Mutex;

/// How a copy moves data.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Holes are recognised in units of this many bytes.
    pub granularity: u64,
    /// Most bytes moved by one request. A multiple of `granularity`.
    pub piece_bytes: u64,
    /// Pieces under way at once; memory is this times `piece_bytes`.
    pub in_flight: usize,
    /// The sink is fresh and reads as zeros: ranges of zeros need not be written.
    pub sink_is_zero: bool,
}

impl Default for CopyOptions {
    /// 16 requests of 1 MiB: enough to hide the latency of a local disk or a fast network.
    fn default() -> Self {
        Self { granularity: 64 << 10, piece_bytes: 1 << 20, in_flight: 16, sink_is_zero: false }
    }
}

/// What a copy did, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Read from the source and written to the sink.
    pub data: u64,
    /// Known to be zero without reading.
    pub zero: u64,
    /// Left as it was.
    pub unchanged: u64,
}

/// Copies `source` to `sink` and flushes. `progress` is called with the bytes of disk dealt with, in
/// steps that add up to the size of the disk.
///
/// Ranges the source calls `Unchanged` are left alone: the sink must hold the earlier instant.
pub async fn copy(
    source: &dyn BlockSource,
    sink: &dyn BlockSink,
    options: CopyOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Copied> {
    if sink.size() < source.size() {
        let context = format!("copy {} bytes into {}: the target is too small", source.size(), sink.size());
        return Err(Error::new(ErrorKind::Invalid, context));
    }
    let spare = Mutex::new(Vec::<Vec<u8>>::new());
    let mut done = Copied::default();
    let mut under_way = pieces(source, options.granularity, options.piece_bytes)
        .map_ok(|piece| move_piece(source, sink, options.sink_is_zero, piece, &spare))
        .try_buffer_unordered(options.in_flight);
    while let Some(piece) = under_way.try_next().await? {
        match piece.kind {
            ExtentKind::Data => done.data += piece.length,
            ExtentKind::Zero => done.zero += piece.length,
            ExtentKind::Unchanged => done.unchanged += piece.length,
        }
        progress(piece.length);
    }
    drop(under_way);
    sink.flush().await?;
    Ok(done)
}

async fn move_piece(
    source: &dyn BlockSource,
    sink: &dyn BlockSink,
    sink_is_zero: bool,
    piece: Extent,
    spare: &Mutex<Vec<Vec<u8>>>,
) -> Result<Extent> {
    match piece.kind {
        ExtentKind::Unchanged => {}
        ExtentKind::Zero if sink_is_zero => {}
        ExtentKind::Zero => sink.zero(piece.offset, piece.length).await?,
        ExtentKind::Data => {
            let mut buffer = spare.lock().expect("no holder panics").pop().unwrap_or_default();
            buffer.resize(usize::try_from(piece.length).expect("pieces fit memory"), 0);
            let buffer = source.read(piece.offset, buffer).await?;
            let buffer = sink.write(piece.offset, buffer).await?;
            spare.lock().expect("no holder panics").push(buffer);
        }
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    fn small() -> CopyOptions {
        CopyOptions { granularity: 4096, piece_bytes: 8192, in_flight: 3, sink_is_zero: false }
    }

    #[tokio::test]
    async fn a_copy_equals_its_source_and_progress_adds_up() {
        let source = MemoryDisk::new(100_000);
        source.write(5_000, vec![7; 20_000]).await.expect("write");
        source.write(99_999, vec![9; 1]).await.expect("write");
        let sink = MemoryDisk::new(100_000);
        sink.write(0, vec![0xFF; 100_000]).await.expect("write");
        let seen = std::sync::atomic::AtomicU64::new(0);
        let add = |n| {
            seen.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        };
        let copied = copy(&source, &sink, small(), &add).await.expect("copy");
        assert_eq!(sink.bytes(), source.bytes());
        assert_eq!(seen.into_inner(), 100_000);
        assert_eq!(copied.data + copied.zero, 100_000);
        assert!(copied.data < 40_000, "zeros are not moved: {copied:?}");
    }

    #[tokio::test]
    async fn a_smaller_target_is_refused() {
        let (source, sink) = (MemoryDisk::new(10), MemoryDisk::new(9));
        let error = copy(&source, &sink, small(), &|_| ()).await.expect_err("too small");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
