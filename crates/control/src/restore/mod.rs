//! Restores: what may be asked of one, those over what is there (`into.rs`, `replace.rs`), and many as one
//! (`many.rs`, `set.rs`).

mod into;
mod many;
mod replace;
mod set;

pub(crate) use replace::ReplaceRequest;

use crate::Result;
use crate::faults::Faults;
use crate::points::{DISK_NAME_MAX, DISKS_MAX, PATH_MAX, PointDetail};
use api::{NewMachine, NewNetwork, Restore};
use std::collections::HashSet;

/// More than any machine that QEMU runs has.
const CPUS_MAX: u32 = 4096;
/// A PiB: more than any host has.
const MEMORY_MIB_MAX: u64 = 1 << 30;
/// Names of networks that one restore maps.
const NETWORKS_MAX: usize = 64;

/// Whether a restore makes sense for a point; every fault of it is told.
pub(crate) fn check(wish: &Restore, detail: &PointDetail) -> Result<()> {
    let mut faults = Faults::default();
    faults.text("/folder", &wish.folder, PATH_MAX);
    if !wish.folder.starts_with('/') {
        faults.add("/folder", "must be an absolute path");
    }
    if wish.folder.split('/').any(|part| part == "..") {
        faults.add("/folder", "must not go up with `..`");
    }
    faults.entries("/disks", (0, DISKS_MAX), wish.disks.len());
    let mut named = HashSet::new();
    for (at, name) in wish.disks.iter().enumerate().take(DISKS_MAX) {
        check_disk(&mut faults, &format!("/disks/{at}"), name, detail, &mut named);
    }
    if let Some(mover) = &wish.mover {
        faults.name("/mover", mover);
    }
    if let Some(machine) = &wish.machine {
        if !wish.disks.is_empty() {
            faults.add("/disks", "must be empty for a new machine: it gets all of them");
        }
        check_machine(&mut faults, machine);
    }
    faults.none()
}

/// A disk must be one of the point's, and named once.
fn check_disk<'a>(
    faults: &mut Faults,
    pointer: &str,
    name: &'a str,
    detail: &PointDetail,
    named: &mut HashSet<&'a str>,
) {
    faults.text(pointer, name, DISK_NAME_MAX);
    if !detail.disks.iter().any(|disk| disk.name == name) {
        let mut has: Vec<_> = detail.disks.iter().map(|disk| disk.name.as_str()).collect();
        has.sort_unstable();
        faults.add(pointer, format!("must be a disk of the point; it has {}", has.join(", ")));
    } else if !named.insert(name) {
        faults.add(pointer, "is named twice");
    }
}

fn check_machine(faults: &mut Faults, machine: &NewMachine) {
    faults.name("/machine/name", &machine.name);
    // It is a word of QEMU's command line and a name in libvirt.
    if machine.name.contains(['/', ',']) {
        faults.add("/machine/name", "must hold neither `/` nor `,`");
    }
    if machine.cpus.is_some_and(|cpus| !(1..=CPUS_MAX).contains(&cpus)) {
        faults.add("/machine/cpus", format!("must be 1 to {CPUS_MAX}"));
    }
    if machine.memory_mib.is_some_and(|mib| !(1..=MEMORY_MIB_MAX).contains(&mib)) {
        faults.add("/machine/memory_mib", format!("must be 1 to {MEMORY_MIB_MAX}"));
    }
    if machine.at_once && !machine.start {
        faults.add("/machine/start", "must be true for a machine that is to run at once");
    }
    if let Some(uri) = &machine.libvirt {
        faults.text("/machine/libvirt", uri, PATH_MAX);
    }
    if let NewNetwork::Remap { names } = &machine.network {
        faults.entries("/machine/network/names", (1, NETWORKS_MAX), names.len());
        for (old, new) in names.iter().take(NETWORKS_MAX) {
            faults.name("/machine/network/names", old);
            faults.name("/machine/network/names", new);
        }
    }
}
