//! The folder of one freeze: scratch files, the NBD socket, and the lock that says its owner lives.
//!
//! `<scratch>/strongroom-<point>/` with mode 0700, made under a hidden name and renamed once it is locked: a
//! folder by the final name whose lock can be had is a dead process's, and [`sweep`] removes it.

use crate::qmp::Peer;
use crate::{Error, ErrorKind, Hold, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

const PREFIX: &str = "strongroom-";
const LOCK: &str = "lock";
const SOCKET: &str = "nbd.sock";
/// Where image files are handed to a QEMU that may open none itself.
const FILES_SOCKET: &str = "files.sock";
/// What the lock holds, so that it is known for ours.
const LOCK_TEXT: &[u8] = b"strongroom freeze\n";

/// `sockaddr_un` holds 108 bytes with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A locked folder. Dropped without [`remove`](Self::remove) it stays, unlocked, for the next sweep.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    peer: Peer,
    _lock: Hold,
}

impl RunFolder {
    /// Makes the folder for the QEMU at the other end.
    pub(crate) fn create(scratch: &Path, point: &str, peer: Peer) -> Result<Self> {
        let scratch = fs::canonicalize(scratch)
            .map_err(|e| Error::io(format!("find the scratch folder {}", scratch.display()), e))?;
        let path = scratch.join(format!("{PREFIX}{point}"));
        let context = || format!("make the folder {}", path.display());
        if path.join(FILES_SOCKET).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let text =
                format!("{}: too long a path for a socket; choose a shorter scratch folder", context());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let hidden = scratch.join(format!(".{PREFIX}{point}"));
        // CRASH: leaves an empty hidden folder, which only the same point's next attempt would meet.
        let _ = fs::remove_dir_all(&hidden);
        DirBuilder::new().mode(0o700).create(&hidden).map_err(|e| Error::io(context(), e))?;
        let mut lock = new_file(&hidden.join(LOCK)).map_err(|e| Error::io(context(), e))?;
        lock.write_all(LOCK_TEXT).map_err(|e| Error::io(context(), e))?;
        let lock = Hold::of(lock).map_err(|e| Error::io(context(), e))?;
        if let Err(error) = fs::rename(&hidden, &path) {
            let _ = fs::remove_dir_all(&hidden);
            return Err(Error::io(context(), error));
        }
        let folder = Self { path, peer, _lock: lock };
        folder.give_to_qemu(&folder.path)?;
        Ok(folder)
    }

    /// Makes the scratch file of a disk: no bytes yet, whatever its size.
    pub(crate) fn disk(&self, index: usize, size: u64) -> Result<PathBuf> {
        let path = self.disk_path(index);
        let made = new_file(&path).and_then(|file| file.set_len(size));
        made.map_err(|e| Error::io(format!("make the scratch file {}", path.display()), e))?;
        self.give_to_qemu(&path)?;
        Ok(path)
    }

    /// Where the scratch file of a disk is to be, when QEMU's manager makes it.
    pub(crate) fn disk_path(&self, index: usize) -> PathBuf {
        self.path.join(format!("disk-{index}.scratch"))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a small text for a program that wants to be given a file, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path.join(name);
        let written = fs::write(&path, text);
        written.map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        Ok(path.display().to_string())
    }

    /// Where QEMU is to listen.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    /// Where we are to listen for QEMU.
    pub(crate) fn files_socket(&self) -> PathBuf {
        self.path.join(FILES_SOCKET)
    }

    /// Removes it with all it holds.
    pub(crate) fn remove(self) -> Result<()> {
        let removed = fs::remove_dir_all(&self.path);
        removed.map_err(|e| Error::io(format!("remove the folder {}", self.path.display()), e))
    }

    /// A QEMU of another user must be able to use what lies in the folder.
    pub(crate) fn give_to_qemu(&self, path: &Path) -> Result<()> {
        let ours = fs::metadata(path)
            .is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == self.peer.uid);
        if ours {
            return Ok(());
        }
        let given = chown(path, Some(self.peer.uid), Some(self.peer.gid));
        given.map_err(|e| Error::io(format!("give {} to QEMU's user", path.display()), e))
    }
}

fn new_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Whether a folder of a freeze, ours by its name, holds this file.
pub(crate) fn is_in_ours(file: &Path) -> bool {
    let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.is_some_and(|name| name.starts_with(PREFIX))
}

/// Whether the folder that holds this scratch file belongs to a living process.
pub(crate) fn is_held(scratch_file: &Path) -> bool {
    let Some(folder) = scratch_file.parent() else { return false };
    match File::open(folder.join(LOCK)) {
        Ok(lock) => Hold::of(lock).is_err(),
        // Whose lock we may not even look at lives, for all that we know.
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Removes the folders of dead processes. Their files may still be open in a QEMU; that does it no harm, and
/// their snapshots are of no use without an owner.
pub(crate) fn sweep(scratch: &Path) {
    let folders = fs::read_dir(scratch).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    for folder in folders.filter(named).filter(|folder| holds_only_ours(folder)) {
        let Ok(lock) = File::open(folder.join(LOCK)) else { continue };
        if let Ok(_held) = Hold::of(lock) {
            let _ = fs::remove_dir_all(&folder); // the next sweep tries again
        }
    }
}

/// Somebody else's folder may be called like ours: only one that holds our mark, and nothing that we do not
/// make, is ours to remove.
fn holds_only_ours(folder: &Path) -> bool {
    let ours = |name: &str| {
        [LOCK, SOCKET, FILES_SOCKET].contains(&name)
            || name.ends_with(".xml")
            || (name.starts_with("disk-") && name.ends_with(".scratch"))
    };
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let only_ours = entries.flatten().all(|entry| entry.file_name().to_str().is_some_and(ours));
    only_ours && fs::read(folder.join(LOCK)).is_ok_and(|bytes| bytes == LOCK_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn me(folder: &Path) -> Peer {
        let mine = fs::metadata(folder).unwrap();
        Peer { pid: None, uid: mine.uid(), gid: mine.gid() }
    }

    #[test]
    fn the_living_keep_their_folders_and_the_dead_lose_them() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(scratch.path(), "p1", me(scratch.path())).unwrap();
        let file = folder.disk(0, 1 << 40).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 40);
        assert!(is_held(&file));
        sweep(scratch.path());
        assert!(file.exists());
        assert!(RunFolder::create(scratch.path(), "p1", me(scratch.path())).is_err());
        let foreign = scratch.path().join("strongroom-mydata");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();
        sweep(scratch.path());
        assert!(foreign.exists(), "a folder that is only called like ours stays");
        fs::remove_dir_all(&foreign).unwrap();
        drop(folder); // as a killed process would
        assert!(!is_held(&file));
        sweep(scratch.path());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_before_anything_is_made() {
        let scratch = tempfile::tempdir().unwrap();
        let error = RunFolder::create(scratch.path(), &"p".repeat(100), me(scratch.path())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
