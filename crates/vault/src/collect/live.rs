//! The places in one pack that are needed: a bit for 4 KiB of data packs (two small chunks may share one, and live or
//! die together) and one for 64 bytes of map packs, which no sealed node is shorter than: 32 MiB for each TiB of
//! stored data, 2 MiB for each GiB of maps.

use crate::PackKind;
use crate::index::Location;
use crate::map::NODE_SEALED_BYTES_MIN;

/// Bytes of a data pack that share a bit.
const DATA_GRAIN: u32 = 4096;

/// The places in one pack that are needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    bits: Vec<u64>,
    bytes: u64,
}

impl Live {
    /// Notes a place; `false` if it was noted already.
    pub(super) fn add(&mut self, at: &Location) -> bool {
        let (word, mask) = bit_of(at);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & mask == 0;
        self.bits[word] |= mask;
        self.bytes += if is_new { u64::from(at.length) } else { 0 };
        is_new
    }

    /// Whether a place is needed, or one that it shares its bit with.
    pub(super) fn has(&self, at: &Location) -> bool {
        let (word, mask) = bit_of(at);
        self.bits.get(word).is_some_and(|bits| bits & mask != 0)
    }

    /// Stored bytes of what is needed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the same places are noted, whatever they were counted to be.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let length = self.bits.len().max(other.bits.len());
        let word = |live: &Self, at: usize| live.bits.get(at).copied().unwrap_or(0);
        (0..length).all(|at| word(self, at) == word(other, at))
    }
}

fn bit_of(at: &Location) -> (usize, u64) {
    let grain = match at.pack.kind {
        PackKind::Data => DATA_GRAIN,
        PackKind::Map => NODE_SEALED_BYTES_MIN,
    };
    let bit = at.offset / grain;
    ((bit / 64) as usize, 1 << (bit % 64))
}
