//! Records: objects that hold one sealed body (index runs, points).
//!
//! | bytes | field |
//! |---|---|
//! | 0..72 | head (`seal.rs`) |
//! | 72..n-32 | sealed codec and body, nonce 72, no associated data |
//! | n-32..n | BLAKE3 of all bytes before: lets a scrub without keys find rot |

use crate::keys::Keyring;
use crate::seal::{HEAD_BYTES, ObjectKey, ObjectName, TAG_BYTES};
use crate::{Error, Result, VaultId, chunk};

const HASH_BYTES: usize = 32;

/// The whole object for `body`.
pub(crate) fn seal_record(keys: &Keyring, vault: VaultId, name: ObjectName, body: &[u8]) -> Vec<u8> {
    let (key, head) = ObjectKey::create(keys, vault, name);
    let mut object = head.to_vec();
    chunk::encode(body, &mut object);
    let tag = key.seal(HEAD_BYTES as u64, &[], &mut object[HEAD_BYTES..]);
    object.extend_from_slice(&tag);
    let hash = blake3::hash(&object);
    object.extend_from_slice(hash.as_bytes());
    object
}

/// The body of the object that was read under `name`; refused beyond `limit` bytes.
pub(crate) fn open_record(
    keys: &Keyring,
    vault: VaultId,
    name: ObjectName,
    object: &[u8],
    limit: usize,
) -> Result<Vec<u8>> {
    let shown = || format!("{:?} {}/{:08x}", name.kind, name.id, name.sequence);
    if object.len() < HEAD_BYTES + TAG_BYTES + 1 + HASH_BYTES {
        return Err(Error::corrupt(shown(), object.len() as u64, "it ends early"));
    }
    // First: a head that rotted may say that it is of another key, or of a newer format.
    if blake3::hash(&object[..object.len() - HASH_BYTES]) != object[object.len() - HASH_BYTES..] {
        return Err(Error::corrupt(shown(), (object.len() - HASH_BYTES) as u64, "its hash does not match"));
    }
    let key = ObjectKey::open(keys, vault, name, &object[..HEAD_BYTES])?;
    let mut sealed = object[HEAD_BYTES..object.len() - HASH_BYTES].to_vec();
    let encoded = key
        .open_at(HEAD_BYTES as u64, &[], &mut sealed)
        .ok_or_else(|| Error::corrupt(shown(), HEAD_BYTES as u64, "its seal is broken"))?;
    chunk::decode(encoded, limit).map_err(|found| Error::corrupt(shown(), HEAD_BYTES as u64, found))
}
