//! Packs: many sealed chunks in one object.
//!
//! | bytes | field |
//! |---|---|
//! | 0..72 | head (`seal.rs`) |
//! | 72.. | chunks, each: sealed codec and body, nonce = its offset, associated data = its id |
//! | toc | sealed table of contents, nonce = its offset, associated data `toc` |
//! | n-48..n-36 | offset of the table, its sealed length, number of entries |
//! | n-36..n-32 | magic `SRPF` |
//! | n-32..n | BLAKE3 of all bytes before: lets a scrub without keys find rot |
//!
//! An entry of the table is 40 bytes: chunk id, offset, sealed length. The table is the truth about what
//! lies where; index runs and the hints in maps repeat it.

use crate::bytes_io::Fields;
use crate::index::Location;
use crate::keys::Keyring;
use crate::seal::{HEAD_BYTES, ObjectKey, ObjectKind, ObjectName, TAG_BYTES};
use crate::{ChunkId, Error, PackId, PackKind, Result, VaultId, chunk};

/// A pack is closed once it holds this much: 22 objects a GiB, while two open packs and two uploads
/// still fit the memory budget of 300 MiB.
pub(crate) const PACK_BYTES: usize = 48 << 20;

/// The most a sealed chunk takes: raw, with its codec byte and tag.
pub(crate) const SEALED_BYTES_MAX: usize = chunk::PLAIN_BYTES_MAX + 1 + TAG_BYTES;

/// The end of a pack that is read for its table: enough for 3,200 chunks, four times what a pack of data has.
pub(crate) const TAIL_BYTES: u64 = 128 << 10;

/// A row of the table of contents.
pub(crate) const ENTRY_BYTES: usize = 40;
const FOOTER_BYTES: usize = 48;
const FOOTER_MAGIC: &[u8; 4] = b"SRPF";
const TOC_LABEL: &[u8] = b"toc";

/// What the head of a pack must name.
pub(crate) fn object_name(pack: PackId) -> ObjectName {
    let kind = match pack.kind {
        PackKind::Data => ObjectKind::DataPack,
        PackKind::Map => ObjectKind::MapPack,
    };
    ObjectName { kind, id: pack.session.0, sequence: pack.sequence }
}

/// A pack being filled.
pub(crate) struct OpenPack {
    id: PackId,
    key: ObjectKey,
    bytes: Vec<u8>,
    entries: Vec<(ChunkId, u32, u32)>,
}

/// A pack that will not change any more.
pub(crate) struct FullPack {
    pub(crate) id: PackId,
    pub(crate) bytes: Vec<u8>,
}

impl OpenPack {
    /// An empty pack that fills `buffer`, whose old bytes are dropped but whose memory is reused.
    pub(crate) fn new(keys: &Keyring, vault: VaultId, id: PackId, mut buffer: Vec<u8>) -> Self {
        let (key, head) = ObjectKey::create(keys, vault, object_name(id));
        buffer.clear();
        buffer.extend_from_slice(&head);
        Self { id, key, bytes: buffer, entries: Vec::new() }
    }

    /// Whether another `length` encoded bytes would take it beyond `limit`.
    pub(crate) fn is_full_for(&self, length: usize, limit: usize) -> bool {
        !self.entries.is_empty() && self.bytes.len() + length > limit
    }

    /// Whether nothing was put into it.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Seals `encoded` (codec and body) at the end; says where it lies.
    pub(crate) fn append(&mut self, id: ChunkId, encoded: &[u8]) -> Location {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(encoded);
        let tag = self.key.seal(offset as u64, &id.0, &mut self.bytes[offset..]);
        self.bytes.extend_from_slice(&tag);
        let offset = u32::try_from(offset).expect("packs are far below 4 GiB");
        let length = u32::try_from(encoded.len() + TAG_BYTES).expect("chunks are far below 4 GiB");
        self.entries.push((id, offset, length));
        Location { pack: self.id, offset, length }
    }

    /// Appends table and footer.
    pub(crate) fn finish(mut self) -> FullPack {
        let toc = self.bytes.len();
        for (id, offset, length) in &self.entries {
            self.bytes.extend_from_slice(&id.0);
            self.bytes.extend_from_slice(&offset.to_le_bytes());
            self.bytes.extend_from_slice(&length.to_le_bytes());
        }
        let tag = self.key.seal(toc as u64, TOC_LABEL, &mut self.bytes[toc..]);
        self.bytes.extend_from_slice(&tag);
        let toc_length = self.bytes.len() - toc;
        for field in [toc, toc_length, self.entries.len()] {
            let field = u32::try_from(field).expect("packs are far below 4 GiB");
            self.bytes.extend_from_slice(&field.to_le_bytes());
        }
        self.bytes.extend_from_slice(FOOTER_MAGIC);
        let hash = blake3::hash(&self.bytes);
        self.bytes.extend_from_slice(hash.as_bytes());
        FullPack { id: self.id, bytes: self.bytes }
    }
}

/// Whether the bytes of an object are those that were written, by its own hash: needs no key.
pub(crate) fn check_hash(object: &str, bytes: &[u8]) -> Result<()> {
    match bytes.split_last_chunk::<32>() {
        Some((body, hash)) if blake3::hash(body) == *hash => Ok(()),
        _ => Err(Error::corrupt(object, bytes.len() as u64, "its hash does not match its bytes")),
    }
}

/// The entries of a whole pack, from its own table of contents.
pub(crate) fn read_toc(
    keys: &Keyring,
    vault: VaultId,
    id: PackId,
    bytes: &[u8],
) -> Result<Vec<(ChunkId, Location)>> {
    let bad = |at: usize, found: &str| Error::corrupt(id, at as u64, found);
    check_hash(&id.object(), bytes)?;
    if bytes.len() < HEAD_BYTES + FOOTER_BYTES {
        return Err(bad(bytes.len(), "it ends early"));
    }
    let key = ObjectKey::open(keys, vault, object_name(id), &bytes[..HEAD_BYTES])?;
    match read_tail(&key, id, bytes.len() as u64, bytes)? {
        Tail::Whole(entries) => Ok(entries),
        Tail::From(_) => unreachable!("all of it is there"),
    }
}

/// What the end of a pack told.
pub(crate) enum Tail {
    /// Its table of contents.
    Whole(Vec<(ChunkId, Location)>),
    /// Where the table begins: before the bytes that were read.
    From(u64),
}

/// The entries of a pack of `size` bytes, from its last ones. Proved by the table's seal, not by the pack's hash.
pub(crate) fn read_tail(key: &ObjectKey, id: PackId, size: u64, end: &[u8]) -> Result<Tail> {
    let bad = |at: u64, found: &str| Error::corrupt(id, at, found);
    let Some((_, footer)) = end.split_last_chunk::<FOOTER_BYTES>() else {
        return Err(bad(size, "it ends early"));
    };
    let footer_at = size - FOOTER_BYTES as u64;
    let mut fields = Fields(footer);
    let (Some(toc), Some(length), Some(count)) = (fields.u32(), fields.u32(), fields.u32()) else {
        return Err(bad(footer_at, "its footer ends early"));
    };
    let (toc, length, count) = (u64::from(toc), u64::from(length), u64::from(count));
    let fits = toc + length == footer_at && count * ENTRY_BYTES as u64 + TAG_BYTES as u64 == length;
    if fields.take(4) != Some(FOOTER_MAGIC) || !fits || toc < HEAD_BYTES as u64 {
        return Err(bad(footer_at, "its footer makes no sense"));
    }
    let Some(from) = toc.checked_sub(size - end.len() as u64) else { return Ok(Tail::From(toc)) };
    let mut sealed = end[from as usize..end.len() - FOOTER_BYTES].to_vec();
    let entries = key
        .open_at(toc, TOC_LABEL, &mut sealed)
        .ok_or_else(|| bad(toc, "the seal of its table of contents is broken"))?;
    let mut fields = Fields(entries);
    let entry = |_| {
        let (id_bytes, offset, length) = (fields.array()?, fields.u32()?, fields.u32()?);
        Some((ChunkId(id_bytes), Location { pack: id, offset, length }))
    };
    let entries = (0..count).map(entry).collect::<Option<_>>();
    entries.map(Tail::Whole).ok_or_else(|| bad(toc, "its table of contents ends early"))
}

/// Opens the sealed chunk that lies at `location`; gives codec and body.
pub(crate) fn open_chunk<'a>(
    key: &ObjectKey,
    id: ChunkId,
    location: Location,
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    key.open_at(u64::from(location.offset), &id.0, sealed).ok_or_else(|| {
        Error::corrupt(location.pack, location.offset.into(), format!("the seal of chunk {id} is broken"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionId;
    use uuid::Uuid;

    #[test]
    fn a_pack_reads_back_and_every_flipped_byte_is_found() {
        let (keys, vault) = (Keyring::generate(), VaultId(Uuid::from_u128(1)));
        let id = PackId { kind: PackKind::Data, session: SessionId(Uuid::from_u128(2)), sequence: 3 };
        let mut pack = OpenPack::new(&keys, vault, id, Vec::new());
        let chunks: Vec<_> = [b"one".to_vec(), vec![7; 500]].map(|c| (chunk::chunk_id(&keys, &c), c)).into();
        let mut places = Vec::new();
        for (id, plain) in &chunks {
            let mut encoded = Vec::new();
            chunk::encode(plain, &mut encoded);
            places.push((*id, pack.append(*id, &encoded)));
        }
        let full = pack.finish();
        assert_eq!(read_toc(&keys, vault, id, &full.bytes).expect("reads"), places);
        let key = ObjectKey::open(&keys, vault, object_name(id), &full.bytes).expect("key");
        let size = full.bytes.len();
        let toc = size - FOOTER_BYTES - TAG_BYTES - 2 * ENTRY_BYTES;
        for from in 0..size {
            let told = read_tail(&key, id, size as u64, &full.bytes[from..]);
            match told {
                Ok(Tail::Whole(entries)) => assert!(from <= toc && entries == places),
                Ok(Tail::From(start)) => assert!(from > toc && start == toc as u64),
                Err(_) => assert!(from > size - FOOTER_BYTES, "the footer is there"),
            }
        }
        for at in 0..full.bytes.len() {
            let mut bytes = full.bytes.clone();
            bytes[at] ^= 0x10;
            assert!(read_toc(&keys, vault, id, &bytes).is_err(), "byte {at} flipped unnoticed");
        }
        let key = ObjectKey::open(&keys, vault, object_name(id), &full.bytes).expect("key");
        for ((id, plain), (_, place)) in chunks.iter().zip(&places) {
            let range = place.offset as usize..(place.offset + place.length) as usize;
            let mut sealed = full.bytes[range.clone()].to_vec();
            let encoded = open_chunk(&key, *id, *place, &mut sealed).expect("opens");
            assert_eq!(&chunk::decode(encoded, 1000).expect("inflates"), plain);
            let mut other = full.bytes[range].to_vec();
            let error = open_chunk(&key, ChunkId([0; 32]), *place, &mut other).expect_err("another id");
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
        }
    }
}
