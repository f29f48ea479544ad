//! What a machine is, by libvirt's account.

use super::domain::Disk;
use super::link::{Link, State, field};
use crate::qmp::Version;
use crate::{DiskDescription, Error, ErrorKind, MachineDescription, Result, SkippedDrive};

/// Asks libvirt for everything.
///
/// The definition is the one libvirt would start the machine from next, without its secrets (a display's
/// password): they are libvirt's to give only to who may change machines, and not ours to spread.
pub(super) async fn describe(link: &Link) -> Result<MachineDescription> {
    let domain = link.domain().await?;
    let definition = link.ask("dumpxml", &["--inactive"]).await?;
    let (mut disks, mut skipped) = (Vec::new(), domain.skipped);
    for disk in domain.disks {
        match link.disk_size(&disk.target).await {
            Ok(size) => disks.push(described(disk, size)),
            // Other hypervisors than QEMU cannot tell; with QEMU a disk that cannot be asked is no disk to skip.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let reason = "its size cannot be asked of this hypervisor".to_owned();
                skipped.push(SkippedDrive { id: disk.target, reason });
            }
            Err(error) => return Err(error.within(format!("read the size of the disk {}", disk.target))),
        }
    }
    Ok(MachineDescription {
        name: domain.name,
        uuid: domain.uuid,
        status: word(link.state().await?).to_owned(),
        qemu: version(link).await?,
        cpus: domain.cpus,
        memory_bytes: domain.memory_bytes,
        boot: domain.boot,
        disks,
        skipped,
        definition: Some(definition),
        ..MachineDescription::default()
    })
}

fn described(disk: Disk, size: u64) -> DiskDescription {
    let node = Some(&disk.index).filter(|index| !index.is_empty());
    DiskDescription {
        node: node.map(|index| format!("libvirt-{index}-format")).unwrap_or_default(),
        keeps_bitmaps: disk.keeps_bitmaps(),
        id: disk.target,
        device: disk.alias,
        format: disk.format,
        file: disk.source,
        size,
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Paused => "paused",
        State::IoError => "io-error",
        State::Off => "shut off",
        State::Other => "other",
    }
}

/// The version of the hypervisor that libvirt starts machines with.
pub(super) async fn version(link: &Link) -> Result<Version> {
    let said = link.virsh.run(&["version"]).await?;
    let unknown = || Error::new(ErrorKind::Failed, "read the hypervisor's version from libvirt");
    read_version(field(&said, "Running hypervisor").unwrap_or_default()).ok_or_else(unknown)
}

/// As `QEMU 7.2.22`.
fn read_version(said: &str) -> Option<Version> {
    let mut numbers = said.rsplit(' ').next()?.split('.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Version { major: next()?, minor: next()?, micro: next()?, package: "libvirt".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert!(read_version("QEMU 10.0.2").unwrap().at_least(10, 0));
        assert!(!read_version("QEMU 7.2.22").unwrap().at_least(9, 0));
        assert!(read_version("QEMU").is_none() && read_version("").is_none());
    }
}
