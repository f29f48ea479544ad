//! Everything a guest is made of, built once and kept.

use crate::disks::{self, BaseDisks, Format, copy_image};
use crate::{GuestDisk, Progress, host, initramfs, packages, stage::Cache};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The parts of a guest, in the cache folder.
#[derive(Clone, Debug)]
pub struct GuestImage {
    /// The folder of all of this.
    pub cache: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// Its root file system in memory: busybox, the agent, PostgreSQL, the probe.
    pub initramfs: PathBuf,
    /// The disks to copy.
    pub disks: BaseDisks,
}

/// `target/guest` in this workspace, unless `STRONGROOM_GUEST_CACHE` names another folder.
pub fn default_cache() -> PathBuf {
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest");
    std::env::var_os("STRONGROOM_GUEST_CACHE").map_or_else(workspace, PathBuf::from)
}

impl GuestImage {
    /// Builds what is missing: minutes and a download the first time, milliseconds after that.
    pub fn build(cache: &Path, progress: Progress<'_>) -> Result<Self> {
        host::ensure_packages(progress)?;
        let cache = Cache::open(cache, progress)?;
        let packages = packages::fetch(&cache, progress)?;
        let boot = initramfs::build(&cache, &packages, progress)?;
        let disks = disks::build(&cache, &packages, &boot, progress)?;
        Ok(Self { cache: cache.folder().into(), kernel: boot.kernel, initramfs: boot.initramfs, disks })
    }

    /// Fresh copies of both disks in `folder`, as `data0.<format>` and `data1.<format>`, with the node
    /// names `disk0` and `disk1`.
    pub fn fresh_disks(&self, folder: &Path, format: Format) -> Result<Vec<GuestDisk>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let bases = [&self.disks.data0, &self.disks.data1];
        let copy = |(index, base): (usize, &&PathBuf)| {
            let path = folder.join(format!("data{index}.{}", format.name()));
            copy_image((base, Format::Raw), (&path, format))?;
            Ok(GuestDisk::file(&format!("disk{index}"), &path, format))
        };
        bases.iter().enumerate().map(copy).collect()
    }
}
