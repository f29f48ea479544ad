//! A place with little room.

use crate::guest::run;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; dropped, it is unmounted.
pub(crate) struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir(path)?;
        let size = format!("size={mebibytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path))?;
        Ok(Self { path: path.into() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn enlarge(&self, mebibytes: u32) -> Result<()> {
        let size = format!("remount,size={mebibytes}m");
        run(Command::new("mount").args(["-o", &size]).arg(&self.path)).map(drop)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left somebody in it.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}
