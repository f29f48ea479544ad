//! Drives, in all the forms that people write them: each becomes a restored file, stays because nothing writes to it,
//! or goes.

use super::blockdev::Nodes;
use super::command_line::Draft;
use super::recreation::{RestoredFile, refused, text_of};
use super::words::{BARE, Settings, Word};
use crate::{DiskDescription, Result};
use serde_json::json;

/// What is of the drive rather than of its image.
const OF_DRIVE: &[&str] = &[
    "id",
    "if",
    "index",
    "bus",
    "unit",
    "media",
    "cache",
    "aio",
    "discard",
    "detect-zeroes",
    "werror",
    "rerror",
    "readonly",
    "read-only",
    "copy-on-read",
    "node-name",
    "group",
    "share-rw",
];
/// Beginnings of such.
const OF_DRIVE_GROUPS: &[&str] = &["cache.", "throttling", "iops", "bps"];

/// Where a disk stands on the command line.
enum Place {
    /// In this word, a `-drive`.
    Drive(usize),
    /// The node by this name.
    Node(String),
    /// Nowhere: it was plugged in later, as this kind of device.
    Later(String),
}

/// Replaces all drives.
pub(super) fn replace(draft: &mut Draft<'_>) -> Result<()> {
    for word in &mut draft.words {
        *word = as_drive(word);
    }
    let mut nodes = Nodes::read(&draft.words);
    let mut taken = Vec::new();
    let mut missing = Vec::new();
    for disk in &draft.description.disks {
        let place = find(draft, &nodes, disk, &taken)?;
        match (place, draft.recreation.disk(&disk.id)) {
            (_, None) if is_firmware(draft, disk) => {
                let text = format!("its flash {} is not among the restored files", disk.id);
                return Err(refused(text));
            }
            (place, None) => missing.push((place, disk.id.clone())),
            (Place::Drive(at), Some(file)) => {
                draft.words[at] = restored_drive(&draft.words[at], file)?;
                taken.push(at);
            }
            (Place::Node(name), Some(file)) => nodes.replace(&name, file)?,
            (Place::Later(driver), Some(file)) => plug(draft, &disk.id, &driver, file)?,
        }
    }
    for (place, id) in &missing {
        draft.leave_out(format!("the disk {id}"), "it is not among the restored disks");
        match place {
            Place::Drive(at) => draft.remove_drive(*at, &mut taken),
            Place::Node(name) => draft.remove_devices("drive", name),
            Place::Later(_) => {}
        }
    }
    settle_drives(draft, &taken)?;
    settle_nodes(draft, &nodes)
}

fn is_firmware(draft: &Draft<'_>, disk: &DiskDescription) -> bool {
    draft.description.firmware.iter().any(|file| file.name == disk.id)
}

/// The old short options as the long one; the meaning stays.
fn as_drive(word: &Word) -> Word {
    let more: &[(&str, &str)] = match word.option.as_str() {
        BARE | "hda" => &[("index", "0"), ("media", "disk")],
        "hdb" => &[("index", "1"), ("media", "disk")],
        "hdc" => &[("index", "2"), ("media", "disk")],
        "hdd" => &[("index", "3"), ("media", "disk")],
        "cdrom" => &[("index", "2"), ("media", "cdrom")],
        "fda" => &[("if", "floppy"), ("index", "0")],
        "fdb" => &[("if", "floppy"), ("index", "1")],
        "pflash" => &[("if", "pflash")],
        "sd" => &[("if", "sd")],
        "mtdblock" => &[("if", "mtd")],
        _ => return word.clone(),
    };
    let mut settings = Settings::Pairs(Vec::new());
    settings.set("file", word.text());
    for (key, value) in more {
        settings.set(key, *value);
    }
    Word::new("drive", settings.write())
}

/// Finds a disk: by its device, its node, its drive's name, at last by its file.
fn find(draft: &Draft<'_>, nodes: &Nodes, disk: &DiskDescription, taken: &[usize]) -> Result<Place> {
    let device_id = disk.device.strip_prefix("/machine/peripheral/").and_then(|rest| rest.split('/').next());
    let of_device = |id: &str| {
        let devices = draft.words.iter().filter(|word| word.is("device"));
        let settings = devices.map(|word| word.settings("driver"));
        settings
            .filter(|device| device.get("id").as_deref() == Some(id))
            .find_map(|device| device.get("drive"))
    };
    let names = [device_id.and_then(of_device), Some(disk.node.clone()), Some(disk.id.clone())];
    for name in names.iter().flatten() {
        if nodes.has(name) {
            return Ok(Place::Node(name.clone()));
        }
        let is_named = |settings: &Settings| {
            ["id", "node-name"].iter().any(|key| settings.get(key).as_ref() == Some(name))
        };
        if let Some(at) = draft.drive_where(is_named) {
            return Ok(Place::Drive(at));
        }
    }
    if let Some(device) = device_id
        && let Some(later) = draft.description.plugged_later.iter().find(|later| later.id == device)
    {
        return Ok(Place::Later(later.driver.clone()));
    }
    let file = draft.absolute(&disk.file);
    let is_file = |at: &usize| {
        !taken.contains(at)
            && draft.words[*at].settings("file").get("file").is_some_and(|name| draft.absolute(&name) == file)
    };
    let drives = (0..draft.words.len()).filter(|at| draft.words[*at].is("drive"));
    let mut found = drives.filter(is_file);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(Place::Drive(at)),
        _ => {
            Err(refused(format!("the disk {} ({}) is not found on QEMU's command line", disk.id, disk.file)))
        }
    }
}

fn restored_drive(old: &Word, file: &RestoredFile) -> Result<Word> {
    let mut settings = old.settings("file");
    settings
        .retain(|key| OF_DRIVE.contains(&key) || OF_DRIVE_GROUPS.iter().any(|group| key.starts_with(group)));
    settings.set("file", text_of(&file.path)?);
    settings.set("format", &file.format);
    Ok(Word::new("drive", settings.write()))
}

/// A disk that was plugged in after the start is there from the start.
fn plug(draft: &mut Draft<'_>, id: &str, driver: &str, file: &RestoredFile) -> Result<()> {
    let node = format!("restored-{}", draft.words.len());
    let image = json!({ "driver": "file", "filename": text_of(&file.path)?, "discard": "unmap" });
    let blockdev = json!({ "driver": file.format, "node-name": node, "discard": "unmap", "file": image });
    draft.words.push(Word::new("blockdev", blockdev.to_string()));
    draft.words.push(Word::new("device", json!({ "driver": driver, "drive": node, "id": id }).to_string()));
    draft
        .leave_out(format!("the place of the disk {id}"), "it was plugged in later; its slot may be another");
    Ok(())
}

/// Drives that are no restored disks: kept if nothing can write to them, and there.
fn settle_drives(draft: &mut Draft<'_>, taken: &[usize]) -> Result<()> {
    let mut gone = Vec::new();
    for at in 0..draft.words.len() {
        if taken.contains(&at) || !draft.words[at].is("drive") {
            continue;
        }
        let mut settings = draft.words[at].settings("file");
        let Some(name) = settings.get("file") else {
            if settings.keys().iter().any(|key| key.starts_with("file.") || *key == "driver") {
                gone.push(at); // of a protocol, or a file told in parts: only disks of the point are understood
            }
            continue;
        };
        let is_cd = settings.get("media").as_deref() == Some("cdrom");
        let is_read_only = is_cd || settings.is_on("readonly") || settings.is_on("read-only");
        let is_flash = settings.get("if").as_deref() == Some("pflash");
        let path = draft.absolute(&name);
        match () {
            () if is_read_only && path.exists() => {
                settings.set("file", text_of(&path)?);
                draft.words[at] = Word::new("drive", settings.write());
            }
            () if is_flash => {
                return Err(refused(format!(
                    "its firmware {} is not on this host, or not in the point",
                    path.display()
                )));
            }
            () if is_cd => {
                settings.retain(|key| !matches!(key, "file" | "format"));
                draft.words[at] = Word::new("drive", settings.write());
                draft.leave_out(format!("the medium {}", path.display()), "it is not on this host");
            }
            () => gone.push(at),
        }
    }
    for at in gone.iter().rev() {
        let what = format!("the drive {}", draft.words[*at].text());
        draft.leave_out(what, "it is in no point, and the original may write to it");
        draft.remove_drive(*at, &mut Vec::new());
    }
    Ok(())
}

/// Nodes of `-blockdev` likewise; those that nothing stands on any more are forgotten.
fn settle_nodes(draft: &mut Draft<'_>, nodes: &Nodes) -> Result<()> {
    for name in attached(draft) {
        let Some(node) = nodes.get(&name) else { continue };
        if nodes.is_replaced(&name) {
            continue;
        }
        let file = node.file.as_deref().map(|file| draft.absolute(file));
        if node.is_read_only && file.as_ref().is_some_and(|file| file.exists()) {
            continue;
        }
        let is_flash = draft.words.iter().any(|word| is_flash_of(word, &name));
        if is_flash {
            return Err(refused(format!(
                "its firmware in the node {name} is not on this host, or not in the point"
            )));
        }
        let what = format!("the drive {name}");
        draft.leave_out(what, "it is in no point, and the original may write to it");
        draft.remove_devices("drive", &name);
    }
    let attached = attached(draft);
    nodes.write(&mut draft.words, &attached);
    Ok(())
}

/// Nodes that devices or flash stand on.
fn attached(draft: &Draft<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for word in &draft.words {
        match word.option.as_str() {
            "device" => names.extend(word.settings("driver").get("drive")),
            "machine" | "M" => {
                let settings = word.settings("type");
                let flash = settings.keys().into_iter().filter(|key| key.starts_with("pflash"));
                names.extend(flash.filter_map(|key| settings.get(key)));
            }
            _ => {}
        }
    }
    names
}

fn is_flash_of(word: &Word, node: &str) -> bool {
    let settings = word.settings("type");
    let is_machine = word.is("machine") || word.is("M");
    let mut keys = settings.keys().into_iter().filter(|key| key.starts_with("pflash"));
    is_machine && keys.any(|key| settings.get(key).as_deref() == Some(node))
}

impl Draft<'_> {
    fn drive_where(&self, is_meant: impl Fn(&Settings) -> bool) -> Option<usize> {
        self.words.iter().position(|word| word.is("drive") && is_meant(&word.settings("file")))
    }

    /// Takes a drive out, and the device on it.
    fn remove_drive(&mut self, at: usize, taken: &mut Vec<usize>) {
        let settings = self.words[at].settings("file");
        self.words[at] = Word::nothing();
        taken.push(at);
        if let Some(id) = settings.get("id") {
            self.remove_devices("drive", &id);
        }
    }
}
