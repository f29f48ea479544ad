//! The programs the host must have.

use crate::{Progress, command};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Each program we call, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-storage-daemon", "qemu-system-common"),
    ("qemu-img", "qemu-utils"),
    ("qemu-nbd", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("virsh", "libvirt-clients"),
    ("libvirtd", "libvirt-daemon"),
    ("virt-qemu-run", "libvirt-daemon-driver-qemu"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdcopy", "libnbd-bin"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_repair", "xfsprogs"),
    // File systems that files are read from, and who else reads them.
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkntfs", "ntfs-3g"),
    ("setfattr", "attr"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("sfdisk", "fdisk"),
    ("vgcfgrestore", "lvm2"),
    ("cryptsetup", "cryptsetup-bin"),
    ("unzip", "unzip"),
    ("mount", "mount"),
    ("chroot", "coreutils"),
    ("dpkg-deb", "dpkg"),
    ("cc", "gcc"),
    // The server without a service: tests start their own.
    ("mariadbd", "mariadb-server-core"),
    ("mariadb-install-db", "mariadb-server-core"),
    ("mariadb", "mariadb-client-core"),
];

/// What must come from one release together. A host image may carry a newer qemu-utils from backports,
/// which apt would *remove* to install the release's qemu-system-x86; naming the release for all of
/// them makes it step back instead.
const QEMU: &[&str] = &["qemu-system-x86", "qemu-system-common", "qemu-utils", "qemu-block-extra"];

/// Checks that every program is there and installs what is missing.
///
/// Nothing is done when nothing is missing. Without root the error names the command to run.
pub fn ensure_packages(progress: Progress<'_>) -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    let arguments = install_arguments(&packages, release().as_deref());
    let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    if !is_root()? {
        bail!(
            "these programs are missing: {}. Install them with: sudo apt-get {}",
            programs.join(", "),
            arguments.join(" ")
        );
    }
    progress(&format!("installing {} (for {})", join(&packages), programs.join(", ")));
    let mut update = Command::new("apt-get");
    command::run(update.arg("update"), "refresh the lists of packages")?;
    let mut install = Command::new("apt-get");
    install.args(&arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command::run(&mut install, "install missing programs")?;
    match PROGRAMS.iter().find(|(program, _)| !installed(program)) {
        Some((program, package)) => bail!("`{program}` is still missing after installing {package}"),
        None => Ok(()),
    }
}

/// Whether this process may mount and change owners.
pub(crate) fn is_root() -> Result<bool> {
    let id = command::run_text(Command::new("id").arg("-u"), "ask for the user's number")?;
    Ok(id.trim() == "0")
}

fn install_arguments(packages: &BTreeSet<&str>, release: Option<&str>) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["install", "-y", "--no-install-recommends"].iter().map(ToString::to_string).collect();
    let pinned = |name: &str| match release {
        Some(release) => format!("{name}/{release}"),
        None => name.to_string(),
    };
    if packages.iter().any(|name| QEMU.contains(name)) {
        arguments.push("--allow-downgrades".into());
        arguments.extend(QEMU.iter().map(|name| pinned(name)));
    }
    arguments.extend(packages.iter().filter(|name| !QEMU.contains(name)).map(ToString::to_string));
    arguments
}

fn join(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// Debian's code name of this host, if it is one.
fn release() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').into())
}

/// Looks in `PATH`, and in the folders of the super user that an ordinary user's `PATH` leaves out.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// Fails, in plain words, for what only root can do.
pub(crate) fn require_root(what: &str) -> Result<()> {
    if is_root().context("cannot tell whether this is root")? {
        return Ok(());
    }
    bail!("{what} needs root (loop mounts, chroot, files of another owner): run it with sudo")
}

/// A command whose program may lie in a folder of the super user.
pub(crate) fn administration(program: &str) -> Command {
    let found = ["/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file());
    found.map_or_else(|| Command::new(program), Command::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missing_part_of_qemu_pins_all_of_it() {
        let arguments = install_arguments(&BTreeSet::from(["qemu-utils", "xfsprogs"]), Some("bookworm"));
        let line = arguments.join(" ");
        assert!(line.contains("--allow-downgrades qemu-system-x86/bookworm"), "{line}");
        assert!(line.contains("qemu-block-extra/bookworm xfsprogs"), "{line}");
    }
}
