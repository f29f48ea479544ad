//! The key file: 32 random bytes in a file that only its owner reads.

use super::provider::{unwrap_with, wrap_with};
use super::{HolderId, HolderSecret, KeyProvider, WrapContext, hex, lock};
use crate::{Error, ErrorKind, Result, VaultId};
use async_trait::async_trait;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const ID_CONTEXT: &str = "strongroom key file v1 key id";
const WRAP_CONTEXT: &str = "strongroom key file v1 wrap";
const HEAD: &str = "strongroom-key 1";
/// More than any file that holds a secret has; a mistaken path must not fill the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The key outside the vault: 32 random bytes in a file that only its owner reads.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyFile {
    key: [u8; 32],
}

impl KeyFile {
    /// A new random key.
    pub fn generate() -> Self {
        Self { key: lock::random() }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `Key` if it is missing or is no key file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse_as(&read_secret(path, "key file")?, &path.display().to_string())
    }

    /// Takes the text of a key file.
    ///
    /// # Errors
    /// `Key` if it is none.
    pub fn from_text(text: &str) -> Result<Self> {
        Self::parse_as(text, "the text that was given")
    }

    fn parse_as(text: &str, shown: &str) -> Result<Self> {
        Self::parse(text)
            .ok_or_else(|| Error::new(ErrorKind::Key, format!("{shown} is not a key file of a vault")))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let key = (lines.next() == Some(HEAD)).then(|| lines.next()?.strip_prefix("key ")).flatten()?;
        let key = Zeroizing::new(hex::decode(key.trim())?);
        Some(Self { key: key.as_slice().try_into().ok()? })
    }

    /// Writes it to a new file, mode 0600, and makes it durable. An existing file is never replaced.
    ///
    /// CRASH: leaves a short file that is no key file; it is written before the vault is told of the key.
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
            "{HEAD}\nkey {}\n# Opens the vault {vault}. Without this file nothing in it can be read,\n\
             # unless it has another holder: `strongroom rescue key list` tells.\n",
            *Zeroizing::new(hex::encode(&self.key))
        ));
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).map_err(context)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(context)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(context)
    }

    /// Names the key without telling it.
    fn key_id(&self) -> HolderId {
        HolderId::of_key(ID_CONTEXT, &self.key)
    }
}

#[async_trait]
impl KeyProvider for KeyFile {
    fn provider(&self) -> &'static str {
        "key-file"
    }

    fn id(&self) -> Option<HolderId> {
        Some(self.key_id())
    }

    async fn wrap(&self, context: WrapContext, secret: &HolderSecret) -> Result<Vec<u8>> {
        Ok(wrap_with(&self.key, WRAP_CONTEXT, context, secret))
    }

    async fn unwrap(&self, context: WrapContext, wrap: &[u8]) -> Result<Option<HolderSecret>> {
        unwrap_with(&self.key, WRAP_CONTEXT, context, wrap)
    }
}

/// The text of a file that holds a secret; `what` is how messages call it.
pub(super) fn read_secret(path: &Path, what: &str) -> Result<Zeroizing<String>> {
    let failed =
        |e: std::io::Error| Error::caused(ErrorKind::Key, format!("read the {what} {}", path.display()), e);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::new(ErrorKind::Key, format!("{} is too long for a {what}", path.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_round_trips_and_is_private() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("a.key");
        let key = KeyFile::generate();
        let vault = VaultId(uuid::Uuid::from_u128(7));
        key.write(&path, vault).expect("write");
        assert_eq!(KeyFile::read(&path).expect("read").key, key.key);
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
        assert_eq!(key.write(&path, vault).expect_err("exists").kind(), ErrorKind::AlreadyExists);
        for bad in ["strongroom-key 1\nkey zz\n", "", "a letter", "strongroom-key 1\nkey +1\n"] {
            std::fs::write(&path, bad).expect("write");
            assert_eq!(KeyFile::read(&path).err().expect("bad").kind(), ErrorKind::Key);
        }
    }

    /// Written by the first release; must be read for ever.
    #[test]
    fn an_old_file_is_read() {
        let digits = "00".repeat(31) + "ff";
        let key =
            KeyFile::parse(&format!("# a note\nstrongroom-key 1\n# more\nkey {digits} \n")).expect("reads");
        assert_eq!((key.key[0], key.key[31]), (0, 255));
    }
}
