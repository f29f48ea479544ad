//! Keys: the keyring in the vault, and the key file outside it that opens it.
//!
//! A vault's data keys are random and lie in the vault, wrapped by a key that does not. The keyring is
//! an object `keys/<n>`, put create-only; the one with the highest number counts.
//!
//! Plaintext of a wrap:
//!
//! | bytes | field |
//! |---|---|
//! | 0..32 | id key: chunk and node ids are keyed with keys derived from it |
//! | 32..36 | number of epochs, 1 to 1024 |
//! | then, each 36 | epoch number; its key |

use crate::bytes_io::Fields;
use crate::{Error, ErrorKind, Result, VaultId};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const CHUNK_CONTEXT: &str = "strongroom vault v1 chunk id key";
const NODE_CONTEXT: &str = "strongroom vault v1 map node id key";
const KEY_ID_CONTEXT: &str = "strongroom key file v1 key id";
const WRAP_LABEL: &[u8] = b"strongroom keyring 1 ";
const KEY_FILE_HEAD: &str = "strongroom-key 1";
const NONCE_BYTES: usize = 12;
const EPOCHS_MAX: u32 = 1024;

/// The key outside the vault: 32 random bytes in a file that only its owner reads.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyFile {
    key: [u8; 32],
}

impl KeyFile {
    /// A new random key.
    pub fn generate() -> Self {
        let mut key = [0; 32];
        random(&mut key);
        Self { key }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `Key` if it is missing or is no key file.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|e| Error::caused(ErrorKind::Key, format!("read the key file {shown}"), e))?;
        let mut lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let key = (lines.next() == Some(KEY_FILE_HEAD)).then(|| lines.next()?.strip_prefix("key ")).flatten();
        let key = key.and_then(|hex| from_hex(hex.trim())).map(Zeroizing::new);
        match key.as_deref().map(|key| <[u8; 32]>::try_from(key.as_slice())) {
            Some(Ok(key)) => Ok(Self { key }),
            _ => Err(Error::new(ErrorKind::Key, format!("{shown} is not a key file of a vault"))),
        }
    }

    /// Writes it to a new file, mode 0600, and makes it durable. An existing file is never replaced.
    ///
    /// CRASH: leaves a short file that is no key file; the vault has not been created yet then.
    pub fn write(&self, path: &Path, vault: VaultId) -> Result<()> {
        let context = |e: std::io::Error| {
            let kind = match e.kind() {
                std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
                std::io::ErrorKind::StorageFull => ErrorKind::NoSpace,
                _ => ErrorKind::Key,
            };
            Error::caused(kind, format!("write the key file {}", path.display()), e)
        };
        let text = Zeroizing::new(format!(
            "{KEY_FILE_HEAD}\nkey {}\n# Opens the vault {vault}. Without this file nothing in it can be read.\n",
            *Zeroizing::new(to_hex(&self.key))
        ));
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).map_err(context)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(context)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(context)
    }

    /// Names the key without telling it.
    fn key_id(&self) -> String {
        to_hex(&blake3::derive_key(KEY_ID_CONTEXT, &self.key)[..8])
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.key).expect("32 bytes are an AES-256 key"))
    }
}

/// The vault's data keys.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Keyring {
    id_key: [u8; 32],
    chunk_id_key: [u8; 32],
    node_id_key: [u8; 32],
    /// Ascending; the last one seals.
    epochs: Vec<(u32, [u8; 32])>,
}

impl Keyring {
    /// Fresh random keys, first epoch.
    pub(crate) fn generate() -> Self {
        let (mut id_key, mut epoch) = ([0; 32], [0; 32]);
        random(&mut id_key);
        random(&mut epoch);
        Self::from_parts(id_key, vec![(1, epoch)])
    }

    fn from_parts(id_key: [u8; 32], epochs: Vec<(u32, [u8; 32])>) -> Self {
        Self {
            chunk_id_key: blake3::derive_key(CHUNK_CONTEXT, &id_key),
            node_id_key: blake3::derive_key(NODE_CONTEXT, &id_key),
            id_key,
            epochs,
        }
    }

    pub(crate) fn chunk_id_key(&self) -> &[u8; 32] {
        &self.chunk_id_key
    }

    pub(crate) fn node_id_key(&self) -> &[u8; 32] {
        &self.node_id_key
    }

    /// The epoch that new objects are sealed under.
    pub(crate) fn current_epoch(&self) -> (u32, &[u8; 32]) {
        let (number, key) = self.epochs.last().expect("a keyring has an epoch");
        (*number, key)
    }

    pub(crate) fn epoch(&self, wanted: u32) -> Option<&[u8; 32]> {
        self.epochs.iter().find(|(number, _)| *number == wanted).map(|(_, key)| key)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(self.id_key.to_vec());
        let count = u32::try_from(self.epochs.len()).expect("at most 1024 epochs");
        bytes.extend_from_slice(&count.to_le_bytes());
        for (number, key) in &self.epochs {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(key);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let id_key = fields.array()?;
        let count = fields.u32().filter(|count| (1..=EPOCHS_MAX).contains(count))?;
        let epochs =
            (0..count).map(|_| Some((fields.u32()?, fields.array()?))).collect::<Option<Vec<_>>>()?;
        fields.0.is_empty().then(|| Self::from_parts(id_key, epochs))
    }
}

/// The object `keys/<n>`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyringObject {
    format: u16,
    vault: VaultId,
    wraps: Vec<Wrap>,
}

/// The keyring, sealed for one holder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrap {
    /// Who can unwrap it; `key-file` is the only kind so far.
    provider: String,
    /// Which key of that provider.
    key_id: String,
    /// Hex of nonce, ciphertext, tag.
    sealed: String,
}

impl KeyringObject {
    /// Wraps a keyring for a key file.
    pub(crate) fn wrap(keyring: &Keyring, vault: VaultId, holder: &KeyFile) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce); // far fewer than 2^32 wraps are ever made with one key
        let mut sealed = keyring.to_bytes();
        let tag = holder
            .cipher()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), wrap_label(vault), &mut sealed)
            .expect("far below the length limit of AES-GCM");
        let sealed = to_hex(&[&nonce[..], &sealed, tag.as_ref()].concat());
        let wrap = Wrap { provider: "key-file".into(), key_id: holder.key_id(), sealed };
        Self { format: 1, vault, wraps: vec![wrap] }
    }

    /// Opens it with a key file.
    ///
    /// # Errors
    /// `Key` if this key opens none of its wraps, `Corrupt` if the wrap for this key does not open.
    pub(crate) fn unwrap(&self, vault: VaultId, holder: &KeyFile) -> Result<Keyring> {
        let key_id = holder.key_id();
        let Some(wrap) = self.wraps.iter().find(|w| w.provider == "key-file" && w.key_id == key_id) else {
            let wanted: Vec<_> = self.wraps.iter().map(|w| w.key_id.as_str()).collect();
            let context =
                format!("key {key_id} does not open this vault, which wants key {}", wanted.join(" or "));
            return Err(Error::new(ErrorKind::Key, context));
        };
        self.open_wrap(vault, wrap, holder)
            .ok_or_else(|| Error::corrupt("keys", 0, format!("the wrap for key {key_id} does not open")))
    }

    fn open_wrap(&self, vault: VaultId, wrap: &Wrap, holder: &KeyFile) -> Option<Keyring> {
        let mut sealed = Zeroizing::new(from_hex(&wrap.sealed)?);
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = holder.cipher().open_in_place(nonce, wrap_label(vault), sealed).ok()?;
        (self.format == 1 && self.vault == vault).then(|| Keyring::from_bytes(plain)).flatten()
    }
}

fn wrap_label(vault: VaultId) -> Aad<Vec<u8>> {
    Aad::from([WRAP_LABEL, vault.0.as_bytes()].concat())
}

/// Keys come from the operating system, never from a seed that is passed in.
fn random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> VaultId {
        VaultId(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn the_right_key_opens_and_others_do_not() {
        let (keyring, holder) = (Keyring::generate(), KeyFile::generate());
        let object = KeyringObject::wrap(&keyring, vault(), &holder);
        let opened = object.unwrap(vault(), &holder).expect("opens");
        assert_eq!(opened.epochs, keyring.epochs);
        assert_eq!(opened.chunk_id_key, keyring.chunk_id_key);
        let error = object.unwrap(vault(), &KeyFile::generate()).err().expect("another key");
        assert_eq!(error.kind(), ErrorKind::Key);
        let other = VaultId(uuid::Uuid::from_u128(8));
        assert_eq!(object.unwrap(other, &holder).err().expect("another vault").kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_key_file_round_trips_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("a.key");
        let key = KeyFile::generate();
        key.write(&path, vault()).expect("write");
        assert_eq!(KeyFile::read(&path).expect("read").key, key.key);
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
        assert_eq!(key.write(&path, vault()).expect_err("exists").kind(), ErrorKind::AlreadyExists);
        std::fs::write(&path, "strongroom-key 1\nkey zz\n").expect("write");
        assert_eq!(KeyFile::read(&path).err().expect("bad").kind(), ErrorKind::Key);
    }
}
