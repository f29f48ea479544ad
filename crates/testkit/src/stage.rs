//! Folders that are made once and kept: each carries a stamp naming what it was made from.

use crate::Progress;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

const STAMP: &str = ".stamp";

/// A fingerprint of everything a stage is made from. A new compiler may change it: one rebuild.
pub(crate) fn key(inputs: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The cache folder, held by one process at a time while it builds.
pub(crate) struct Cache {
    folder: PathBuf,
    _lock: File,
}

impl Cache {
    /// Waits for another process that is building.
    pub(crate) fn open(folder: &Path, progress: Progress<'_>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let folder = fs::canonicalize(folder).with_context(|| format!("cannot find {}", folder.display()))?;
        let path = folder.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if lock.try_lock().is_err() {
            progress("waiting for another process that is building the guest");
            lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    /// The folder of all stages.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder `name`, made by `make` unless it is there with this `key`.
    ///
    /// CRASH: `make` fills a folder of another name; the stamp is written last and the folder renamed
    /// after that, so a folder of the right name and stamp is whole.
    pub(crate) fn stage(
        &self,
        name: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let ready = self.folder.join(name);
        if fs::read_to_string(ready.join(STAMP)).is_ok_and(|stamp| stamp == key) {
            return Ok(ready);
        }
        let new = self.folder.join(format!("{name}.new"));
        remove_tree(&new)?;
        fs::create_dir(&new).with_context(|| format!("cannot create {}", new.display()))?;
        make(&new)?;
        let stamp = new.join(STAMP);
        fs::write(&stamp, key).with_context(|| format!("cannot write {}", stamp.display()))?;
        remove_tree(&ready)?;
        fs::rename(&new, &ready).with_context(|| format!("cannot put {} in place", ready.display()))?;
        Ok(ready)
    }
}

fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
