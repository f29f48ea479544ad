//! Cuts a source into the pieces that loops work through.

use crate::{BlockSource, Extent, Result, align};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

/// Extents are asked for this many bytes of disk at a time, so that a list of them stays small
/// (262,144 entries, 6 MiB, if every 4 KiB block differs from its neighbour) however large the disk.
pub const EXTENT_WINDOW: u64 = 1 << 30;

/// Everything that lies on `source`, in order, as extents of whole blocks of `granularity` bytes and
/// at most `piece_bytes` long (a multiple of `granularity`) where they hold data.
pub fn pieces(source: &dyn BlockSource, granularity: u64, piece_bytes: u64) -> BoxStream<'_, Result<Extent>> {
    assert!(piece_bytes.is_multiple_of(granularity) && EXTENT_WINDOW.is_multiple_of(granularity));
    let size = source.size();
    let windows = (0..size).step_by(EXTENT_WINDOW as usize);
    stream::iter(windows)
        .then(move |offset| async move {
            let extents = source.extents(offset, EXTENT_WINDOW.min(size - offset)).await?;
            let cut = align(&extents, granularity).into_iter().flat_map(move |e| cut(e, piece_bytes));
            Ok(stream::iter(cut.map(Ok)))
        })
        .try_flatten()
        .boxed()
}

/// Data is cut to what one request moves; zeros and unchanged ranges cost nothing and stay whole.
fn cut(extent: Extent, piece_bytes: u64) -> impl Iterator<Item = Extent> {
    let step = if extent.kind == crate::ExtentKind::Data { piece_bytes } else { extent.length };
    (extent.offset..extent.end())
        .step_by(step as usize)
        .map(move |offset| Extent::new(offset, step.min(extent.end() - offset), extent.kind))
}
