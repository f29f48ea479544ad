//! The folder of a drill: its mark, its lock, and what is made in it.
//!
//! The lock is taken before the mark is written, so a mark whose lock is free is that of a drill which was killed.

use super::sweep::Leftover;
use crate::error::{Doing, Result};
use hypervisor::Hold;
use hypervisor::recreate::OverServer;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What all drills' folders begin with.
pub(super) const PREFIX: &str = "drill-";
/// Says that a folder is a drill's, and of which name: a copy elsewhere is no drill's.
pub(super) const MARK: &str = "strongroom-drill.json";
/// Held as long as the drill lives.
pub(super) const LOCK: &str = "drill.lock";
/// The machine's sockets and logs.
pub(super) const RUN: &str = "run";
/// The version of the mark's shape.
pub(super) const VERSION: u32 = 1;
/// Of the drill's id in the folder's name, so that paths stay short. The mark and `create` settle whose it is.
const ID_CHARACTERS: usize = 12;

/// The server is a part of us: a machine that waits for it waits in vain.
const SERVER_PATIENCE_S: u64 = 10;

/// What a mark says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) version: u32,
    pub(super) folder: String,
}

/// The folder of a drill that is under way. Dropped, it is deleted; the machine must be gone by then.
#[derive(Debug)]
pub(super) struct DrillFolder {
    path: PathBuf,
    lock: Option<Hold>,
}

impl DrillFolder {
    pub(super) fn create(scratch: &Path, id: Uuid) -> Result<Self> {
        let doing = || format!("make a folder for the drill in {}", scratch.display());
        let made = || -> std::io::Result<Self> {
            let scratch = scratch.canonicalize()?;
            let digits = id.simple().to_string();
            // The last digits are random in all kinds of ids.
            let name = format!("{PREFIX}{}", &digits[digits.len() - ID_CHARACTERS..]);
            let path = scratch.join(&name);
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = File::options().create_new(true).write(true).open(path.join(LOCK))?;
            let lock = Hold::of(lock)?;
            let text = serde_json::to_string(&Mark { version: VERSION, folder: name }).expect("plain data");
            let mut mark = File::create_new(path.join(MARK))?;
            mark.write_all(text.as_bytes())?;
            mark.sync_all()?;
            Ok(Self { path, lock: Some(lock) })
        };
        made().map_err(|e| block::Error::io("ask the system", e)).doing(doing)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the machine's sockets and logs go.
    pub(super) fn run(&self) -> PathBuf {
        self.path.join(RUN)
    }

    /// What libvirt is told of the disks' server. There is no monitor of ours beside libvirt's.
    pub(super) fn over(&self) -> OverServer {
        OverServer {
            socket: self.server(),
            patience_s: SERVER_PATIENCE_S,
            monitor: self.run().join("unused"),
        }
    }

    /// Where the point is served.
    pub(super) fn server(&self) -> PathBuf {
        self.path.join("nbd.sock")
    }
}

impl Drop for DrillFolder {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        if let Err(error) = Leftover::of(&self.path, lock).and_then(Leftover::remove) {
            tracing::warn!("a drill's folder stays until the next drill: {error}");
        }
    }
}
