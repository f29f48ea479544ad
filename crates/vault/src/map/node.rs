//! One node of a block map, and its bytes.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | level |
//! | 1..9 | which slots are taken, one bit each |
//! | then 32 each | ids of the children, in order of slots |
//! | varint p, then p × 20 | packs: session id, sequence |
//! | then, per child | varint: row of its pack × 2, + 1 if it follows the child before; else varint offset; varint sealed length |
//!
//! The id is the keyed hash of everything before the packs. What follows are hints: where each child lay
//! when the node was written.

use crate::bytes_io::{Fields, put_varint};
use crate::index::Location;
use crate::keys::Keyring;
use crate::{ChunkId, PackId, PackKind, SessionId};
use uuid::Uuid;

/// Slots of a node.
pub(crate) const SLOTS: usize = 64;
/// The largest node: all slots taken, every child in a pack of its own, every number at its longest.
pub(crate) const NODE_BYTES_MAX: usize = 9 + SLOTS * (32 + 20 + 15) + 5;
/// No sealed node is shorter: an id and a session are 48 bytes that nothing compresses, and sealing adds 17.
pub(crate) const NODE_SEALED_BYTES_MIN: u32 = 64;
/// Levels beyond this would span more than 2^64 blocks.
const LEVEL_MAX: u8 = 10;

/// What stands in a slot: a chunk in a leaf, a node above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Child {
    pub(crate) id: ChunkId,
    pub(crate) at: Location,
}

/// A node, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) level: u8,
    pub(crate) slots: [Option<Child>; SLOTS],
}

impl Node {
    /// A node without children.
    pub(crate) fn empty(level: u8) -> Self {
        Self { level, slots: [None; SLOTS] }
    }

    /// Whether everything beneath is zero.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        self.slots.iter().flatten()
    }

    /// Its bytes, and how many of them its id covers.
    pub(crate) fn encode(&self) -> (Vec<u8>, usize) {
        let taken =
            (0..SLOTS).filter(|&slot| self.slots[slot].is_some()).fold(0u64, |bits, slot| bits | 1 << slot);
        let mut bytes = vec![self.level];
        bytes.extend_from_slice(&taken.to_le_bytes());
        self.children().for_each(|child| bytes.extend_from_slice(&child.id.0));
        let covered = bytes.len();
        let mut packs: Vec<PackId> = Vec::new();
        for child in self.children() {
            if !packs.contains(&child.at.pack) {
                packs.push(child.at.pack);
            }
        }
        put_varint(&mut bytes, packs.len() as u32);
        for pack in &packs {
            bytes.extend_from_slice(pack.session.0.as_bytes());
            bytes.extend_from_slice(&pack.sequence.to_le_bytes());
        }
        let mut next = None;
        for Child { at, .. } in self.children() {
            let row = packs.iter().position(|pack| *pack == at.pack).expect("collected above") as u32;
            let follows = next == Some((at.pack, at.offset));
            put_varint(&mut bytes, row * 2 + u32::from(follows));
            if !follows {
                put_varint(&mut bytes, at.offset);
            }
            put_varint(&mut bytes, at.length);
            next = at.offset.checked_add(at.length).map(|end| (at.pack, end));
        }
        (bytes, covered)
    }

    /// Takes the bytes of a node apart; says what is wrong with them.
    pub(crate) fn decode(keys: &Keyring, id: ChunkId, bytes: &[u8]) -> Result<Self, &'static str> {
        let mut fields = Fields(bytes);
        let node = Self::decode_fields(&mut fields).ok_or("a map node makes no sense")?;
        let covered = 9 + 32 * node.children().count();
        if node_id(keys, &bytes[..covered]) != id {
            return Err("a map node is another than its id says");
        }
        fields.0.is_empty().then_some(node).ok_or("a map node has bytes behind its end")
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let level = fields.u8().filter(|level| *level <= LEVEL_MAX)?;
        let taken = fields.u64()?;
        let ids: Vec<_> =
            (0..taken.count_ones()).map(|_| fields.array().map(ChunkId)).collect::<Option<_>>()?;
        let kind = if level == 0 { PackKind::Data } else { PackKind::Map };
        let count = fields.varint().filter(|count| *count as usize <= ids.len())?;
        let pack = |fields: &mut Fields<'_>| {
            let session = SessionId(Uuid::from_bytes(fields.array()?));
            Some(PackId { kind, session, sequence: fields.u32()? })
        };
        let packs: Vec<_> = (0..count).map(|_| pack(fields)).collect::<Option<_>>()?;
        let mut node = Self::empty(level);
        let mut previous: Option<Location> = None;
        let slots = (0..SLOTS).filter(|slot| taken >> slot & 1 == 1);
        for (slot, id) in slots.zip(ids) {
            let tag = fields.varint()?;
            let pack = *packs.get(tag as usize / 2)?;
            let offset = match (tag % 2, previous) {
                (1, Some(before)) if before.pack == pack => before.offset.checked_add(before.length)?,
                (0, _) => fields.varint()?,
                _ => return None,
            };
            let at = Location { pack, offset, length: fields.varint()? };
            previous = Some(at);
            node.slots[slot] = Some(Child { id, at });
        }
        Some(node)
    }
}

/// The id of the node whose covered bytes these are.
pub(crate) fn node_id(keys: &Keyring, covered: &[u8]) -> ChunkId {
    ChunkId(*blake3::keyed_hash(keys.node_id_key(), covered).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn child() -> impl Strategy<Value = Child> {
        (any::<u8>(), 0u8..3, 0u32..3, any::<u32>(), any::<u32>()).prop_map(
            |(id, session, sequence, offset, length)| {
                let session = SessionId(Uuid::from_u128(session.into()));
                let pack = PackId { kind: PackKind::Data, session, sequence };
                Child { id: ChunkId([id; 32]), at: Location { pack, offset, length } }
            },
        )
    }

    proptest! {
        #[test]
        fn nodes_round_trip(children in prop::collection::vec(prop::option::of(child()), SLOTS)) {
            let keys = Keyring::generate();
            let node = Node { level: 0, slots: children.try_into().expect("64") };
            let (bytes, covered) = node.encode();
            prop_assert!(bytes.len() <= NODE_BYTES_MAX);
            let id = node_id(&keys, &bytes[..covered]);
            prop_assert_eq!(Node::decode(&keys, id, &bytes).expect("decodes"), node);
            prop_assert!(Node::decode(&keys, ChunkId([1; 32]), &bytes).is_err());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Node::decode_fields(&mut Fields(&bytes));
        }
    }
}
