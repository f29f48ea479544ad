//! Where runs at hand lie: a folder of the cache, or memory if there is none.
//!
//! `<cache>/<vault id>/<group>-<sequence>`, for its owner only. It may be deleted at any time; files that
//! are foreign or torn are thrown away and fetched again.
//!
//! CRASH: a file gets its name once it is whole and durable; before that it begins with a dot, and whoever
//! comes next and finds nobody's lock on it removes it. What a session spills has no name at all from its
//! first byte on: it is gone with the process, however that ends.

use super::body::Body;
use super::filter::Budget;
use super::name::RunName;
use super::run::{Bytes, Run};
use crate::{Error, ErrorKind, Result, VaultId};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The place of one vault's runs.
#[derive(Clone)]
pub(super) struct Folder {
    vault: VaultId,
    path: Option<PathBuf>,
    /// Of the filters of files; in memory they are anyway.
    filters: Budget,
}

impl Folder {
    /// Memory.
    pub(super) fn none(vault: VaultId) -> Self {
        Self { vault, path: None, filters: Budget::default() }
    }

    /// This vault's folder below `cache`. Nothing is made yet.
    pub(super) fn below(cache: &Path, vault: VaultId) -> Self {
        Self { path: Some(cache.join(vault.to_string())), ..Self::none(vault) }
    }

    /// The run, if it is here whole. What bears its name and is not is removed.
    pub(super) fn open(&self, name: RunName) -> Option<Run> {
        let path = self.path.as_ref()?.join(file_name(name));
        let file = File::open(&path).ok()?;
        let run = self.run_in(name, file);
        if run.is_none() {
            let _ = fs::remove_file(&path); // or it is replaced by what is fetched
        }
        run
    }

    fn run_in(&self, name: RunName, file: File) -> Option<Run> {
        let mut run = Run::open(self.vault, name, Bytes::File(file))?;
        run.hold_filter(&self.filters);
        Some(run)
    }

    /// Keeps a run for later.
    ///
    /// # Errors
    /// `NoSpace` or `Invalid` if the folder cannot take it: an index in memory may be more than there is.
    pub(super) fn keep(&self, name: RunName, body: &Body) -> Result<Run> {
        let Some(folder) = &self.path else { return Ok(Run::in_memory(self.vault, name, body)) };
        let keep = || {
            let (mut file, path) = new_file(folder)?;
            self.write(&mut file, name, body)?;
            file.sync_data()?;
            // Somebody may have taken it for stale and removed it: it serves this process all the same.
            let _ = fs::rename(path, folder.join(file_name(name)));
            self.reopen(name, file)
        };
        keep().map_err(|error| unfit(folder, error))
    }

    /// Keeps a run for later; in memory, and says why, if the folder cannot take it: what needs the index goes on.
    pub(super) fn keep_or_hold(&self, name: RunName, body: &Body) -> (Run, Option<Error>) {
        match self.keep(name, body) {
            Ok(run) => (run, None),
            Err(error) => (Run::in_memory(self.vault, name, body), Some(error)),
        }
    }

    /// Keeps a run for as long as it is used. A cache that takes no more costs memory, not the backup.
    pub(super) fn spill(&self, name: RunName, body: &Body) -> Run {
        let spill = |folder: &PathBuf| {
            let (mut file, path) = new_file(folder)?;
            fs::remove_file(path)?;
            self.write(&mut file, name, body)?;
            self.reopen(name, file)
        };
        let spilled = self.path.as_ref().and_then(|folder| spill(folder).ok());
        spilled.unwrap_or_else(|| Run::in_memory(self.vault, name, body))
    }

    fn write(&self, file: &mut File, name: RunName, body: &Body) -> io::Result<()> {
        let (head, entries) = Run::layout(self.vault, name, body);
        file.write_all(&head)?;
        file.write_all(entries)
    }

    fn reopen(&self, name: RunName, file: File) -> io::Result<Run> {
        file.unlock()?;
        let run = self.run_in(name, file);
        run.ok_or_else(|| io::Error::other("what is read there is not what was written"))
    }

    /// Removes a run.
    pub(super) fn remove(&self, name: RunName) {
        if let Some(folder) = &self.path {
            let _ = fs::remove_file(folder.join(file_name(name))); // it may not be there
        }
    }

    /// Removes whatever is not one of these runs, or on its way to be one.
    pub(super) fn sweep(&self, wanted: &BTreeSet<RunName>) {
        let Some(folder) = &self.path else { return };
        let wanted: BTreeSet<String> = wanted.iter().copied().map(file_name).collect();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let is_stale = match name.starts_with('.') {
                true => File::open(&path).is_ok_and(|file| file.try_lock().is_ok()),
                false => !wanted.contains(&name),
            };
            if is_stale {
                let _ = fs::remove_file(path); // the next one tries again
            }
        }
    }
}

/// A file on its way to be a run, locked while it is.
fn new_file(folder: &Path) -> io::Result<(File, PathBuf)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(format!(".{}", Uuid::new_v4()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    file.lock()?;
    Ok((file, path))
}

fn file_name(name: RunName) -> String {
    format!("{}-{:08x}", name.group, name.sequence)
}

fn unfit(folder: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::Invalid,
    };
    Error::caused(kind, format!("keep the vault's index in its cache {}", folder.display()), error)
}
