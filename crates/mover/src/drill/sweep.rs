//! What killed drills have left: planned, checked, deleted.
//!
//! Only folders with our mark in them are looked at, which name themselves in it, belong to us, and whose lock is
//! free. Only what lies in the folder and in its one folder below is deleted, file by file: a folder that holds
//! anything else is left as it is. No link is followed.

use super::folder::{LOCK, MARK, Mark, PREFIX, RUN, VERSION};
use crate::error::{Doing, Error, Result};
use hypervisor::Hold;
use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A mark is a line.
const MARK_BYTES_MAX: u64 = 4096;

/// The folder of a drill that is no more, and what is to be deleted with it. Nobody else works on it while this is
/// held.
#[derive(Debug)]
pub struct Leftover {
    folder: PathBuf,
    /// What lies in it, but for its mark and its lock.
    files: Vec<PathBuf>,
    _lock: Hold,
}

/// Deletes what killed drills left in a scratch folder; gives the folders. What cannot be deleted stays, and is told
/// in the log: it is no reason not to drill.
pub async fn sweep(scratch: &Path) -> Vec<PathBuf> {
    let mut gone = Vec::new();
    for leftover in plan_sweep(scratch) {
        let folder = leftover.folder.clone();
        match leftover.apply().await {
            Ok(()) => gone.push(folder),
            Err(error) => tracing::warn!("what a killed drill left stays: {error}"),
        }
    }
    gone
}

/// What there is to delete. Nothing is deleted yet.
pub fn plan_sweep(scratch: &Path) -> Vec<Leftover> {
    let entries = std::fs::read_dir(scratch).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    named.filter_map(|entry| abandoned(&entry.path())).collect()
}

/// The folder, if it is one that a drill of ours has left.
fn abandoned(folder: &Path) -> Option<Leftover> {
    let about = folder.symlink_metadata().ok().filter(Metadata::is_dir)?;
    if about.uid() != rustix::process::geteuid().as_raw() || !is_marked(folder) {
        return None;
    }
    // Without following a link: it must be a file of this folder.
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
    let lock = File::options()
        .create(true)
        .append(true)
        .custom_flags(nofollow as i32)
        .open(folder.join(LOCK))
        .ok()?;
    let lock = Hold::of(lock).ok()?;
    match Leftover::of(folder, lock) {
        Ok(leftover) => Some(leftover),
        Err(error) => {
            tracing::warn!("what a killed drill left stays: {error}");
            None
        }
    }
}

fn is_marked(folder: &Path) -> bool {
    let path = folder.join(MARK);
    let is_small = |about: &Metadata| about.is_file() && about.len() <= MARK_BYTES_MAX;
    if !path.symlink_metadata().is_ok_and(|about| is_small(&about)) {
        return false;
    }
    let mark: Option<Mark> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let name = folder.file_name().and_then(|name| name.to_str());
    mark.is_some_and(|mark| mark.version == VERSION && Some(mark.folder.as_str()) == name)
}

impl Leftover {
    /// What is to be deleted with a folder whose lock is ours.
    pub(super) fn of(folder: &Path, lock: Hold) -> Result<Self> {
        let mut files = Vec::new();
        for path in entries(folder)? {
            let name = path.file_name().expect("an entry has a name");
            match path.symlink_metadata() {
                _ if name == MARK || name == LOCK => {}
                Ok(about) if about.is_dir() && name == RUN => files.extend(flat(&path)?),
                Ok(about) if about.is_dir() => return Err(strange(&path)),
                _ => files.push(path),
            }
        }
        Ok(Self { folder: folder.to_owned(), files, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is deleted with it.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Ends what still runs in the folder, and deletes it.
    pub async fn apply(self) -> Result<()> {
        let run = self.folder.join(RUN);
        let ended = hypervisor::recreate::end_stray(&run).await;
        ended.doing(|| format!("end what a drill left in {}", run.display()))?;
        // What ran may have written, or tidied up after itself.
        let Self { folder, _lock: lock, .. } = self;
        Self::of(&folder, lock)?.remove()
    }

    /// Deletes the folder. Nothing runs in it any more.
    ///
    /// CRASH: the mark goes last but for the folder, so that it can be done again.
    pub(super) fn remove(self) -> Result<()> {
        let run = self.folder.join(RUN);
        self.files.iter().try_for_each(|file| gone(file, std::fs::remove_file(file)))?;
        gone(&run, std::fs::remove_dir(&run))?;
        for path in entries(&self.folder)? {
            if ![MARK, LOCK].iter().any(|ours| path.ends_with(ours)) {
                return Err(strange(&path));
            }
        }
        for path in [self.folder.join(LOCK), self.folder.join(MARK)] {
            gone(&path, std::fs::remove_file(&path))?;
        }
        gone(&self.folder, std::fs::remove_dir(&self.folder))
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|e| block::Error::io("list it", e)).doing(|| format!("look into {}", folder.display()))
}

/// The entries of a folder that has no folders.
fn flat(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = entries(folder)?;
    match paths.iter().find(|path| path.symlink_metadata().is_ok_and(|about| about.is_dir())) {
        Some(path) => Err(strange(path)),
        None => Ok(paths),
    }
}

/// Something that no drill makes.
fn strange(path: &Path) -> Error {
    let why = "it is none of the drill's, so it stays, and the drill's folder with it";
    Error::Disk(format!("look at {}", path.display()), block::Error::new(block::ErrorKind::Invalid, why))
}

/// What is gone already is gone.
fn gone(path: &Path, removed: std::io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(block::Error::io("remove it", error)).doing(|| format!("delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::DrillFolder;
    use super::*;
    use uuid::Uuid;

    /// A drill's folder as a killed drill leaves it.
    fn killed(scratch: &Path) -> PathBuf {
        let folder = DrillFolder::create(scratch, Uuid::new_v4()).expect("a folder");
        let (path, run) = (folder.path().to_owned(), folder.run());
        std::fs::create_dir(&run).expect("made");
        std::fs::write(path.join("disk.qcow2"), "overlay").expect("written");
        std::fs::write(run.join("qemu.log"), "").expect("written");
        // Its process number may be somebody else's by now.
        std::fs::write(run.join("qemu.pid"), std::process::id().to_string()).expect("written");
        let twin = scratch.join("twin");
        std::fs::rename(&path, &twin).expect("put aside"); // so that it is not deleted
        drop(folder);
        std::fs::rename(&twin, &path).expect("put back");
        path
    }

    #[tokio::test]
    async fn what_a_killed_drill_left_goes_and_nothing_else() {
        let scratch = tempfile::tempdir().expect("tempdir");
        let left = killed(scratch.path());
        let living = DrillFolder::create(scratch.path(), Uuid::new_v4()).expect("a folder");
        // Folders that only look so: without a mark, with another's, a link to one, one with more in it.
        let plain = scratch.path().join("drill-plain");
        std::fs::create_dir(&plain).expect("made");
        std::fs::write(plain.join("precious"), "").expect("written");
        let copied = scratch.path().join("drill-copied");
        std::fs::create_dir(&copied).expect("made");
        std::fs::copy(left.join(MARK), copied.join(MARK)).expect("copied");
        let elsewhere = tempfile::tempdir().expect("tempdir");
        let far = killed(elsewhere.path());
        let link = scratch.path().join(far.file_name().expect("a name"));
        std::os::unix::fs::symlink(&far, &link).expect("linked");
        let fuller = killed(scratch.path());
        std::fs::create_dir(fuller.join("more")).expect("made");
        // A link in a drill's folder goes; what it points to stays.
        std::os::unix::fs::symlink(plain.join("precious"), left.join("pointer")).expect("linked");

        let planned: Vec<PathBuf> =
            plan_sweep(scratch.path()).iter().map(|one| one.folder().to_owned()).collect();
        assert_eq!(planned, std::slice::from_ref(&left));
        assert!(left.join("disk.qcow2").exists(), "a plan deletes nothing");
        assert_eq!(sweep(scratch.path()).await, std::slice::from_ref(&left));
        assert!(!left.exists() && living.path().exists());
        assert!(
            plain.join("precious").exists() && copied.join(MARK).exists() && far.join("disk.qcow2").exists()
        );
        assert!(fuller.join("disk.qcow2").exists() && fuller.join(MARK).exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists(), "a drill that ends takes its folder along");
    }
}
