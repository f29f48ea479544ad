//! Everything before the guest notices anything.

use super::checkpoints::{self, Checkpoint, Wanted};
use super::domain::Domain;
use super::link::{Link, field};
use super::owner::Prepared;
use super::watch;
use crate::qemu::{self, MachineAddress};
use crate::qmp::{Peer, Version};
use crate::scratch::{self, RunFolder};
use crate::{DiskDescription, Error, ErrorKind, FreezeRequest, MachineDescription, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// What the disks can be read by is a socket and files of the host that the machine runs on.
pub(super) fn refuse_remote(uri: &str) -> Result<()> {
    if is_local(uri) {
        return Ok(());
    }
    let text = format!(
        "freeze a machine of {uri}: its disks can only be read on its own host, because libvirt serves them \
         without any proof of who reads; run Strongroom there, with --libvirt qemu:///system"
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// `driver[+transport]://[host]/path`: no host, and no transport that leads to one.
fn is_local(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, "unix"));
    driver == "qemu" && transport == "unix" && rest.starts_with('/')
}

/// Refuses disks whose export would kill QEMU: see `qemu/prepare.rs`.
pub(super) fn refuse_iothreads(domain: &Domain, version: &Version) -> Result<()> {
    let Some(disk) = domain.disks.iter().find(|disk| disk.iothread) else { return Ok(()) };
    if version.at_least(9, 0) {
        return Ok(());
    }
    let text = format!(
        "freeze the disk {}: it has an iothread, and QEMU {version} would crash when its export is closed; \
         9.0 or later is needed, or a disk without an iothread",
        disk.target
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// Machines of a group stop together, for which we would have to pause this one behind libvirt's back.
pub(super) fn refuse_group(request: &FreezeRequest) -> Result<()> {
    if request.rendezvous.is_none() {
        return Ok(());
    }
    let text = "freeze a machine of libvirt together with others: only machines whose monitor is ours can be";
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// Leaves out what the request does not want.
pub(super) fn choose_disks(
    request: &FreezeRequest,
    domain: &Domain,
    mut description: MachineDescription,
) -> Result<MachineDescription> {
    let (chosen, others) = request.disks.choose(description.disks, domain.boot.as_deref())?;
    description.disks = chosen;
    description.skipped.extend(others);
    Ok(description)
}

/// Decides for each disk what must be read.
pub(super) fn decide(
    request: &FreezeRequest,
    domain: &Domain,
    described: &[DiskDescription],
    found: &[Checkpoint],
) -> Result<Vec<Prepared>> {
    if described.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "freeze a machine without writable disks"));
    }
    let parent = request.parent.as_ref().map(|parent| {
        let name = checkpoints::name(&request.vault, parent);
        found.iter().find(|checkpoint| checkpoint.name == name)
    });
    let prepared = described.iter().enumerate().map(|(index, disk)| {
        let image = domain.disks.iter().find(|known| known.target == disk.id);
        let image = image.map(checkpoints::image).unwrap_or_default();
        let wanted = Wanted {
            disk: &disk.id,
            keeps_bitmaps: disk.keeps_bitmaps,
            image: &image,
            size: disk.size,
            parent_size: request.parent_disks.get(&disk.id).copied(),
            distrust: request.distrusted.get(&disk.id).map(String::as_str),
        };
        Prepared { index, tracking: checkpoints::decide(wanted, parent), disk: disk.clone(), image }
    });
    Ok(prepared.collect())
}

/// Makes the folder, for libvirt's QEMU to make its files in.
pub(super) async fn scratch_space(link: &Link, request: &FreezeRequest) -> Result<RunFolder> {
    scratch::sweep(&request.scratch);
    watch::check_room(&request.scratch).await?;
    RunFolder::create(&request.scratch, &request.point, owner(&link.uuid, &request.scratch)?)
}

/// The users that libvirt starts machines as, beside root and us: Debian's and Red Hat's names.
const QEMU_USERS: [&str; 2] = ["libvirt-qemu", "qemu"];

/// The QEMU of a machine of libvirt, if it runs here. Anybody can start a program with this uuid on its command
/// line; only one of a user that libvirt would start it as is believed.
pub(super) fn running(uuid: &str) -> Result<Option<(MachineAddress, Peer)>> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let us = rustix::process::geteuid().as_raw();
    let named = |uid: u32| {
        let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        users.any(|user| QEMU_USERS.contains(&user[0]) && user.get(2) == Some(&&*uid.to_string()))
    };
    let found = qemu::discover()?.into_iter().filter(|machine| machine.uuid.as_deref() == Some(uuid));
    Ok(found
        .filter_map(|machine| peer(machine.pid).map(|peer| (machine, peer)))
        .find(|(_, peer)| peer.uid == 0 || peer.uid == us || named(peer.uid)))
}

/// The user and group by which a process uses files.
fn peer(pid: u32) -> Option<Peer> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // Real, effective, saved, and of files.
    let of_files = |key: &str| field(&status, key)?.split_whitespace().last()?.parse().ok();
    Some(Peer { pid: Some(pid), uid: of_files("Uid")?, gid: of_files("Gid")? })
}

/// Whom QEMU runs as. One that is not seen here is taken to run as us: if not, it is refused its files, and
/// says so.
fn owner(uuid: &str, folder: &std::path::Path) -> Result<Peer> {
    if let Some((_, peer)) = running(uuid)? {
        return Ok(peer);
    }
    let context = || format!("find the scratch folder {}", folder.display());
    let us = fs::metadata("/proc/self").map_err(|e| Error::io(context(), e))?;
    Ok(Peer { pid: None, uid: us.uid(), gid: us.gid() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::process::CommandExt;

    #[test]
    fn only_this_host_can_be_read_from() {
        for local in ["qemu:///system", "qemu:///session", "qemu+unix:///system?socket=/s"] {
            assert!(refuse_remote(local).is_ok(), "{local}");
        }
        for remote in
            ["qemu+ssh://root@h/system", "qemu://h/system", "qemu+ssh:///system", "test:///default", ""]
        {
            let error = refuse_remote(remote).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{remote}");
        }
    }

    /// A program that calls itself QEMU, with a machine's uuid. Ends when its input does.
    fn impostor(uuid: &str, user: Option<u32>) -> std::process::Child {
        let mut command = std::process::Command::new("sh");
        command.arg0("qemu-system-x86_64").args(["-c", "echo; read line", "-uuid", uuid]);
        user.map(|user| command.uid(user));
        let (input, output) = (std::process::Stdio::piped(), std::process::Stdio::piped());
        let mut process = command.stdin(input).stdout(output).spawn().unwrap();
        // Its command line is there once it runs, a little later than it is started.
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        process
    }

    #[test]
    fn only_a_qemu_of_root_or_ours_is_believed() {
        const NOBODY: u32 = 65534;
        let uuid = "4d2f0000-0000-4000-8000-0000000000a1";
        let us = rustix::process::geteuid().as_raw();
        let mut ours = impostor(uuid, None);
        // Only root can be somebody else.
        let theirs = (us == 0).then(|| impostor(uuid, Some(NOBODY)));
        let (found, peer) = running(uuid).unwrap().unwrap();
        assert_eq!((found.pid, peer.uid), (ours.id(), us));
        ours.kill().unwrap();
        ours.wait().unwrap();
        assert!(running(uuid).unwrap().is_none(), "whoever names the uuid is not the machine");
        if let Some(mut theirs) = theirs {
            theirs.kill().unwrap();
            theirs.wait().unwrap();
        }
    }
}
