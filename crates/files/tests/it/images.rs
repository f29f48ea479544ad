//! Images of all kinds of file systems, and what they are filled with.

use crate::support::{Mounted, run, text, tools};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A file of zeros of some size.
pub(crate) fn blank(folder: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    tools();
    let path = folder.join(name);
    File::create(&path)?.set_len(bytes)?;
    Ok(path)
}

/// An image with a file system that the kernel can mount.
pub(crate) fn made(folder: &Path, name: &str, mkfs: &[&str], bytes: u64) -> Result<PathBuf> {
    let image = blank(folder, name, bytes)?;
    let (program, arguments) = mkfs.split_first().context("a program")?;
    run(program, &[arguments, &[text(&image)]].concat())?;
    Ok(image)
}

/// The same, filled.
pub(crate) fn filled(folder: &Path, name: &str, mkfs: &[&str], bytes: u64) -> Result<PathBuf> {
    let image = made(folder, name, mkfs, bytes)?;
    let mounted = Mounted::new(&image, &folder.join(format!("{name}.fill")), "rw")?;
    fill(&mounted.0, true)?;
    drop(mounted);
    Ok(image)
}

/// Bytes that look like none and are always the same.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What every file system is filled with; `unix` where it has owners, modes and links.
pub(crate) fn fill(root: &Path, unix: bool) -> Result<()> {
    std::fs::create_dir_all(root.join("etc/deep/er"))?;
    std::fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    std::fs::write(root.join("etc/deep/er/empty"), "")?;
    std::fs::write(root.join("etc/deep/er/one"), "1")?;
    for (name, length) in
        [("4095", 4095), ("4096", 4096), ("4097", 4097), ("large", 9 << 20), ("65537", 65_537)]
    {
        std::fs::write(root.join(name), noise(length as u64, length))?;
    }
    for name in ["Grüße aus Köln.txt", "日本語のファイル", "emoji 🦀", "name with  spaces", "-dash"]
    {
        std::fs::write(root.join("etc").join(name), name)?;
    }
    std::fs::write(root.join("n".repeat(200)), "a long name")?;
    std::fs::create_dir(root.join("many"))?;
    for number in 0..2500 {
        std::fs::write(root.join(format!("many/file number {number:05}")), format!("{number}"))?;
    }
    for number in (0..2500).step_by(7) {
        std::fs::remove_file(root.join(format!("many/file number {number:05}")))?;
    }
    fragmented(root)?;
    if unix {
        sparse(root)?;
        owned(root)?;
    }
    Ok(())
}

/// Two files written in turn, so that neither lies in one piece.
fn fragmented(root: &Path) -> Result<()> {
    let files = [File::create(root.join("turn a"))?, File::create(root.join("turn b"))?];
    for step in 0..60 {
        for (seed, file) in files.iter().enumerate() {
            file.write_all_at(&noise(seed as u64 + step * 2, 20_000), step * 20_000)?;
            file.sync_data()?;
        }
    }
    Ok(())
}

fn sparse(root: &Path) -> Result<()> {
    let file = File::create(root.join("sparse"))?;
    for at in [0, 3 << 20, 40 << 20, 41 << 20] {
        file.write_all_at(&noise(at, 5000), at + 100)?;
    }
    file.set_len(64 << 20)?;
    File::create(root.join("hole"))?.set_len(10 << 20)?;
    Ok(())
}

fn owned(root: &Path) -> Result<()> {
    symlink("hosts", root.join("etc/link"))?;
    symlink("/etc/hosts", root.join("absolute link"))?;
    symlink("../../../../../../etc/passwd", root.join("outside"))?;
    symlink("x/".repeat(500), root.join("long link"))?;
    symlink("y".repeat(59), root.join("short link"))?;
    symlink("loop b", root.join("loop a"))?;
    symlink("loop a", root.join("loop b"))?;
    symlink("etc/deep", root.join("folder link"))?;
    for (name, mode, owner) in [
        ("etc/hosts", 0o640, "1000:1001"),
        ("etc/deep/er/one", 0o4755, "0:0"),
        ("etc/deep", 0o2770, "70000:4000000000"),
    ] {
        run("chown", &[owner, text(&root.join(name))])?;
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode))?;
    }
    run("touch", &["-d", "1999-12-31T23:59:59.123456789Z", text(&root.join("etc/hosts"))])?;
    run("touch", &["-h", "-d", "2001-02-03T04:05:06Z", text(&root.join("etc/link"))])?;
    run("mknod", &[text(&root.join("device")), "b", "7", "0"])?;
    run("mkfifo", &[text(&root.join("pipe"))])?;
    Ok(())
}

pub(crate) const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F"];
pub(crate) const XFS: &[&str] = &["mkfs.xfs", "-q", "-f"];
pub(crate) const BTRFS: &[&str] = &["mkfs.btrfs", "-q", "-f"];
