//! Only the differences: a disk of a point, told as what differs from a target that holds another state of it.
//!
//! The target is read and each block compared by its hash with what the point's map says, so what is the same comes
//! neither out of the vault nor onto the target. Blocks are judged one by one and nothing is remembered, so whatever a
//! restore that was killed left, the next one finds what still differs: a block that was written is the point's, one
//! that was not is judged again, and one that was half written is neither state's and is written.

use async_trait::async_trait;
use block::{BlockSource, Extent, ExtentKind, Result, align, check_range, coalesce};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;
use vault::{BlockSample, CHUNK_BYTES, DiskMap, PointDisk, Vault};

/// Bytes of the target that are read at once; a multiple of a chunk.
const PIECE_BYTES: u64 = 1 << 20;
/// Reads of the target under way.
const PIECES_IN_FLIGHT: usize = 8;

/// A disk of a point, whose blocks are `Unchanged` where the target has them already.
pub(crate) struct Differences<'a> {
    vault: Arc<Vault>,
    map: DiskMap,
    point: PointDisk,
    target: &'a dyn BlockSource,
}

impl<'a> Differences<'a> {
    pub(crate) fn new(vault: &Arc<Vault>, map: &DiskMap, target: &'a dyn BlockSource) -> Self {
        let point = PointDisk::new(Arc::clone(vault), map.clone());
        Self { vault: Arc::clone(vault), map: map.clone(), point, target }
    }

    async fn judge(&self, piece: Extent) -> Result<Vec<Extent>> {
        let blocks = self.vault.blocks_with_data(&self.map, piece.offset..piece.end()).await?;
        self.compare(piece, blocks).await
    }

    /// Compares a piece of the target, of which `kind` is known, with the point's blocks in it.
    async fn compare(&self, piece: Extent, blocks: Vec<BlockSample>) -> Result<Vec<Extent>> {
        if piece.kind != ExtentKind::Data {
            return Ok(by_block(piece, &blocks, |_, is_wanted| match is_wanted {
                Some(_) => ExtentKind::Data,
                None => ExtentKind::Unchanged,
            }));
        }
        let length = usize::try_from(piece.length).expect("pieces fit memory");
        let bytes = self.target.read(piece.offset, vec![0; length]).await?;
        let vault = Arc::clone(&self.vault);
        let judged = tokio::task::spawn_blocking(move || {
            by_block(piece, &blocks, |place, is_wanted| {
                let found = &bytes[place];
                match is_wanted {
                    Some(block) if vault.is_same(block, found) => ExtentKind::Unchanged,
                    Some(_) => ExtentKind::Data,
                    None if found.iter().all(|&byte| byte == 0) => ExtentKind::Unchanged,
                    None => ExtentKind::Zero,
                }
            })
        });
        Ok(judged.await.expect("comparing does not panic"))
    }
}

fn cut(extent: Extent) -> impl Iterator<Item = Extent> {
    let starts = (extent.offset..extent.end()).step_by(PIECE_BYTES as usize);
    starts.map(move |at| Extent::new(at, PIECE_BYTES.min(extent.end() - at), extent.kind))
}

/// Judges each block of a piece: where it lies in the piece, and what the point has there.
fn by_block(
    piece: Extent,
    blocks: &[BlockSample],
    judge: impl Fn(std::ops::Range<usize>, Option<&BlockSample>) -> ExtentKind,
) -> Vec<Extent> {
    let starts = (piece.offset..piece.end()).step_by(CHUNK_BYTES);
    let extents = starts.map(|start| {
        let length = (piece.end() - start).min(CHUNK_BYTES as u64);
        let wanted = blocks.binary_search_by_key(&start, |block| block.offset).ok().map(|at| &blocks[at]);
        let first = (start - piece.offset) as usize;
        Extent::new(start, length, judge(first..first + length as usize, wanted))
    });
    coalesce(extents)
}

#[async_trait]
impl BlockSource for Differences<'_> {
    fn size(&self) -> u64 {
        self.map.size
    }

    /// Reads the target: a range takes as long as that.
    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        check_range(self.map.size, offset, length)?;
        let chunk = CHUNK_BYTES as u64;
        // Blocks are judged whole; what was not asked for is cut off at the end.
        let start = offset / chunk * chunk;
        let end = (offset + length).next_multiple_of(chunk).min(self.map.size);
        let lies = align(&self.target.extents(start, end - start).await?, chunk);
        let pieces: Vec<Extent> = lies.into_iter().flat_map(cut).collect();
        let compared = stream::iter(pieces).map(|piece| self.judge(piece));
        let judged: Vec<Vec<Extent>> = compared.buffered(PIECES_IN_FLIGHT).try_collect().await?;
        let within = judged.into_iter().flatten().filter_map(|extent| {
            let (from, to) = (extent.offset.max(offset), extent.end().min(offset + length));
            (from < to).then(|| Extent::new(from, to - from, extent.kind))
        });
        Ok(coalesce(within))
    }

    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.point.read(offset, buffer).await
    }
}
