//! A run: chunk ids in order, each with where it lies.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | number of packs p |
//! | 4..8 | number of entries n |
//! | then p × 24 | session id, sequence, kind, three zero bytes |
//! | then n × 44 | chunk id, pack (row of the table above), offset, sealed length |
//!
//! Entries have one size and ids are uniformly distributed, so an entry is found by interpolation in the
//! bytes themselves, without unpacking them.

use super::Location;
use crate::bytes_io::Fields;
use crate::{ChunkId, PackId, PackKind, SessionId};
use std::collections::HashMap;
use uuid::Uuid;

/// Entries of one run at most; a session that added more writes several.
pub(crate) const RUN_ENTRIES_MAX: usize = 1 << 20;
/// The body of the largest run: every entry in a pack of its own.
pub(crate) const RUN_BODY_BYTES_MAX: usize = 8 + RUN_ENTRIES_MAX * (PACK_BYTES + ENTRY_BYTES);

const PACK_BYTES: usize = 24;
const ENTRY_BYTES: usize = 44;

/// The body of a run for entries that are sorted by id.
pub(crate) fn encode_run(entries: &[(ChunkId, Location)]) -> Vec<u8> {
    assert!(entries.len() <= RUN_ENTRIES_MAX, "the caller splits");
    assert!(entries.is_sorted_by_key(|(id, _)| *id), "lookups interpolate");
    let mut packs: Vec<PackId> = entries.iter().map(|(_, at)| at.pack).collect();
    packs.sort_unstable();
    packs.dedup();
    let rows: HashMap<PackId, u32> = packs.iter().copied().zip(0..).collect();
    let mut body = Vec::with_capacity(8 + packs.len() * PACK_BYTES + entries.len() * ENTRY_BYTES);
    for count in [packs.len(), entries.len()] {
        body.extend_from_slice(&u32::try_from(count).expect("at most 2^20").to_le_bytes());
    }
    for pack in &packs {
        body.extend_from_slice(pack.session.0.as_bytes());
        body.extend_from_slice(&pack.sequence.to_le_bytes());
        body.extend_from_slice(&[pack.kind as u8, 0, 0, 0]);
    }
    for (id, at) in entries {
        body.extend_from_slice(&id.0);
        for field in [rows[&at.pack], at.offset, at.length] {
            body.extend_from_slice(&field.to_le_bytes());
        }
    }
    body
}

/// A run in memory.
pub(crate) struct Run {
    packs: Vec<PackId>,
    entries: Vec<u8>,
}

impl Run {
    /// Takes the body of a run apart; says what is wrong with it.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, &'static str> {
        let mut fields = Fields(body);
        let (Some(packs), Some(count)) = (fields.u32(), fields.u32()) else { return Err("it ends early") };
        if packs > count || count as usize > RUN_ENTRIES_MAX {
            return Err("its counts are out of range");
        }
        let packs = (0..packs).map(|_| decode_pack(&mut fields)).collect::<Option<Vec<_>>>();
        let packs = packs.ok_or("its table of packs makes no sense")?;
        let entries = fields.0;
        if entries.len() != count as usize * ENTRY_BYTES {
            return Err("it has another length than its counts say");
        }
        let rows = entries.chunks_exact(ENTRY_BYTES);
        if !rows.clone().map(|entry| &entry[..32]).is_sorted() {
            return Err("its entries are not in order");
        }
        if rows.map(|entry| u32_at(entry, 32) as usize).any(|row| row >= packs.len()) {
            return Err("an entry names a pack that the table lacks");
        }
        Ok(Self { packs, entries: entries.to_vec() })
    }

    /// Where a chunk lies.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Location> {
        let entry = |at: usize| &self.entries[at * ENTRY_BYTES..(at + 1) * ENTRY_BYTES];
        let target = prefix(&id.0);
        let (mut low, mut high) = (0, self.entries.len() / ENTRY_BYTES);
        let (mut floor, mut ceiling) = (0, u64::MAX);
        let mut probes = 0;
        while low < high {
            // Interpolate; after a few misses the ids are not uniform (hostile?): halve instead.
            probes += 1;
            let share = (target.saturating_sub(floor)) as f64 / ((ceiling - floor).max(1)) as f64;
            let guess = if probes < 8 { (share * (high - low) as f64) as usize } else { (high - low) / 2 };
            let at = low + guess.min(high - low - 1);
            match entry(at)[..32].cmp(&id.0[..]) {
                std::cmp::Ordering::Equal => {
                    let pack = self.packs[u32_at(entry(at), 32) as usize];
                    let (offset, length) = (u32_at(entry(at), 36), u32_at(entry(at), 40));
                    return Some(Location { pack, offset, length });
                }
                std::cmp::Ordering::Less => (low, floor) = (at + 1, prefix(entry(at))),
                std::cmp::Ordering::Greater => (high, ceiling) = (at, prefix(entry(at))),
            }
        }
        None
    }
}

fn decode_pack(fields: &mut Fields<'_>) -> Option<PackId> {
    let session = SessionId(Uuid::from_bytes(fields.array()?));
    let sequence = fields.u32()?;
    let [kind, zeros @ ..] = fields.array::<4>()?;
    (zeros == [0; 3]).then_some(PackId { kind: PackKind::from_byte(kind)?, session, sequence })
}

fn prefix(id: &[u8]) -> u64 {
    u64::from_be_bytes(id[..8].try_into().expect("ids have 32 bytes"))
}

fn u32_at(entry: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn location(seed: u8) -> Location {
        let session = SessionId(Uuid::from_u128(u128::from(seed % 3)));
        let kind = if seed.is_multiple_of(2) { PackKind::Data } else { PackKind::Map };
        Location {
            pack: PackId { kind, session, sequence: u32::from(seed / 4) },
            offset: 9,
            length: seed.into(),
        }
    }

    proptest! {
        #[test]
        fn a_run_answers_as_a_map_does(
            entries in prop::collection::btree_map(prop::array::uniform32(0u8..4), any::<u8>(), 0..200),
            strangers in prop::collection::vec(prop::array::uniform32(0u8..4), 20),
        ) {
            let oracle: BTreeMap<_, _> = entries.iter().map(|(id, s)| (ChunkId(*id), location(*s))).collect();
            let sorted: Vec<_> = oracle.iter().map(|(id, at)| (*id, *at)).collect();
            let run = Run::decode(&encode_run(&sorted)).expect("decodes");
            for id in entries.keys().chain(&strangers).map(|id| ChunkId(*id)) {
                prop_assert_eq!(run.get(&id), oracle.get(&id).copied());
            }
        }

        #[test]
        fn foreign_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Run::decode(&body);
        }
    }
}
