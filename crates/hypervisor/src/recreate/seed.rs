//! A disk that tells a guest who it is, given to a machine that was planned: read-only, and the only one of its kind.
//!
//! A machine that was itself made so has one already, of another guest: what is labelled as such a disk goes.

use super::recreation::{LeftOut, QemuPlan, refused, text_of};
use super::words::{self, Word};
use super::{LibvirtDefinition, domain};
use crate::Result;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use xmltree::{Element, EmitterConfig, XMLNode};

/// What cloud-init knows such a disk by.
const LABEL: &str = "cidata";
/// Where a file system keeps its label: of ISO 9660, FAT 12 and 16, FAT 32.
const LABELS: [(u64, usize); 3] = [(32_808, 32), (43, 11), (71, 11)];
/// Devices of QEMU that a disk is, and what a read-only one beside it is. Others get a drive of the machine's default.
const DEVICES: [&str; 5] =
    ["virtio-blk-pci", "virtio-blk-device", "virtio-blk-ccw", "virtio-blk-pci-non-transitional", "scsi-hd"];
const NODE: &str = "strongroom-seed";
/// Names of disks that are tried in libvirt's XML.
const LETTERS: std::ops::RangeInclusive<char> = 'a'..='z';

/// Gives a QEMU that was planned the disk.
pub fn seed_qemu(plan: &mut QemuPlan, seed: &Path) -> Result<()> {
    let path = text_of(seed)?.replace(',', ",,");
    let mut words = words::parse(&plan.arguments);
    let mut gone = Vec::new();
    for word in words.iter_mut().filter(|word| word.is("drive")) {
        let settings = word.settings("file");
        if let Some(file) = settings.get("file").filter(|file| is_seed(Path::new(file))) {
            plan.left_out.push(left_out(&file));
            gone.extend(settings.get("id"));
            *word = Word::nothing();
        }
    }
    let is_on_it = |word: &Word| {
        word.is("device") && word.settings("driver").get("drive").is_some_and(|drive| gone.contains(&drive))
    };
    words.retain(|word| !is_on_it(word));
    let is_virtio_drive =
        |word: &Word| word.is("drive") && word.settings("file").get("if").as_deref() == Some("virtio");
    let device = words.iter().filter(|word| word.is("device")).find_map(|word| {
        let driver = word.settings("driver").get("driver")?;
        DEVICES.contains(&driver.as_str()).then_some(driver)
    });
    let drive = format!("file={path},format=raw,readonly=on,id={NODE}");
    match device {
        Some(driver) => {
            words.push(Word::new("drive", format!("{drive},if=none")));
            // QEMU makes devices told in JSON after all others: the disk must not come before those that were there,
            // whose places and names in the guest would be other ones, nor be booted from.
            let device = json!({ "driver": driver, "drive": NODE, "id": format!("{NODE}-disk") });
            words.push(Word::new("device", device.to_string()));
        }
        None if words.iter().any(is_virtio_drive) => {
            words.push(Word::new("drive", format!("{drive},if=virtio")));
        }
        None => words.push(Word::new("drive", format!("{drive},media=cdrom"))),
    }
    plan.arguments = words::write(&words);
    Ok(())
}

/// Gives a domain that was planned the disk.
pub fn seed_libvirt(domain: &mut LibvirtDefinition, seed: &Path) -> Result<()> {
    let unread = |e: xmltree::ParseError| refused(format!("its definition cannot be read: {e}"));
    let mut root = Element::parse(domain.text.as_bytes()).map_err(unread)?;
    let devices = root.get_mut_child("devices").ok_or_else(|| refused("its definition has no devices"))?;
    let (mut names, mut bus) = (Vec::new(), None);
    let left = &mut domain.left_out;
    domain::retain(devices, "disk", |disk| {
        let of = |child: &str, key: &str| disk.get_child(child)?.attributes.get(key).cloned();
        if let Some(file) = of("source", "file").filter(|file| is_seed(Path::new(file))) {
            left.push(left_out(&file));
            return false;
        }
        names.extend(of("target", "dev"));
        bus = bus.take().or_else(|| of("target", "bus"));
        true
    });
    let bus = bus.unwrap_or_else(|| "virtio".to_owned());
    let prefix = match bus.as_str() {
        "virtio" => "vd",
        "ide" => "hd",
        _ => "sd",
    };
    let name = LETTERS.map(|letter| format!("{prefix}{letter}")).find(|name| !names.contains(name));
    let name = name.ok_or_else(|| refused("it has no name left for one more disk"))?;
    devices.children.push(XMLNode::Element(disk(&text_of(seed)?, &name, &bus)));
    let mut written = Vec::new();
    let config = EmitterConfig::new().perform_indent(true).write_document_declaration(false);
    root.write_with_config(&mut written, config)
        .map_err(|e| refused(format!("its definition cannot be written: {e}")))?;
    domain.text =
        String::from_utf8(written).map_err(|e| refused(format!("its definition is no text: {e}")))? + "\n";
    Ok(())
}

fn disk(file: &str, name: &str, bus: &str) -> Element {
    let with = |name: &str, attributes: &[(&str, &str)]| {
        let mut element = Element::new(name);
        element.attributes.extend(attributes.iter().map(|(key, value)| ((*key).into(), (*value).to_owned())));
        element
    };
    let mut disk = with("disk", &[("type", "file"), ("device", "disk")]);
    let parts = [
        with("driver", &[("name", "qemu"), ("type", "raw")]),
        with("source", &[("file", file)]),
        with("target", &[("dev", name), ("bus", bus)]),
        Element::new("readonly"),
    ];
    disk.children = parts.into_iter().map(XMLNode::Element).collect();
    disk
}

fn left_out(file: &str) -> LeftOut {
    LeftOut { what: format!("the seed disk {file}"), reason: "it tells another guest who it is".to_owned() }
}

/// Whether a file is labelled as one. What cannot be read is none.
fn is_seed(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let is_label = |(offset, length): &(u64, usize)| {
        let mut label = vec![0; *length];
        let read = file.seek(SeekFrom::Start(*offset)).and_then(|_| file.read_exact(&mut label));
        read.is_ok() && String::from_utf8_lossy(&label).trim_end().eq_ignore_ascii_case(LABEL)
    };
    LABELS.iter().any(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &[&str]) -> QemuPlan {
        QemuPlan {
            program: "qemu".into(),
            arguments: words.iter().map(|&word| word.to_owned()).collect(),
            folder: "/run/m".into(),
            qmp: "/run/m/qmp".into(),
            agent: None,
            tpm: None,
            left_out: Vec::new(),
        }
    }

    fn seeded(words: &[&str]) -> Vec<String> {
        let mut plan = plan(words);
        seed_qemu(&mut plan, Path::new("/m/seed,1.iso")).expect("seeded");
        plan.arguments
    }

    #[test]
    fn the_disk_is_of_the_kind_that_the_machine_has() {
        let drive = "file=/m/seed,,1.iso,format=raw,readonly=on,id=strongroom-seed";
        let none = format!("{drive},if=none");
        let device = r#"{"drive":"strongroom-seed","driver":"virtio-blk-pci","id":"strongroom-seed-disk"}"#;
        let json = r#"{"driver":"virtio-blk-pci","drive":"d0","id":"d"}"#;
        assert_eq!(seeded(&["-device", json])[2..], ["-drive", &none, "-device", device]);
        let virtio = format!("{drive},if=virtio");
        assert_eq!(seeded(&["-drive", "file=/a,if=virtio"])[2..], ["-drive", &virtio]);
        assert_eq!(seeded(&["-m", "1"])[2..], ["-drive", &format!("{drive},media=cdrom")]);
    }

    #[test]
    fn another_guests_goes() {
        let folder = tempfile::tempdir().expect("tempdir");
        let old = folder.path().join("old.iso");
        let mut bytes = vec![0; 40_960];
        bytes[32_808..32_814].copy_from_slice(b"CIDATA");
        bytes[32_814..32_840].fill(b' ');
        std::fs::write(&old, bytes).expect("written");
        let drive = format!("file={},media=cdrom,if=none,id=s", old.display());
        let words = ["-drive", &drive, "-device", "ide-cd,drive=s", "-m", "1"];
        let arguments = seeded(&words);
        assert_eq!(arguments[..2], ["-m", "1"]);
        assert_eq!(arguments.len(), 4);
        let text = format!(
            "<domain><devices><disk><source file='{}'/><target dev='vda' bus='virtio'/></disk>\
             <disk><source file='/x'/><target dev='vdb' bus='virtio'/></disk></devices></domain>",
            old.display()
        );
        let mut domain = LibvirtDefinition { name: "m".into(), text, is_new: true, left_out: Vec::new() };
        seed_libvirt(&mut domain, Path::new("/m/seed.iso")).expect("seeded");
        assert_eq!(domain.left_out.len(), 1);
        assert!(!domain.text.contains("old.iso") && domain.text.contains("/m/seed.iso"), "{}", domain.text);
        assert!(domain.text.contains("dev=\"vda\"") && domain.text.contains("readonly"), "{}", domain.text);
    }
}
