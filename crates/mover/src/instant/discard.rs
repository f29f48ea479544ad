//! Giving an instant restore up: what would be deleted, and deleting it.

use super::folder::Folder;
use super::journal::{Journal, NAME};
use super::restore::files_of;
use crate::error::{Doing, Result};
use crate::image::check_run;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// What giving a restore up deletes: what its journal says it made, and nothing else.
#[derive(Debug)]
pub struct Discard {
    folder: Folder,
    journal: Journal,
    /// The files that are there.
    pub files: Vec<PathBuf>,
}

/// Says what giving up the restore in a folder would delete.
///
/// # Errors
/// `NotFound` if the folder holds none; `Unreachable` while it is served, or a machine runs on it.
pub async fn plan_discard(folder: &Path) -> Result<Discard> {
    let folder = Folder::open(folder)?;
    let journal = Journal::read(folder.path())?;
    check_unused(&journal).await?;
    let mut files = files_of(folder.path(), &journal);
    files.push(folder.path().join(NAME));
    files.retain(|file| file.symlink_metadata().is_ok());
    Ok(Discard { folder, journal, files })
}

impl Discard {
    /// What is known of the restore.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Deletes what was planned, and the folder if nothing else is in it.
    ///
    /// CRASH: the journal goes last but for the folder, so that it can be done again.
    pub async fn apply(self) -> Result<()> {
        check_unused(&self.journal).await?;
        for file in &self.files {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let doing = || format!("delete {}", file.display());
                    return Err(block::Error::io("remove it", error)).doing(doing);
                }
                _ => {}
            }
        }
        let folders = self.journal.run_folder.iter().map(PathBuf::as_path).chain([self.folder.path()]);
        folders.for_each(|folder| drop(std::fs::remove_dir(folder))); // somebody keeps something else in it
        Ok(())
    }
}

/// QEMU holds locks on the images of a machine that runs, which `qemu-img` minds.
async fn check_unused(journal: &Journal) -> Result<()> {
    for disk in journal.disks.iter().filter(|disk| !disk.firmware && disk.image.exists()) {
        let info = Command::new("qemu-img").args(["info", "-f", "qcow2"]).arg(&disk.image).output().await;
        check_run("qemu-img", info).doing(|| format!("see that nobody uses {}", disk.image.display()))?;
    }
    Ok(())
}
