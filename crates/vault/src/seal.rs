//! Sealing: the head that every encrypted object carries, and the key that belongs to it alone.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `SRSEALED` |
//! | 8..10 | format version, 1 |
//! | 10 | kind of object |
//! | 11 | zero |
//! | 12..16 | key epoch |
//! | 16..32 | id: the session's for packs, index runs and points; else drawn for each attempt |
//! | 32..36 | sequence |
//! | 36..40 | zero |
//! | 40..72 | key commitment |
//!
//! The object's key and commitment are derived from the epoch's key, the vault's id and bytes 0..40.
//! INVARIANT: ids are drawn once and (id, sequence, kind) names one object for ever, so no two objects
//! share a key; within one object the nonce is the offset of what is sealed, so no nonce repeats.

use crate::bytes_io::Fields;
use crate::keys::Keyring;
use crate::{Error, ErrorKind, Result, VaultId};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Bytes of the head.
pub(crate) const HEAD_BYTES: usize = 72;
/// Bytes that sealing adds: the authentication tag.
pub(crate) const TAG_BYTES: usize = 16;
/// The only version there is.
pub(crate) const FORMAT_VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"SRSEALED";
const KEY_CONTEXT: &str = "strongroom vault v1 object key and commitment";

/// What an object is, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ObjectKind {
    DataPack = 1,
    MapPack = 2,
    IndexRun = 3,
    Point = 4,
    LogRecord = 5,
    Intent = 6,
    Checkpoint = 7,
    Note = 8,
}

/// The part of a head that names the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) kind: ObjectKind,
    pub(crate) id: Uuid,
    pub(crate) sequence: u32,
}

/// The id in a head, for objects whose name does not tell it. Nothing is checked yet.
pub(crate) fn id_in_head(object: &[u8]) -> Option<Uuid> {
    object.get(16..32).and_then(|bytes| bytes.try_into().ok()).map(Uuid::from_bytes)
}

/// The key of one object.
pub(crate) struct ObjectKey {
    key: LessSafeKey,
}

impl ObjectKey {
    /// Key and head for a new object.
    pub(crate) fn create(keys: &Keyring, vault: VaultId, name: ObjectName) -> (Self, [u8; HEAD_BYTES]) {
        let (epoch, epoch_key) = keys.current_epoch();
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        head[10] = name.kind as u8;
        head[12..16].copy_from_slice(&epoch.to_le_bytes());
        head[16..32].copy_from_slice(name.id.as_bytes());
        head[32..36].copy_from_slice(&name.sequence.to_le_bytes());
        let (key, commitment) = derive(&epoch_key, vault, &head[..40]);
        head[40..].copy_from_slice(&commitment);
        (key, head)
    }

    /// The key of the object that `head` was read from, which must be the object named.
    pub(crate) fn open(keys: &Keyring, vault: VaultId, name: ObjectName, head: &[u8]) -> Result<Self> {
        let object = || format!("{:?} {}/{:08x}", name.kind, name.id, name.sequence);
        let epoch = check_head(name, head).map_err(|found| match found {
            HeadFault::Newer(version) => Error::new(
                ErrorKind::Unsupported,
                format!("{} has format version {version}; this program reads up to {FORMAT_VERSION}: use a newer one", object()),
            ),
            HeadFault::Damaged(found) => Error::corrupt(object(), 0, found),
        })?;
        let Some(epoch_key) = keys.epoch(epoch) else {
            let context = format!("{} is sealed under key epoch {epoch}, which the keyring lacks", object());
            return Err(Error::new(ErrorKind::Key, context));
        };
        let (key, commitment) = derive(&epoch_key, vault, &head[..40]);
        if commitment != head[40..HEAD_BYTES] {
            return Err(Error::corrupt(object(), 0, "its head does not match the vault's key"));
        }
        Ok(key)
    }

    /// Seals `bytes` in place, to stand at `offset` of the object.
    pub(crate) fn seal(&self, offset: u64, associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(offset), Aad::from(associated), bytes)
            .expect("far below the length limit of AES-GCM");
        tag.as_ref().try_into().expect("GCM tags have 16 bytes")
    }

    /// Opens in place what stood at `offset`; `None` if it is not what was sealed there.
    pub(crate) fn open_at<'a>(
        &self,
        offset: u64,
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.key.open_in_place(nonce(offset), Aad::from(associated), sealed).ok()
    }
}

enum HeadFault {
    Newer(u16),
    Damaged(&'static str),
}

/// Checks that `head` is that of the object named; gives its key epoch.
fn check_head(name: ObjectName, head: &[u8]) -> std::result::Result<u32, HeadFault> {
    use HeadFault::Damaged;
    let mut fields = Fields(head);
    if head.len() < HEAD_BYTES {
        return Err(Damaged("it is shorter than a head"));
    }
    if fields.take(8) != Some(MAGIC) {
        return Err(Damaged("it does not begin as an object of a vault does"));
    }
    match fields.u16() {
        Some(FORMAT_VERSION) => {}
        Some(version) if version > FORMAT_VERSION => return Err(HeadFault::Newer(version)),
        _ => return Err(Damaged("its format version is unknown")),
    }
    let kind = fields.u16();
    let epoch = fields.u32();
    let named = fields.take(16) == Some(name.id.as_bytes()) && fields.u32() == Some(name.sequence);
    if kind != Some(u16::from(name.kind as u8)) || !named || fields.u32() != Some(0) {
        return Err(Damaged("it is another object than its name says"));
    }
    epoch.ok_or(Damaged("it is shorter than a head"))
}

fn derive(epoch_key: &[u8; 32], vault: VaultId, name: &[u8]) -> (ObjectKey, [u8; 32]) {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(epoch_key).update(vault.0.as_bytes()).update(name);
    let mut derived = Zeroizing::new([0; 64]);
    hasher.finalize_xof().fill(&mut *derived);
    let unbound = UnboundKey::new(&AES_256_GCM, &derived[..32]).expect("32 bytes are an AES-256 key");
    let commitment = derived[32..].try_into().expect("the other 32 bytes");
    (ObjectKey { key: LessSafeKey::new(unbound) }, commitment)
}

fn nonce(offset: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
