//! Extents: what lies where on a disk, and how lists of them are brought to a granularity.

/// What a reader finds in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes that must be read.
    Data,
    /// Reads as zeros; no need to read it.
    Zero,
    /// As at the earlier instant this source is compared with.
    Unchanged,
}

/// A range of a disk and what lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes; never 0.
    pub length: u64,
    /// What lies there.
    pub kind: ExtentKind,
}

impl Extent {
    /// An extent of `length` bytes from `offset`.
    pub fn new(offset: u64, length: u64, kind: ExtentKind) -> Self {
        Self { offset, length, kind }
    }

    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// Joins neighbours of one kind. `extents` must be in order and touch one another.
pub fn coalesce(extents: impl IntoIterator<Item = Extent>) -> Vec<Extent> {
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents {
        match joined.last_mut() {
            Some(last) if last.kind == extent.kind && last.end() == extent.offset => {
                last.length += extent.length;
            }
            _ => joined.push(extent),
        }
    }
    joined
}

/// Brings extents to whole blocks of `granularity` bytes (the last one may end early, with the disk).
///
/// A block of one kind keeps it. A mixed block becomes `Data`: reading it gives zeros where it was
/// zero and today's bytes where it was unchanged, so nothing is lost, only read. `extents` must be in
/// order, touch one another and start on a block boundary.
pub fn align(extents: &[Extent], granularity: u64) -> Vec<Extent> {
    let extents = coalesce(extents.iter().copied());
    let Some(end) = extents.last().map(Extent::end) else { return Vec::new() };
    debug_assert!(extents[0].offset.is_multiple_of(granularity), "aligned ranges are asked for");
    let mut aligned: Vec<Extent> = Vec::with_capacity(extents.len());
    let mut push = |offset: u64, stop: u64, kind| {
        if stop <= offset {
            return;
        }
        match aligned.last_mut() {
            Some(last) if last.kind == kind => last.length = stop - last.offset,
            _ => aligned.push(Extent::new(offset, stop - offset, kind)),
        }
    };
    let mut at = extents[0].offset; // everything before it has been emitted
    for extent in &extents {
        if extent.end() <= at {
            continue;
        }
        if extent.offset > at {
            // The block at `at` was begun by a neighbour of another kind: it is mixed.
            let stop = extent.offset.next_multiple_of(granularity).min(end);
            push(at, stop, ExtentKind::Data);
            at = stop;
        }
        let whole = if extent.end() == end { end } else { extent.end() / granularity * granularity };
        if whole > at {
            push(at, whole, extent.kind);
            at = whole;
        }
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::ExtentKind::*;
    use super::*;
    use proptest::prelude::*;

    /// The slow truth: look at every byte of every block.
    fn align_by_bytes(extents: &[Extent], granularity: u64) -> Vec<Extent> {
        let (start, end) = (extents[0].offset, extents[extents.len() - 1].end());
        let kind_at = |byte: u64| extents.iter().find(|e| e.offset <= byte && byte < e.end()).map(|e| e.kind);
        let blocks = (start..end).step_by(granularity as usize).map(|block| {
            let stop = (block + granularity).min(end);
            let first = kind_at(block);
            let uniform = (block..stop).all(|byte| kind_at(byte) == first);
            Extent::new(block, stop - block, if uniform { first.expect("covered") } else { Data })
        });
        coalesce(blocks)
    }

    proptest! {
        #[test]
        fn align_agrees_with_looking_at_every_byte(
            lengths in prop::collection::vec((1u64..40, 0u8..3), 1..20),
            start in 0u64..4,
        ) {
            let mut at = start * 16;
            let extents: Vec<Extent> = lengths.iter().map(|&(length, kind)| {
                let extent = Extent::new(at, length, [Data, Zero, Unchanged][kind as usize]);
                at += length;
                extent
            }).collect();
            prop_assert_eq!(align(&extents, 16), align_by_bytes(&extents, 16));
        }
    }

    #[test]
    fn a_block_half_zero_half_unchanged_is_read() {
        let mixed = [Extent::new(0, 8, Zero), Extent::new(8, 24, Unchanged)];
        assert_eq!(align(&mixed, 16), [Extent::new(0, 16, Data), Extent::new(16, 16, Unchanged)]);
    }
}
