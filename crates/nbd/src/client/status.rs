//! From block status in one or two contexts to extents.

use super::handshake::Contexts;
use super::replies::Status;
use crate::wire::{BITMAP_DIRTY, allocation_flag};
use block::ExtentKind;

/// Lengths and kinds from the start of the status, as far as all contexts agreed upon tell.
///
/// What is clean in the bitmap is `Unchanged`, whatever it holds. Of the rest, what the allocation
/// says reads as zeros is `Zero`: a hole need not, so that flag alone means nothing.
pub(super) fn runs(contexts: Contexts, status: &Status) -> Vec<(u64, ExtentKind)> {
    match (contexts.bitmap, contexts.allocation) {
        (None, None) => Vec::new(),
        (Some(_), None) => status.bitmap.iter().map(|(length, flags)| run(*length, *flags, 0)).collect(),
        (None, Some(_)) => {
            status.allocation.iter().map(|(length, flags)| run(*length, BITMAP_DIRTY, *flags)).collect()
        }
        (Some(_), Some(_)) => together(&status.bitmap, &status.allocation),
    }
}

/// Walks both lists at once and stops where the shorter one ends.
fn together(bitmap: &[(u32, u32)], allocation: &[(u32, u32)]) -> Vec<(u64, ExtentKind)> {
    let (mut bitmap, mut allocation) = (bitmap.iter().copied(), allocation.iter().copied());
    let mut runs = Vec::new();
    let (mut left, mut right) = (bitmap.next(), allocation.next());
    while let (Some((left_length, dirty)), Some((right_length, zero))) = (left, right) {
        let length = left_length.min(right_length);
        runs.push(run(length, dirty, zero));
        left = if left_length > length { Some((left_length - length, dirty)) } else { bitmap.next() };
        right = if right_length > length { Some((right_length - length, zero)) } else { allocation.next() };
    }
    runs
}

fn run(length: u32, bitmap: u32, allocation: u32) -> (u64, ExtentKind) {
    let kind = if bitmap & BITMAP_DIRTY == 0 {
        ExtentKind::Unchanged
    } else if allocation & allocation_flag::ZERO != 0 {
        ExtentKind::Zero
    } else {
        ExtentKind::Data
    };
    (length.into(), kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flags_at(extents: &[(u32, u32)], byte: u32) -> Option<u32> {
        let mut end = 0;
        extents
            .iter()
            .find(|(length, _)| {
                end += length;
                byte < end
            })
            .map(|(_, flags)| *flags)
    }

    proptest! {
        #[test]
        fn two_contexts_agree_with_looking_at_every_byte(
            bitmap in prop::collection::vec((1u32..9, 0u32..2), 1..12),
            allocation in prop::collection::vec((1u32..9, 0u32..4), 1..12),
        ) {
            let both = Contexts { bitmap: Some(1), allocation: Some(2) };
            let status = Status { bitmap: bitmap.clone(), allocation: allocation.clone() };
            let kinds: Vec<ExtentKind> = runs(both, &status)
                .into_iter()
                .flat_map(|(length, kind)| vec![kind; length as usize])
                .collect();
            let slow: Vec<ExtentKind> = (0..)
                .map_while(|byte| Some((flags_at(&bitmap, byte)?, flags_at(&allocation, byte)?)))
                .map(|(dirty, zero)| match (dirty & 1, zero & 2) {
                    (0, _) => ExtentKind::Unchanged,
                    (_, 0) => ExtentKind::Data,
                    _ => ExtentKind::Zero,
                })
                .collect();
            prop_assert_eq!(kinds, slow);
        }
    }

    #[test]
    fn a_hole_alone_is_not_zero() {
        let allocation = Contexts { bitmap: None, allocation: Some(0) };
        let status = Status { bitmap: vec![], allocation: vec![(5, 1), (6, 2), (7, 3)] };
        let kinds = [(5, ExtentKind::Data), (6, ExtentKind::Zero), (7, ExtentKind::Zero)];
        assert_eq!(runs(allocation, &status), kinds);
    }
}
