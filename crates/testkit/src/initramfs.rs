//! The guest's kernel and its first (and only) root file system.

use crate::{Progress, cpio, packages::Packages, probe, stage::Cache, stage::key, tree};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What a machine boots, and the tree the archive was made from.
pub(crate) struct Boot {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) tree: PathBuf,
}

/// Builds them, unless that was done before from the same parts.
///
/// The archive is not compressed: the host hands it to the guest in one piece, while unpacking would be
/// done by an emulated processor.
pub(crate) fn build(cache: &Cache, packages: &Packages, progress: Progress<'_>) -> Result<Boot> {
    let inputs = [&[packages.key.as_str(), probe::SOURCE], tree::ASSETS].concat();
    let folder = cache.stage("boot", &key(&inputs), |new| {
        progress("building the guest's kernel and file tree");
        let probe = probe::build(new)?;
        let files = new.join("tree");
        fs::create_dir(&files).with_context(|| format!("cannot create {}", files.display()))?;
        tree::make(&packages.root, &probe, &files)?;
        archive(&files, &new.join("initramfs"))?;
        let kernel = kernel(&packages.root)?;
        fs::copy(&kernel, new.join("kernel")).with_context(|| format!("cannot copy {}", kernel.display()))?;
        Ok(())
    })?;
    Ok(Boot { kernel: folder.join("kernel"), initramfs: folder.join("initramfs"), tree: folder.join("tree") })
}

fn archive(tree: &Path, path: &Path) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(context)?);
    cpio::write_tree(tree, &mut out)?;
    out.flush().with_context(context)
}

fn kernel(root: &Path) -> Result<PathBuf> {
    let boot = root.join("boot");
    let entries = fs::read_dir(&boot).with_context(|| format!("cannot list {}", boot.display()))?;
    let found = entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"));
    found.map(|entry| entry.path()).with_context(|| format!("no kernel in {}", boot.display()))
}
