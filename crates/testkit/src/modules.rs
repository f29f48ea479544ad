//! The kernel modules the guest loads, dependencies first. There is no `modules.dep` in a package that
//! was never installed, so the order comes from the modules themselves.

use crate::elf;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the guest needs. `crc32c_generic` comes first: ext4 and xfs ask the kernel for it by algorithm,
/// which no dependency shows. btrfs is left out: its RAID benchmark takes 2 s under emulation.
const WANTED: &[&str] = &[
    "crc32c_generic",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_scsi",
    "sd_mod",
    "ext4",
    "xfs",
    "isofs",
];

/// The modules' files in the order of loading. What is built into the kernel is not among them.
pub(crate) fn in_order(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = kernel_folder(root)?;
    let mut files = HashMap::new();
    index(&folder.join("kernel"), &mut files)?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

/// The only folder under lib/modules: one kernel was unpacked.
fn kernel_folder(root: &Path) -> Result<PathBuf> {
    let homes = [root.join("lib/modules"), root.join("usr/lib/modules")];
    let kernels = homes.iter().filter_map(|home| fs::read_dir(home).ok()).flat_map(Iterator::flatten);
    let found = kernels.map(|entry| entry.path()).find(|path| path.join("kernel").is_dir());
    found.with_context(|| format!("no kernel modules under {}", root.display()))
}

fn index(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next())
        {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn add(name: &str, files: &HashMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    let Some(file) = files.get(&name.replace('-', "_")) else { return Ok(()) };
    if order.contains(file) {
        return Ok(());
    }
    for needed in elf::needed_modules(file)? {
        add(&needed, files, order)?;
    }
    order.push(file.clone());
    Ok(())
}
