//! Images that the kernel had mounted, given back whole.

use crate::command;
use crate::wait::wait_for;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BUSY_LIMIT: Duration = Duration::from_secs(30);

/// Unmounts a file system; all that was written is in its image then, and nobody else has it mounted any more.
///
/// A program that another test is just starting has a copy of what this one has open until it executes, and keeps the file
/// system busy for that long: it is tried again. A process that begins a mount name space of its own has it mounted there,
/// until it gives it back, as our libvirt does (`libvirt.rs`): its loop device is waited for.
///
/// # Errors
/// When it stays busy or mounted, or is not mounted.
pub fn unmount(at: &Path) -> Result<()> {
    command::run(Command::new("sync").arg("--file-system").arg(at), "write a file system out")?;
    let device = loop_device(at)?;
    let mut umount = Command::new("umount");
    umount.env("LC_ALL", "C").arg(at);
    wait_for("a file system that is busy", BUSY_LIMIT, || {
        match command::run(&mut umount, "unmount a file system") {
            Err(error) if error.to_string().contains("busy") => Ok(None),
            done => done.map(Some),
        }
    })?;
    let Some((backing_file, image)) = device else { return Ok(()) };
    // Somebody else's image may have come to the device.
    let is_gone = || fs::read_to_string(&backing_file).map_or(true, |now| now != image);
    wait_for("a file system that others have mounted", BUSY_LIMIT, || Ok(is_gone().then_some(())))
}

/// Of a file system that was mounted by its image: the file of the kernel that names the image for as long as anybody has
/// it mounted, and what it says.
fn loop_device(at: &Path) -> Result<Option<(PathBuf, String)>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("the kernel's list of mounts")?;
    let device = mounts.lines().rev().find_map(|line| {
        let (source, rest) = line.split_once(' ')?;
        let device = source.strip_prefix("/dev/")?;
        (rest.split(' ').next() == at.to_str()).then_some(device)
    });
    let Some(device) = device else { return Ok(None) };
    let folder = Path::new("/sys/block").join(device).join("loop");
    let goes_with_its_mount = fs::read_to_string(folder.join("autoclear")).is_ok_and(|one| one.trim() == "1");
    let backing_file = folder.join("backing_file");
    let image = fs::read_to_string(&backing_file).ok().filter(|_| goes_with_its_mount);
    Ok(image.map(|image| (backing_file, image)))
}
