//! The places in one pack that are needed: a bit for 4 KiB of data packs (two small chunks may share one, and live or
//! die together) and one for 64 bytes of map packs, which no sealed node is shorter than: 32 MiB for each TiB of
//! stored data, 2 MiB for each GiB of maps.

use crate::PackKind;
use crate::index::Location;
use crate::map::NODE_SEALED_BYTES_MIN;

/// Bytes of a data pack that share a bit.
const DATA_GRAIN: u32 = 4096;
/// Words of bits that a pack's grow by: doubling would waste as much again, of which there is one a pack.
const GROWTH: usize = 32;

/// The places in one pack that are needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    bits: Vec<u64>,
    bytes: u64,
}

impl Live {
    /// Notes a place; `false` if it was noted already.
    pub(crate) fn add(&mut self, at: &Location) -> bool {
        let (word, mask) = bit_of(at);
        if self.bits.len() <= word {
            if self.bits.capacity() <= word {
                self.bits.reserve_exact((word + 1).next_multiple_of(GROWTH) - self.bits.len());
            }
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & mask == 0;
        self.bits[word] |= mask;
        self.bytes += if is_new { u64::from(at.length) } else { 0 };
        is_new
    }

    /// Whether no other place shares this one's bit, of places of which that is so.
    pub(crate) fn is_exact(at: &Location) -> bool {
        at.pack.kind == PackKind::Map || at.length >= DATA_GRAIN
    }

    /// Whether a place is needed, or one that it shares its bit with.
    pub(crate) fn has(&self, at: &Location) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PackId, SessionId};
    use std::collections::BTreeMap;
    use uuid::Uuid;

    /// Chunks of 64 KiB, a little compressed, in a pack of 48 MiB.
    const CHUNKS_A_PACK: u64 = 1000;
    const CHUNK: u32 = 48_000;

    /// `cargo xtask bench index 100000000` prints what it takes; as a test it is small and only checks answers.
    #[test]
    fn an_index_of_many_chunks_is_marked() {
        let chunks = std::env::var("STRONGROOM_INDEX_CHUNKS").ok().and_then(|text| text.parse().ok());
        let chunks: u64 = chunks.unwrap_or(100_000);
        let session = SessionId(Uuid::from_u128(9));
        let mut marked: BTreeMap<PackId, Live> = BTreeMap::new();
        for n in 0..chunks {
            let pack = PackId { kind: PackKind::Data, session, sequence: (n / CHUNKS_A_PACK) as u32 };
            let at = Location { pack, offset: (n % CHUNKS_A_PACK) as u32 * CHUNK, length: CHUNK };
            assert!(marked.entry(pack).or_default().add(&at), "it is new");
        }
        let bytes: u64 = marked.values().map(Live::bytes).sum();
        assert_eq!(bytes, chunks * u64::from(CHUNK));
        let held: usize = marked.values().map(|live| live.bits.capacity() * 8).sum();
        let stored = bytes.max(1) >> 20;
        println!("{chunks} chunks marked: {} MiB of bits for {stored} MiB of stored data", held >> 20);
        assert!(
            held as u64 <= 40 * (bytes >> 20) + (GROWTH * 8) as u64 * marked.len() as u64,
            "32 MiB for a TiB"
        );
    }
}
