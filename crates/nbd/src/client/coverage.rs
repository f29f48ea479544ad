//! Which bytes of a read the server has answered.

/// Disjoint ranges of a buffer, in order, neighbours joined.
///
/// A server may answer a read in many chunks in any order. Counting bytes would not do: a chunk sent
/// twice could hide one never sent, and the buffer's old bytes would pass for the disk's.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    ranges: Vec<(usize, usize)>,
}

impl Coverage {
    /// Adds `start..end`; false if any of it was there already, or it is empty.
    pub(super) fn add(&mut self, start: usize, end: usize) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < start);
        let next = self.ranges.get(at).copied();
        // `next` is the first range that ends at or after `start`; it may touch, not overlap.
        match next {
            _ if start >= end => false,
            Some((first, last)) if last == start => self.extend(at, first, end),
            Some((first, _)) if first < end => false,
            Some((first, last)) if first == end => {
                self.ranges[at] = (start, last);
                true
            }
            _ => {
                self.ranges.insert(at, (start, end));
                true
            }
        }
    }

    /// True if exactly `0..length` is covered.
    pub(super) fn is_whole(&self, length: usize) -> bool {
        self.ranges == [(0, length)]
    }

    /// Grows the range at `at` to `first..end`, joining the one behind it if they meet.
    fn extend(&mut self, at: usize, first: usize, end: usize) -> bool {
        match self.ranges.get(at + 1).copied() {
            Some((behind, _)) if behind < end => return false,
            Some((behind, last)) if behind == end => {
                self.ranges[at] = (first, last);
                self.ranges.remove(at + 1);
            }
            _ => self.ranges[at] = (first, end),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_mark_on_every_byte(
            chunks in prop::collection::vec((0usize..24, 0usize..8), 0..30),
        ) {
            let mut coverage = Coverage::default();
            let mut marks = [false; 32];
            for (start, length) in chunks {
                let fresh = length > 0 && marks[start..start + length].iter().all(|mark| !mark);
                prop_assert_eq!(coverage.add(start, start + length), fresh);
                if fresh {
                    marks[start..start + length].fill(true);
                }
            }
            for length in 1..32 {
                let whole = marks.iter().enumerate().all(|(at, mark)| *mark == (at < length));
                prop_assert_eq!(coverage.is_whole(length), whole);
            }
        }
    }
}
