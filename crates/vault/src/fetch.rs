//! Which chunks one request brings: those that lie near one another in a pack.

use crate::PackId;
use crate::index::Location;
use std::ops::Range;

/// Chunks that lie this near one another in a pack are fetched by one request.
const GAP_BYTES_MAX: u32 = 32 << 10;
/// The most one request fetches.
const FETCH_BYTES_MAX: u32 = 4 << 20;
/// Requests under way for one read.
pub(crate) const FETCHES_MAX: usize = 4;

/// What one request fetches of a pack.
pub(crate) struct Fetch<T> {
    pub(crate) pack: PackId,
    start: u32,
    end: u32,
    pub(crate) wanted: Vec<T>,
}

impl<T> Fetch<T> {
    /// One place by itself.
    pub(crate) fn alone(at: Location, wanted: T) -> Self {
        let end = at.offset.saturating_add(at.length);
        Self { pack: at.pack, start: at.offset, end, wanted: vec![wanted] }
    }

    /// Where it begins in the pack.
    pub(crate) fn start(&self) -> u64 {
        self.start.into()
    }

    /// Bytes of it.
    pub(crate) fn length(&self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// Where one of the places lies in what was fetched.
    pub(crate) fn within(&self, at: Location) -> Range<usize> {
        let from = (at.offset - self.start) as usize;
        from..from + at.length as usize
    }

    fn takes(&self, at: Location) -> bool {
        let end = at.offset.saturating_add(at.length);
        self.pack == at.pack
            && at.offset >= self.start
            && at.offset <= self.end.saturating_add(GAP_BYTES_MAX)
            && end - self.start <= FETCH_BYTES_MAX
    }
}

/// Groups what is wanted into requests, in the order in which it is given.
pub(crate) fn plan<T>(wanted: impl IntoIterator<Item = T>, place: impl Fn(&T) -> Location) -> Vec<Fetch<T>> {
    let mut fetches: Vec<Fetch<T>> = Vec::new();
    for one in wanted {
        let at = place(&one);
        match fetches.last_mut().filter(|last| last.takes(at)) {
            Some(last) => {
                last.end = last.end.max(at.offset.saturating_add(at.length));
                last.wanted.push(one);
            }
            None => fetches.push(Fetch::alone(at, one)),
        }
    }
    fetches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PackKind, SessionId};
    use uuid::Uuid;

    fn at(sequence: u32, offset: u32, length: u32) -> Location {
        let session = SessionId(Uuid::from_u128(1));
        Location { pack: PackId { kind: PackKind::Data, session, sequence }, offset, length }
    }

    #[test]
    fn neighbours_come_together_and_others_apart() {
        let gap = GAP_BYTES_MAX;
        let places =
            [at(0, 100, 50), at(0, 150 + gap, 50), at(0, 201 + 2 * gap, 10), at(1, 300, 10), at(1, 200, 10)];
        let fetches = plan(places, |at| *at);
        let counts: Vec<usize> = fetches.iter().map(|fetch| fetch.wanted.len()).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
        assert_eq!((fetches[0].start(), fetches[0].length()), (100, 100 + u64::from(gap)));
        assert_eq!(fetches[0].within(places[1]), 50 + gap as usize..100 + gap as usize);
    }

    #[test]
    fn no_request_grows_beyond_its_limit_and_overlaps_stay_within() {
        let places = (0..200).map(|n| at(0, n * 64 * 1024, 64 * 1024));
        let fetches = plan(places, |at| *at);
        assert!(fetches.iter().all(|fetch| fetch.length() <= FETCH_BYTES_MAX.into()));
        assert_eq!(fetches.iter().map(|fetch| fetch.wanted.len()).sum::<usize>(), 200);
        let fetches = plan([at(0, 10, 90), at(0, 20, 10)], |at| *at);
        assert_eq!((fetches.len(), fetches[0].length()), (1, 90));
        assert_eq!(fetches[0].within(at(0, 20, 10)), 10..20);
    }
}
