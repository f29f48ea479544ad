//! Images that the kernel had mounted, given back whole.

use crate::command;
use crate::wait::wait_for;
use anyhow::Result;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BUSY_LIMIT: Duration = Duration::from_secs(30);

/// Unmounts a file system; all that was written is in its image then, even where a process in a mount name space of its
/// own keeps it mounted.
///
/// A program that another test is just starting has a copy of what this one has open until it executes, and keeps the file
/// system busy for that long: it is tried again.
///
/// # Errors
/// When it stays busy, or is not mounted.
pub fn unmount(at: &Path) -> Result<()> {
    command::run(Command::new("sync").arg("--file-system").arg(at), "write a file system out")?;
    let mut umount = Command::new("umount");
    umount.env("LC_ALL", "C").arg(at);
    wait_for("a file system that is busy", BUSY_LIMIT, || {
        match command::run(&mut umount, "unmount a file system") {
            Err(error) if error.to_string().contains("busy") => Ok(None),
            done => done.map(Some),
        }
    })
    .map(drop)
}
