//! libvirt's XML for the new machine: its definition at the point's time, changed where it must be.

use super::recreation::{Identity, LeftOut, Recreation, RestoredFile, refused, text_of};
use super::{interfaces, over_server};
use crate::{FirmwareKind, MachineDescription, Result};
use std::path::Path;
use xmltree::{Element, EmitterConfig, XMLNode};

/// What is one of the host's, and the original may be using.
const OF_HOST: [&str; 4] = ["hostdev", "filesystem", "shmem", "nvram"];
/// Files that libvirt starts a guest from.
const FILES: [&str; 4] = ["kernel", "initrd", "dtb", "loader"];
/// Devices of characters.
const LINES: [&str; 5] = ["serial", "console", "parallel", "channel", "rng"];

/// A domain that can be defined.
#[derive(Clone, Debug)]
pub struct LibvirtDefinition {
    /// Its name.
    pub name: String,
    /// The XML.
    pub text: String,
    /// Whether its uuid is its own, and no earlier machine's.
    pub is_new: bool,
    /// What it has not, or differently.
    pub left_out: Vec<LeftOut>,
}

/// Plans the new machine. Nothing is done yet; the restored files need not be there.
///
/// # Errors
/// `Unsupported` with what stands in the way: a point of no machine of libvirt's, a host's file that is missing, UEFI
/// variables that are not among the restored files.
pub fn libvirt_definition(
    description: &MachineDescription,
    recreation: &Recreation,
) -> Result<LibvirtDefinition> {
    recreation.check()?;
    let definition = description.definition.as_deref();
    let text = definition.ok_or_else(|| {
        refused(
            "the point holds no definition of libvirt's; define the machine on the restored disks by hand",
        )
    })?;
    let unread = |e: xmltree::ParseError| refused(format!("its definition cannot be read: {e}"));
    let mut domain = Element::parse(text.as_bytes()).map_err(unread)?;
    let mut left_out = Vec::new();
    identity(&mut domain, recreation);
    size(&mut domain, recreation, &mut left_out)?;
    boot_files(&mut domain, description, recreation)?;
    let devices = domain.get_mut_child("devices").ok_or_else(|| refused("its definition has no devices"))?;
    disks(devices, recreation, &mut left_out)?;
    lines(devices, recreation, &mut left_out)?;
    host(devices, description, &mut left_out);
    interfaces::connect(devices, recreation, &mut left_out);
    if domain
        .children
        .iter()
        .any(|node| node.as_element().is_some_and(|one| one.prefix.as_deref() == Some("qemu")))
    {
        tell(&mut left_out, "its own words for QEMU", "they are kept, and may name what is the original's");
    }
    let mut written = Vec::new();
    let config = EmitterConfig::new().perform_indent(true).write_document_declaration(false);
    let unwritten = |e| refused(format!("its definition cannot be written: {e}"));
    domain.write_with_config(&mut written, config).map_err(unwritten)?;
    let text = String::from_utf8(written).map_err(|e| refused(format!("its definition is no text: {e}")))?;
    let is_new = matches!(recreation.uuid, Identity::New(_));
    Ok(LibvirtDefinition { name: recreation.name.clone(), text: text + "\n", is_new, left_out })
}

pub(super) fn tell(left_out: &mut Vec<LeftOut>, what: impl Into<String>, reason: impl Into<String>) {
    left_out.push(LeftOut { what: what.into(), reason: reason.into() });
}

fn identity(domain: &mut Element, recreation: &Recreation) {
    domain.attributes.remove("id");
    set_text(domain, "name", &recreation.name);
    if let Identity::New(uuid) = &recreation.uuid {
        set_text(domain, "uuid", uuid);
        // A guest is told its uuid here, too, and libvirt refuses two that differ.
        if let Some(entries) = domain.get_mut_child("sysinfo").and_then(|info| info.get_mut_child("system")) {
            retain(entries, "entry", |entry| entry.attributes.get("name").is_none_or(|name| name != "uuid"));
        }
    }
}

fn size(domain: &mut Element, recreation: &Recreation, left_out: &mut Vec<LeftOut>) -> Result<()> {
    let has_numa = domain.get_child("cpu").is_some_and(|cpu| cpu.get_child("numa").is_some());
    if has_numa && (recreation.cpus.is_some() || recreation.memory_bytes.is_some()) {
        return Err(refused(
            "its processors and memory are laid out in NUMA nodes; keep their number and size",
        ));
    }
    if let Some(cpus) = recreation.cpus {
        set_text(domain, "vcpu", &cpus.to_string());
        let vcpu = domain.get_mut_child("vcpu").expect("it was just set");
        vcpu.attributes.remove("current");
        let topology = domain.get_mut_child("cpu").and_then(|cpu| cpu.take_child("topology"));
        let each = domain.take_child("vcpus");
        let pinned = domain.take_child("cputune");
        if topology.is_some() || each.is_some() || pinned.is_some() {
            tell(left_out, "the layout and pinning of its processors", "their number is another");
        }
    }
    if let Some(bytes) = recreation.memory_bytes {
        if !bytes.is_multiple_of(1024) {
            return Err(refused("memory is told in whole KiB"));
        }
        for name in ["memory", "currentMemory"] {
            set_text(domain, name, &(bytes / 1024).to_string());
            let element = domain.get_mut_child(name).expect("it was just set");
            element.attributes.insert("unit".into(), "KiB".into());
        }
        if domain.take_child("maxMemory").is_some() {
            tell(left_out, "room for memory to be plugged in", "its size is another");
        }
    }
    Ok(())
}

fn boot_files(domain: &mut Element, description: &MachineDescription, recreation: &Recreation) -> Result<()> {
    let Some(os) = domain.get_mut_child("os") else { return Ok(()) };
    for name in FILES {
        let path = os.get_child(name).and_then(Element::get_text).map(|text| text.trim().to_owned());
        if let Some(path) = path.filter(|path| !Path::new(path).exists()) {
            return Err(refused(format!("it starts from {path} ({name}); bring that file to this host")));
        }
    }
    let Some(nvram) = os.get_mut_child("nvram") else { return Ok(()) };
    let mut known = description.firmware.iter().filter(|file| file.kind == FirmwareKind::Nvram);
    let file = known.find_map(|file| recreation.disk(&file.name));
    let missing =
        || refused("its UEFI variables are not among the restored files: it would not find what to boot");
    let path = text_of(&file.ok_or_else(missing)?.path)?;
    nvram.children = vec![XMLNode::Text(path)];
    // Where the file is told in an element of its own, that would count.
    nvram.attributes.remove("type");
    Ok(())
}

/// Each disk is a restored file, or cannot be written, or goes.
fn disks(devices: &mut Element, recreation: &Recreation, left_out: &mut Vec<LeftOut>) -> Result<()> {
    let mut placed = 0;
    let mut fault = None;
    retain(devices, "disk", |disk| {
        let target = disk.get_child("target").and_then(|target| target.attributes.get("dev").cloned());
        let id = target.unwrap_or_default();
        let kind = disk.attributes.get("device").map_or("disk", String::as_str).to_owned();
        if let Some(file) = recreation.disk(&id) {
            placed += 1;
            let over = recreation.over.as_ref();
            let placed = place(disk, file).and_then(|()| match over {
                Some(over) => over_server::place(disk, &file.disk, over),
                None => Ok(()),
            });
            fault = placed.err().or(fault.take());
            return true;
        }
        let source = disk.get_child("source").and_then(|source| source.attributes.get("file").cloned());
        if kind == "cdrom" {
            if source.as_ref().is_some_and(|path| !Path::new(path).exists()) {
                let _ = disk.take_child("source");
                tell(left_out, format!("the medium in {id}"), "it is not on this host");
            }
            return true;
        }
        if disk.get_child("readonly").is_some() && source.is_some_and(|path| Path::new(&path).exists()) {
            return true;
        }
        tell(
            left_out,
            format!("the {kind} {id}"),
            "it is not among the restored disks, and the original writes to it",
        );
        false
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    match placed {
        0 => Err(refused("none of the restored disks is one of its definition")),
        _ => Ok(()),
    }
}

fn place(disk: &mut Element, file: &RestoredFile) -> Result<()> {
    disk.attributes.insert("type".into(), "file".into());
    disk.attributes.remove("snapshot");
    for name in ["source", "backingStore", "mirror", "encryption", "auth", "alias", "state"] {
        while disk.take_child(name).is_some() {}
    }
    let mut source = Element::new("source");
    source.attributes.insert("file".into(), text_of(&file.path)?);
    disk.children.insert(0, XMLNode::Element(source));
    if disk.get_child("driver").is_none() {
        disk.children.insert(0, XMLNode::Element(Element::new("driver")));
    }
    let driver = disk.get_mut_child("driver").expect("it is there now");
    driver.attributes.insert("name".into(), "qemu".into());
    driver.attributes.insert("type".into(), file.format.clone());
    Ok(())
}

/// Serial ports and the like: files and sockets move into the machine's folder, addresses are given up.
fn lines(devices: &mut Element, recreation: &Recreation, left_out: &mut Vec<LeftOut>) -> Result<()> {
    let mut fault = None;
    for name in LINES {
        let mut number = 0;
        retain(devices, name, |line| {
            number += 1;
            let kind = line.attributes.get("type").cloned().unwrap_or_default();
            let moved = match kind.as_str() {
                "file" | "unix" => move_source(line, recreation, &format!("{name}-{number}")),
                "tcp" | "udp" | "dev" | "pipe" => {
                    tell(left_out, format!("the connection of its {name} {number}"), "it is the original's");
                    line.attributes.insert("type".into(), "null".into());
                    let _ = (line.take_child("source"), line.take_child("protocol"));
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Some(log) = line.get_mut_child("log") {
                let file = recreation.folder.join(format!("{name}-{number}.chars"));
                fault = set_path(log, "file", &file).err().or(fault.take());
            }
            fault = moved.err().or(fault.take());
            true
        });
    }
    graphics(devices, left_out);
    fault.map_or(Ok(()), Err)
}

fn move_source(line: &mut Element, recreation: &Recreation, name: &str) -> Result<()> {
    let is_socket = line.attributes.get("type").is_some_and(|kind| kind == "unix");
    let Some(source) = line.get_mut_child("source") else { return Ok(()) };
    if !source.attributes.contains_key("path") {
        return Ok(()); // libvirt finds one itself
    }
    let old = source.attributes.get("path").map(Path::new).and_then(Path::file_name);
    let name = old.map_or_else(|| name.to_owned(), |old| format!("{name}-{}", old.to_string_lossy()));
    let path = if is_socket { recreation.socket(&name)? } else { recreation.folder.join(&name) };
    set_path(source, "path", &path)
}

pub(super) fn set_path(element: &mut Element, attribute: &str, path: &Path) -> Result<()> {
    element.attributes.insert(attribute.to_owned(), text_of(path)?);
    Ok(())
}

fn graphics(devices: &mut Element, left_out: &mut Vec<LeftOut>) {
    retain(devices, "graphics", |display| {
        let had_port = display.attributes.get("autoport").is_none_or(|auto| auto != "yes");
        if had_port && display.attributes.remove("port").is_some() {
            tell(left_out, "the port of its display", "it is the original's; libvirt chooses another");
        }
        for attribute in ["tlsPort", "websocket", "socket"] {
            display.attributes.remove(attribute);
        }
        if display.attributes.get("type").is_some_and(|kind| kind == "vnc" || kind == "spice") {
            display.attributes.insert("autoport".into(), "yes".into());
        }
        true
    });
}

fn host(devices: &mut Element, description: &MachineDescription, left_out: &mut Vec<LeftOut>) {
    for name in OF_HOST {
        retain(devices, name, |_| {
            tell(left_out, format!("a {name}"), "it is one of the host, and the original may be using it");
            false
        });
    }
    retain(devices, "vsock", |vsock| {
        if let Some(cid) = vsock.get_mut_child("cid") {
            cid.attributes.remove("address");
            cid.attributes.insert("auto".into(), "yes".into());
        }
        true
    });
    let state: Vec<&str> = description
        .firmware
        .iter()
        .filter(|file| file.kind == FirmwareKind::Tpm)
        .map(|file| file.name.as_str())
        .collect();
    if devices.get_child("tpm").is_some() {
        let files = if state.is_empty() { "it is not in the point".to_owned() } else { state.join(", ") };
        let reason = format!(
            "libvirt keeps it where it chooses: before the first start put it ({files}) into \
             /var/lib/libvirt/swtpm/UUID/tpm2/, owned by swtpm's user, or the guest finds an empty TPM"
        );
        tell(left_out, "the state of its TPM", reason);
    }
}

/// Changes the children of one name, and keeps those that `is_kept` says.
pub(super) fn retain(parent: &mut Element, name: &str, mut is_kept: impl FnMut(&mut Element) -> bool) {
    parent.children.retain_mut(|node| match node.as_mut_element() {
        Some(element) if element.name == name => is_kept(element),
        _ => true,
    });
}

fn set_text(parent: &mut Element, name: &str, text: &str) {
    if parent.get_child(name).is_none() {
        parent.children.push(XMLNode::Element(Element::new(name)));
    }
    let child = parent.get_mut_child(name).expect("it is there now");
    child.children = vec![XMLNode::Text(text.to_owned())];
}
