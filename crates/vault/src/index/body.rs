//! What a run says, as it lies in the store.
//!
//! | bytes | field |
//! |---|---|
//! | 0..16 | number of packs p, of entries n, of replaced runs r, of other runs of the group s |
//! | then r × 20 | runs that are replaced: group, sequence |
//! | then p × 24 | session id, sequence, kind, three zero bytes |
//! | then n × 44 | chunk id, pack (row of the table above), offset, sealed length; ascending by id |

use super::{Location, RunName};
use crate::bytes_io::Fields;
use crate::{ChunkId, PackId, PackKind, SessionId};
use std::collections::HashMap;
use uuid::Uuid;

/// The most entries that a run may have.
pub(crate) const RUN_ENTRIES_MAX: usize = 1 << 20;
/// The most runs that one may replace: a vault in which nobody has merged for years.
pub(crate) const REPLACED_MAX: usize = 1 << 16;
/// The body of the largest run: every entry in a pack of its own.
pub(crate) const RUN_BODY_BYTES_MAX: usize =
    HEAD_BYTES + REPLACED_MAX * RunName::BYTES + RUN_ENTRIES_MAX * (PACK_BYTES + ENTRY_BYTES);

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 44;

const HEAD_BYTES: usize = 16;
const PACK_BYTES: usize = 24;

/// A run's content.
#[derive(Default)]
pub(crate) struct Body {
    pub(super) packs: Vec<PackId>,
    /// Runs that this one and the others of its group stand for.
    pub(super) replaces: Vec<RunName>,
    /// How many others there are: sequences 1 to this.
    pub(super) others: u32,
    /// Entries as they lie in the store.
    pub(super) entries: Vec<u8>,
}

impl Body {
    /// The number of entries.
    pub(super) fn count(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// The bytes to be sealed. The entries are moved, not copied: they may be 44 MiB.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut head = Vec::new();
        let others = self.others as usize;
        for count in [self.packs.len(), self.count(), self.replaces.len(), others] {
            head.extend_from_slice(&u32::try_from(count).expect("limited").to_le_bytes());
        }
        self.replaces.iter().for_each(|name| name.put(&mut head));
        self.packs.iter().for_each(|pack| head.extend_from_slice(&encode_pack(pack)));
        let mut bytes = self.entries;
        bytes.splice(..0, head);
        bytes
    }

    /// Takes the body of a run apart; says what is wrong with it.
    pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Self, &'static str> {
        let mut fields = Fields(&bytes);
        let mut count = || fields.u32().map(|count| count as usize).ok_or("it ends early");
        let (packs, entries, replaced, others) = (count()?, count()?, count()?, count()?);
        if packs > entries || entries > RUN_ENTRIES_MAX || replaced > REPLACED_MAX {
            return Err("its counts are out of range");
        }
        let replaces = (0..replaced).map(|_| RunName::take(&mut fields)).collect::<Option<Vec<_>>>();
        let replaces = replaces.ok_or("its list of replaced runs ends early")?;
        let packs = (0..packs).map(|_| decode_pack(&mut fields)).collect::<Option<Vec<_>>>();
        let packs = packs.ok_or("its table of packs makes no sense")?;
        let rest = fields.0.len();
        if rest != entries * ENTRY_BYTES {
            return Err("it has another length than its counts say");
        }
        bytes.drain(..bytes.len() - rest);
        let rows = bytes.chunks_exact(ENTRY_BYTES);
        if !rows.clone().map(id_of).is_sorted() {
            return Err("its entries are not in order");
        }
        if rows.map(row_of).any(|row| row >= packs.len()) {
            return Err("an entry names a pack that the table lacks");
        }
        Ok(Self { packs, replaces, others: others as u32, entries: bytes })
    }
}

/// The id of an entry.
pub(super) fn id_of(entry: &[u8]) -> &[u8] {
    &entry[..32]
}

/// The row of the table of packs that an entry names.
pub(super) fn row_of(entry: &[u8]) -> usize {
    u32_at(entry, 32) as usize
}

/// Where an entry says that its chunk lies.
pub(super) fn location_of(entry: &[u8], pack: PackId) -> Location {
    Location { pack, offset: u32_at(entry, 36), length: u32_at(entry, 40) }
}

fn u32_at(entry: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn encode_pack(pack: &PackId) -> [u8; PACK_BYTES] {
    let mut bytes = [0; PACK_BYTES];
    bytes[..16].copy_from_slice(pack.session.0.as_bytes());
    bytes[16..20].copy_from_slice(&pack.sequence.to_le_bytes());
    bytes[20] = pack.kind as u8;
    bytes
}

pub(super) fn decode_pack(fields: &mut Fields<'_>) -> Option<PackId> {
    let session = SessionId(Uuid::from_bytes(fields.array()?));
    let sequence = fields.u32()?;
    let [kind, zeros @ ..] = fields.array::<4>()?;
    (zeros == [0; 3]).then_some(PackId { kind: PackKind::from_byte(kind)?, session, sequence })
}

/// A body in the making; entries come in order of their ids.
#[derive(Default)]
pub(super) struct BodyBuilder {
    rows: HashMap<PackId, u32>,
    body: Body,
}

impl BodyBuilder {
    pub(super) fn push(&mut self, id: &ChunkId, at: Location) {
        let Self { rows, body } = self;
        assert!(body.count() < RUN_ENTRIES_MAX, "the caller splits");
        let row = *rows.entry(at.pack).or_insert_with(|| {
            body.packs.push(at.pack);
            u32::try_from(body.packs.len() - 1).expect("fewer than entries")
        });
        body.entries.extend_from_slice(&id.0);
        for field in [row, at.offset, at.length] {
            body.entries.extend_from_slice(&field.to_le_bytes());
        }
    }

    pub(super) fn count(&self) -> usize {
        self.body.count()
    }

    pub(super) fn finish(self) -> Body {
        debug_assert!(self.body.entries.chunks_exact(ENTRY_BYTES).map(id_of).is_sorted());
        self.body
    }
}
