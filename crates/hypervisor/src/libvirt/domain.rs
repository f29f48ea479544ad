//! What a domain's XML says of its machine and its disks. Pure.

use super::xml;
use crate::{Error, ErrorKind, Result, SkippedDrive};
use roxmltree::Node;
use std::path::PathBuf;

/// A machine as its XML tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) name: Option<String>,
    pub(super) uuid: Option<String>,
    pub(super) cpus: u64,
    pub(super) memory_bytes: u64,
    /// Disks that can be protected.
    pub(super) disks: Vec<Disk>,
    /// Drives that are not, and why.
    pub(super) skipped: Vec<SkippedDrive>,
    /// The disk it boots from: the first in its boot order, else the first of all.
    pub(super) boot: Option<String>,
    /// The file of its UEFI variables, which libvirt does not count among its disks.
    pub(super) nvram: Option<PathBuf>,
}

/// A writable disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// Its name in the guest's eyes: `vda`. It stays over restarts.
    pub(super) target: String,
    /// libvirt's name of the device; empty while the machine is off.
    pub(super) alias: String,
    /// The number in QEMU's node name; empty while the machine is off.
    pub(super) index: String,
    pub(super) format: String,
    /// File, block device, or `pool/volume`.
    pub(super) source: String,
    /// Whether an own thread of QEMU serves it.
    pub(super) iothread: bool,
}

impl Disk {
    /// Only qcow2 has a place for records of changes; libvirt makes none where there is no place.
    pub(super) fn keeps_bitmaps(&self) -> bool {
        self.format == "qcow2"
    }
}

/// Reads a domain's XML.
pub(super) fn parse(text: &str) -> Result<Domain> {
    let document = xml::parse(text)?;
    let domain = xml::find(document.root(), &["domain"])
        .ok_or_else(|| Error::new(ErrorKind::Failed, "read the XML that libvirt gave: it is of no domain"))?;
    let owned = |name: &str| xml::text(domain, &[name]).map(str::to_owned);
    let number = |name: &str| xml::text(domain, &[name]).and_then(|text| text.parse::<u64>().ok());
    let cpus = xml::attribute(domain, &["vcpu"], "current").and_then(|text| text.parse().ok());
    let (mut disks, mut skipped) = (Vec::new(), Vec::new());
    let mut boot: Option<(u64, String)> = None;
    let devices = xml::find(domain, &["devices"]);
    for node in devices.iter().flat_map(|devices| xml::all(*devices, "disk")) {
        let id = xml::attribute(node, &["target"], "dev").unwrap_or("?").to_owned();
        match refusal(node) {
            Some(reason) => skipped.push(SkippedDrive { id, reason }),
            None => {
                let order = xml::attribute(node, &["boot"], "order").and_then(|text| text.parse().ok());
                let order: u64 = order.unwrap_or(u64::MAX);
                if boot.as_ref().is_none_or(|(first, _)| order < *first) {
                    boot = Some((order, id.clone()));
                }
                disks.push(disk(node, id, devices));
            }
        }
    }
    Ok(Domain {
        name: owned("name"),
        uuid: owned("uuid").map(|uuid| uuid.to_ascii_lowercase()),
        cpus: cpus.or(number("vcpu")).unwrap_or(0),
        memory_bytes: memory(domain),
        disks,
        skipped,
        boot: boot.map(|(_, id)| id),
        nvram: xml::text(domain, &["os", "nvram"]).map(PathBuf::from),
    })
}

/// libvirt gives memory in KiB, whatever unit it was defined in.
fn memory(domain: Node<'_, '_>) -> u64 {
    let of = |name: &str| {
        let unit = xml::attribute(domain, &[name], "unit").unwrap_or("KiB");
        let amount: u64 = xml::text(domain, &[name])?.parse().ok()?;
        let factor = match unit {
            "b" | "bytes" => 1,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            _ => 1 << 10,
        };
        Some(amount.saturating_mul(factor))
    };
    of("currentMemory").or_else(|| of("memory")).unwrap_or(0)
}

/// Why a drive is not protected.
fn refusal(node: Node<'_, '_>) -> Option<String> {
    let device = node.attribute("device").unwrap_or("disk");
    let has = |name: &str| xml::find(node, &[name]).is_some();
    let kind = node.attribute("type").unwrap_or("?");
    let reason = match () {
        () if device != "disk" => format!("a {device}, not a disk"),
        () if has("readonly") => "read-only".to_owned(),
        () if has("shareable") => "shared with other machines".to_owned(),
        () if has("transient") => "transient: what is written to it is thrown away".to_owned(),
        () if !has("source") => "no medium".to_owned(),
        () if kind == "network" => "on the network: libvirt cannot freeze it here".to_owned(),
        () if !matches!(kind, "file" | "block" | "volume") => format!("of the type {kind}"),
        () => return None,
    };
    Some(reason)
}

fn disk(node: Node<'_, '_>, target: String, devices: Option<Node<'_, '_>>) -> Disk {
    let of = |path: &[&str], name: &str| xml::attribute(node, path, name).unwrap_or_default().to_owned();
    let source = [of(&["source"], "file"), of(&["source"], "dev")].into_iter().find(|path| !path.is_empty());
    let volume = || format!("{}/{}", of(&["source"], "pool"), of(&["source"], "volume"));
    let format = Some(of(&["driver"], "type")).filter(|format| !format.is_empty());
    let own_thread = xml::attribute(node, &["driver"], "iothread").is_some()
        || xml::find(node, &["driver", "iothreads"]).is_some();
    Disk {
        target,
        alias: of(&["alias"], "name"),
        index: of(&["source"], "index"),
        format: format.unwrap_or_else(|| "raw".to_owned()), // libvirt's default
        source: source.unwrap_or_else(volume),
        iothread: own_thread || controller_has_iothread(node, devices),
    }
}

/// A SCSI disk is served by the thread of its controller.
fn controller_has_iothread(disk: Node<'_, '_>, devices: Option<Node<'_, '_>>) -> bool {
    if xml::attribute(disk, &["target"], "bus") != Some("scsi") {
        return false;
    }
    let number = xml::attribute(disk, &["address"], "controller").unwrap_or("0");
    let mut controllers = devices.iter().flat_map(|devices| xml::all(*devices, "controller"));
    controllers.any(|controller| {
        controller.attribute("type") == Some("scsi")
            && controller.attribute("index") == Some(number)
            && xml::attribute(controller, &["driver"], "iothread").is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "<domain type='kvm' id='3'><name>a &amp; b</name>\
        <uuid>0F1E0000-0000-4000-8000-000000000001</uuid><memory unit='KiB'>2048</memory>\
        <currentMemory unit='KiB'>1024</currentMemory><vcpu current='2'>4</vcpu><os><nvram template='/t'>/n/vars.fd</nvram></os><devices>\
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/a.qcow2' index='2'/>\
        <target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>\
        <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/b'/>\
        <target dev='sda' bus='scsi'/><address type='drive' controller='1'/></disk>\
        <disk type='volume' device='disk'><driver type='qcow2' iothread='1'/><source pool='p' volume='v'/>\
        <target dev='vdb'/></disk>\
        <disk type='file' device='cdrom'><target dev='hda'/><readonly/></disk>\
        <disk type='file' device='disk'><source file='/x'/><target dev='vdc'/><readonly/></disk>\
        <disk type='file' device='disk'><source file='/x'/><target dev='vdd'/><shareable/></disk>\
        <disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target dev='vde'/></disk>\
        <controller type='scsi' index='0'/>\
        <controller type='scsi' index='1'><driver iothread='2'/></controller></devices></domain>";

    #[test]
    fn a_domain_is_read_with_all_its_drives() {
        let domain = parse(DOMAIN).unwrap();
        assert_eq!(domain.name.as_deref(), Some("a & b"));
        assert_eq!(domain.uuid.as_deref(), Some("0f1e0000-0000-4000-8000-000000000001"));
        assert_eq!((domain.cpus, domain.memory_bytes), (2, 1 << 20));
        let disks: Vec<_> = domain
            .disks
            .iter()
            .map(|disk| (&*disk.target, &*disk.source, disk.keeps_bitmaps(), disk.iothread))
            .collect();
        assert_eq!(
            disks,
            [
                ("vda", "/i/a.qcow2", true, false),
                ("sda", "/dev/vg/b", false, true),
                ("vdb", "p/v", true, true)
            ]
        );
        assert_eq!(domain.disks[0].alias, "virtio-disk0");
        assert_eq!((domain.boot.as_deref(), domain.nvram), (Some("vda"), Some("/n/vars.fd".into())));
        let skipped: Vec<_> = domain.skipped.iter().map(|drive| (&*drive.id, &*drive.reason)).collect();
        assert_eq!(skipped[0], ("hda", "a cdrom, not a disk"));
        assert_eq!(skipped[1], ("vdc", "read-only"));
        assert_eq!(skipped[2], ("vdd", "shared with other machines"));
        assert!(skipped[3].0 == "vde" && skipped[3].1.contains("network"));
        assert!(parse("<network/>").is_err() && parse("").is_err());
    }
}
