//! The keys of vaults that this server opens: `DATA/keys/ID.key`, for its user alone.
//!
//! CRASH: a key is written before the vault is told of it, so a crash leaves a file that opens nothing, never a vault
//! without its key.

use crate::{Control, Error, Result};
use api::Code;
use model::VaultId;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vault::KeyFile;

/// A key file is some hundred bytes.
const KEY_BYTES_MAX: usize = 4096;

/// A key whose file is not yet a vault's: it goes away with this, unless it is kept.
pub(crate) struct NewKey {
    pub(crate) key: KeyFile,
    path: PathBuf,
    keys: PathBuf,
    kept: bool,
}

impl Control {
    /// Makes a key for a vault that is to be made.
    pub(crate) fn new_key(&self, vault: VaultId) -> Result<NewKey> {
        let (keys, key) = (self.keys(), KeyFile::generate());
        make_folder(&keys)?;
        let path = key_path(&keys, vault);
        key.write(&path, vault::VaultId(vault.0)).map_err(|error| failed("write a key", &path, &error))?;
        Ok(NewKey { key, path, keys, kept: false })
    }

    /// Takes in the text of a key file; whether it opens anything is to be seen.
    pub(crate) fn told_key(&self, text: &str) -> Result<NewKey> {
        if text.len() > KEY_BYTES_MAX {
            return Err(Error::invalid("/key", "must be the text of a key file; it is too long for one"));
        }
        let keys = self.keys();
        make_folder(&keys)?;
        let path = keys.join(format!("{}.told", self.draw()));
        let written = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let written = written.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        let read = written.map_err(|error| failed("write a key", &path, &error)).and_then(|()| {
            KeyFile::read(&path).map_err(|_| Error::invalid("/key", "must be the text of a key file"))
        });
        match read {
            Ok(key) => Ok(NewKey { key, path, keys, kept: false }),
            Err(error) => {
                let _ = fs::remove_file(&path); // it is of no use
                Err(error)
            }
        }
    }

    /// The text of the key file that opens a vault: a mover's order carries it. One that another server has made is
    /// taken over.
    pub(crate) async fn vault_key(&self, vault: VaultId) -> Result<String> {
        if let Some(text) = self.filed_key(vault)? {
            return Ok(text);
        }
        if let Some(text) = self.shared_key(vault).await? {
            self.file_key(vault, &text)?;
            return Ok(text.to_string());
        }
        let detail = format!(
            "{} is missing: the server cannot open that vault",
            key_path(&self.keys(), vault).display()
        );
        let hint =
            "put it back, or take the vault in again with a key file that opens it: `strongroom vault adopt`";
        Err(Error::new(Code::Unavailable, detail).hint(hint))
    }

    /// What this server's own file says.
    pub(crate) fn filed_key(&self, vault: VaultId) -> Result<Option<String>> {
        let path = key_path(&self.keys(), vault);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read a key", &path, &error)),
        }
    }

    /// Files a key that was shared, in place of what this server had.
    pub(crate) fn file_key(&self, vault: VaultId, text: &str) -> Result<()> {
        self.told_key(text)?.keep(vault)
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.settings.data.join("keys")
    }
}

impl NewKey {
    /// Its text, to be kept elsewhere too.
    pub(crate) fn text(&self) -> Result<String> {
        fs::read_to_string(&self.path).map_err(|error| failed("read a key", &self.path, &error))
    }

    /// Keeps it as this vault's.
    pub(crate) fn keep(mut self, vault: VaultId) -> Result<()> {
        let path = key_path(&self.keys, vault);
        let kept = fs::rename(&self.path, &path).and_then(|()| File::open(&self.keys)?.sync_all());
        kept.map_err(|error| failed("keep the key", &path, &error))?;
        self.kept = true;
        Ok(())
    }

    /// Leaves the file as it is: it may be a vault's by now.
    pub(crate) fn leave(mut self) {
        self.kept = true;
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path); // it opens nothing here
        }
    }
}

fn key_path(keys: &Path, vault: VaultId) -> PathBuf {
    keys.join(format!("{vault}.key"))
}

pub(crate) fn make_folder(keys: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(keys);
    made.map_err(|error| failed("make the folder of keys", keys, &error))
}

fn failed(doing: &str, path: &Path, error: &dyn std::error::Error) -> Error {
    Error::new(Code::Internal, format!("{doing} {}: {error}", path.display()))
}
