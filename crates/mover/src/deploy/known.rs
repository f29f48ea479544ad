//! Which shared copies there are on this host: a folder of small files, each with the path of one. So that whoever wants
//! to delete an image is told who needs it.
//!
//! It knows nothing of other hosts, and a copy that was deleted is passed over.

use super::copy::CopyJournal;
use crate::error::{Doing, Result};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use vault::PointId;

/// Copies of one image's version on a host that are looked for.
const COPIES_MAX: u32 = 10_000;

/// A shared copy of an image's version.
#[derive(Clone, Debug)]
pub struct KnownCopy {
    /// Its folder.
    pub folder: PathBuf,
    /// What is known of it.
    pub journal: CopyJournal,
}

/// Writes down that there is going to be a copy of a point in a folder. Once for each.
///
/// CRASH: leaves nothing, or a note of a copy that is not there.
pub fn note_copy(registry: &Path, point: PointId, folder: &Path) -> Result<()> {
    let doing = || format!("note the copy {} in {}", folder.display(), registry.display());
    let noted = || -> std::io::Result<()> {
        let folder = std::path::absolute(folder)?;
        fs::create_dir_all(registry)?;
        for number in 0..COPIES_MAX {
            let path = registry.join(format!("{point}.{number}"));
            match File::create_new(&path) {
                Ok(mut file) => {
                    file.write_all(folder.as_os_str().as_bytes())?;
                    return file.sync_all();
                }
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if fs::read(&path)? == folder.as_os_str().as_bytes() => return Ok(()),
                Err(_) => {}
            }
        }
        Err(std::io::Error::other("there are too many already"))
    };
    noted().map_err(|e| block::Error::io("write it", e)).doing(doing)
}

/// The copies of a point that are there.
pub fn known_copies(registry: &Path, point: PointId) -> Vec<KnownCopy> {
    let notes = (0..COPIES_MAX).map_while(|number| fs::read(registry.join(format!("{point}.{number}"))).ok());
    let folders = notes.map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes)));
    let known = folders.filter_map(|folder| {
        let journal = CopyJournal::read(&folder).ok().filter(|journal| journal.point == point)?;
        Some(KnownCopy { folder, journal })
    });
    known.collect()
}

/// Those of them whose machines would miss what was not fetched yet, were the point taken away.
pub fn copies_in_use(registry: &Path, point: PointId) -> Vec<KnownCopy> {
    let is_needed = |known: &KnownCopy| !known.journal.whole && known.journal.dependents().next().is_some();
    known_copies(registry, point).into_iter().filter(is_needed).collect()
}
