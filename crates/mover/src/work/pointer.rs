//! Where a replacement is written down, for every attempt that comes after; and that one works on it at a time.

use super::failure::{Failed, Result};
use super::settings::Settings;
use hypervisor::Hold;
use model::job::Failure;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A path has fewer bytes.
const BYTES_MAX: u64 = 64 << 10;

/// The file that names a replacement's journal, locked until this is dropped.
///
/// CRASH: it names a journal that is not there, or nothing: then nothing was begun.
pub(super) struct Pointer {
    file: Hold,
    path: PathBuf,
}

impl Pointer {
    /// Locks it; made if it is not there.
    pub(super) fn lock(settings: &Settings, replacement: Uuid) -> Result<Self> {
        let folder = settings.replacements();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| io("make", &folder, e))?;
        let path = folder.join(replacement.to_string());
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|e| io("open", &path, e))?;
        match Hold::of(file) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let text = "an earlier attempt is still at it";
                Err(Failed::new(Failure::Busy, text, "wait until it has ended"))
            }
            Err(error) => Err(io("lock", &path, error).into()),
        }
    }

    /// The journal it names.
    pub(super) fn journal(&self) -> Option<PathBuf> {
        let mut text = Vec::new();
        let mut file: &File = &self.file;
        file.rewind().ok()?;
        file.take(BYTES_MAX).read_to_end(&mut text).ok()?;
        (!text.is_empty()).then(|| PathBuf::from(OsString::from_vec(text)))
    }

    /// Has it name a journal that is going to be, durably.
    pub(super) fn point_to(&self, journal: &Path) -> Result<()> {
        let mut file: &File = &self.file;
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(journal.as_os_str().as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| crate::restore_into::sync_folder(&self.path));
        Ok(written.map_err(|e| io("write", &self.path, e))?)
    }

    /// Removes it: nothing is left of the replacement.
    pub(super) fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", &self.path, error).into()),
            _ => Ok(()),
        }
    }
}

fn io(verb: &str, path: &Path, error: std::io::Error) -> block::Error {
    block::Error::io(format!("{verb} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_holds_it_and_the_next_finds_what_it_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings::below(folder.path().into(), || jiff::Timestamp::UNIX_EPOCH, Uuid::nil);
        let lock = || Pointer::lock(&settings, Uuid::from_u128(7));
        let first = lock().expect("nobody has it");
        assert_eq!(first.journal(), None);
        first.point_to(Path::new("/a/longer/name.json")).expect("it is written");
        first.point_to(Path::new("/b.json")).expect("it is written");
        let busy = lock().err().expect("it is held");
        assert_eq!(busy.0.failure, Failure::Busy);
        drop(first);
        let second = lock().expect("it is free");
        assert_eq!(second.journal(), Some("/b.json".into()));
        second.remove().expect("it goes");
        assert_eq!(lock().expect("it is made again").journal(), None);
    }
}
