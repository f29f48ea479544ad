//! Guests that may be frozen, written down before each is frozen: `<folder>/<point>.json`.
//!
//! | field | is |
//! | --- | --- |
//! | `version` | 1 |
//! | `address` | the words that name the machine on Strongroom's command line |
//!
//! Whoever freezes holds the file's lock, so a record whose lock can be had is a dead process's. CRASH: made
//! under a hidden name, synced, locked, then renamed, so that a record by its final name is whole.

use crate::{Error, Hold, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// What is read of a record; an honest one has a few hundred bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    address: Vec<String>,
}

/// A record, locked. Dropped it stays, for whoever looks next; [`settle`](Self::settle) ends it.
#[derive(Debug)]
pub struct Outstanding {
    path: PathBuf,
    address: Vec<String>,
    _lock: Hold,
}

impl Outstanding {
    /// Writes down that the machine at this address is about to be frozen for this point.
    pub(super) fn create(folder: &Path, point: &str, address: &[String]) -> Result<Self> {
        let path = folder.join(format!("{point}.json"));
        let create = || {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let hidden = folder.join(format!(".{point}"));
            let _ = fs::remove_file(&hidden); // of an attempt that died here
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
            let written = Written { version: VERSION, address: address.to_vec() };
            file.write_all(serde_json::to_string(&written)?.as_bytes())?;
            let file = Hold::of(file)?;
            file.sync_all()?;
            fs::rename(&hidden, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        let lock = create().map_err(|e: std::io::Error| {
            Error::io(format!("write down in {} that a guest is about to be frozen", folder.display()), e)
        })?;
        Ok(Self { path, address: address.to_vec(), _lock: lock })
    }

    /// Takes over the record of a dead process; `None` if it is settled, or a living one's.
    pub(super) fn take(path: &Path) -> Option<Self> {
        let file = Hold::of(File::open(path).ok()?).ok()?;
        // Settled by somebody between opening and locking.
        if !path.exists() {
            return None;
        }
        let mut text = String::new();
        (&*file).take(RECORD_BYTES_MAX).read_to_string(&mut text).ok()?;
        let written: Written = serde_json::from_str(&text).ok()?;
        (written.version == VERSION).then_some(Self {
            path: path.to_owned(),
            address: written.address,
            _lock: file,
        })
    }

    /// All records of dead processes in a folder, which need not be there.
    pub fn list(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut records: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
        records.sort();
        records.iter().filter_map(|path| Self::take(path)).collect()
    }

    /// The words that name its machine on Strongroom's command line.
    pub fn address(&self) -> &[String] {
        &self.address
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends it: its guest is known to be thawed, or gone.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn settle(self) -> Result<()> {
        let removed = fs::remove_file(&self.path);
        removed.map_err(|e| Error::io(format!("remove the record {}", self.path.display()), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_owners_until_that_dies() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("state/frozen");
        assert!(Outstanding::list(&records).is_empty(), "no folder, no record");
        let address = vec!["--qmp".to_owned(), "/run/a.sock".to_owned()];
        let held = Outstanding::create(&records, "p1", &address).unwrap();
        assert!(Outstanding::list(&records).is_empty(), "its owner lives");
        drop(held);
        fs::write(records.join("p2.json"), "{}").unwrap();
        let mut left = Outstanding::list(&records);
        assert_eq!(left.len(), 1);
        let taken = left.remove(0);
        assert_eq!(taken.address(), address);
        assert!(Outstanding::take(taken.path()).is_none(), "one at a time");
        taken.settle().unwrap();
        assert!(Outstanding::list(&records).is_empty());
        // Of a process that died while it wrote: the same point can be tried again.
        fs::write(records.join(".p1"), "{").unwrap();
        Outstanding::create(&records, "p1", &address).unwrap();
    }
}
