//! What a cut-off write leaves in a local store.
//!
//! The library writes a file beside its place, `<name>#<n>`, and links it under its name when it is whole. A
//! process killed between leaves that file: it is no object, is never listed, and takes room.

use super::Store;
use crate::{Error, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use std::path::{Path, PathBuf};

/// A file staged longer ago belongs to nobody: a write has minutes.
const STAGED_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Where objects lie; anything else in the directory is not ours to touch.
const FOLDERS: [&str; 9] = ["keys", "packs", "maps", "index", "points", "log", "checkpoints", "gc", "probe"];

impl Store {
    /// Files that writes left which were cut off a day or more before the newest record of the log was written: by
    /// the file system's own clock, since nobody else's can be compared with it. None where the store is no
    /// directory.
    pub(crate) fn staged(&self) -> Result<Vec<PathBuf>> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        let Some(now) = directory.join("log").metadata().ok().as_ref().and_then(written) else {
            return Ok(Vec::new());
        };
        let mut staged = Vec::new();
        let mut waiting: Vec<PathBuf> = FOLDERS.iter().map(|folder| directory.join(folder)).collect();
        while let Some(folder) = waiting.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("list", &folder, error)),
            };
            for entry in entries {
                let path = entry.map_err(|error| failed("list", &folder, error))?.path();
                let Ok(metadata) = path.symlink_metadata() else { continue }; // gone since
                if metadata.is_dir() {
                    waiting.push(path);
                } else if is_staged(&path) && is_old(&metadata, now) {
                    staged.push(path);
                }
            }
        }
        staged.sort_unstable();
        Ok(staged)
    }

    /// Removes them; gives how many there were.
    pub(crate) fn remove_staged(&self) -> Result<usize> {
        let staged = self.staged()?;
        for path in &staged {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(staged.len())
    }
}

fn is_staged(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.rsplit_once('#').is_some_and(|(name, number)| {
        !name.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Not if its time cannot be told.
fn is_old(metadata: &std::fs::Metadata, now: Timestamp) -> bool {
    written(metadata).and_then(|at| at.checked_add(STAGED_AGE).ok()).is_some_and(|until| until <= now)
}

fn written(metadata: &std::fs::Metadata) -> Option<Timestamp> {
    metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok())
}

fn failed(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Store, format!("{verb} {}", path.display()), error)
}
