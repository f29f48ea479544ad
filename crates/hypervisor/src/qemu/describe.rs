//! What a machine is, by QEMU's own account.

use super::devices::{Devices, property};
use super::discover::{command_line, working_folder};
use super::graph::Graph;
use super::names;
use crate::qmp::Qmp;
use crate::{
    DiskDescription, Error, ErrorKind, FirmwareDescription, FirmwareKind, MachineDescription, Result,
    SkippedDrive,
};
use serde_json::Value;

/// Asks QEMU for everything.
pub(crate) async fn describe(qmp: &Qmp) -> Result<MachineDescription> {
    let ask = |command: &'static str| qmp.execute(command, Value::Null);
    let name = ask("query-name").await?["name"].as_str().map(str::to_owned);
    let uuid = ask("query-uuid").await?["UUID"].as_str().and_then(set_uuid);
    let status = ask("query-status").await?["status"].as_str().unwrap_or("?").to_owned();
    let cpus = ask("query-cpus-fast").await?.as_array().map_or(0, Vec::len) as u64;
    let memory = ask("query-memory-size-summary").await?;
    let bytes = |key: &str| memory[key].as_u64().unwrap_or(0);
    let memory_bytes = bytes("base-memory") + bytes("plugged-memory");
    let (disks, skipped) = disks(qmp).await?;
    let argv = qmp.peer().pid.and_then(command_line).unwrap_or_default();
    let folder = qmp.peer().pid.filter(|_| !argv.is_empty()).map(working_folder);
    let qemu = qmp.version().clone();
    let devices = Devices::read(qmp).await?;
    let firmware = nvram(qmp, &disks).await?;
    let is_disk = |disk: &&DiskDescription| firmware.iter().all(|one| one.name != disk.id);
    Ok(MachineDescription {
        boot: boot_disk(qmp, disks.iter().filter(is_disk)).await?,
        firmware,
        nics: devices.nics(qmp).await?,
        plugged_later: devices.plugged_later(&argv),
        name,
        uuid,
        status,
        stopped: false,
        qemu,
        cpus,
        memory_bytes,
        disks,
        skipped,
        argv,
        folder: folder.and_then(|folder| folder.to_str().map(str::to_owned)),
        definition: None,
    })
}

/// Flash memories among the drives. They are frozen like all others.
async fn nvram(qmp: &Qmp, disks: &[DiskDescription]) -> Result<Vec<FirmwareDescription>> {
    let mut found = Vec::new();
    for disk in disks.iter().filter(|disk| !disk.device.starts_with("/machine/peripheral")) {
        let driver = property(qmp, &disk.device, "type").await?;
        if driver.is_some_and(|driver| driver.starts_with("cfi.pflash")) {
            let (name, file) = (disk.id.clone(), disk.file.clone());
            found.push(FirmwareDescription { name, kind: FirmwareKind::Nvram, file });
        }
    }
    Ok(found)
}

/// All zeros is QEMU's way of saying that none was set.
fn set_uuid(uuid: &str) -> Option<String> {
    uuid.chars().any(|c| !matches!(c, '0' | '-')).then(|| uuid.to_ascii_lowercase())
}

/// The drives of the machine, protected and not. A filter of ours on top of a disk is seen through.
pub(crate) async fn disks(qmp: &Qmp) -> Result<(Vec<DiskDescription>, Vec<SkippedDrive>)> {
    let drives = qmp.execute("query-block", Value::Null).await?;
    let (mut disks, mut skipped) = (Vec::new(), Vec::new());
    for drive in drives.as_array().into_iter().flatten() {
        match refusal(drive) {
            Some(reason) => {
                let id = drive_id(drive, &drive["inserted"]);
                skipped.push(SkippedDrive { id, reason: reason.to_owned() });
            }
            None if is_ours(drive) => disks.push(disk(drive, &under_filter(qmp, drive).await?)?),
            None => disks.push(disk(drive, &drive["inserted"])?),
        }
    }
    Ok((disks, skipped))
}

/// The disk that the machine boots from: of those that say when, the first; else the first of all, as firmware
/// does where nothing is said.
async fn boot_disk(
    qmp: &Qmp,
    disks: impl Iterator<Item = &DiskDescription> + Send,
) -> Result<Option<String>> {
    let mut first = None;
    for disk in disks {
        // The device that holds the drive says it; of virtio it is the one above.
        let device = disk.device.strip_suffix("/virtio-backend").unwrap_or(&disk.device);
        let place = serde_json::json!({ "path": device, "property": "bootindex" });
        let index = match qmp.execute("qom-get", place).await {
            Ok(index) => index.as_i64().filter(|index| *index >= 0),
            Err(error) if error.kind() == ErrorKind::Unreachable => return Err(error),
            Err(_) => None, // a device that no firmware boots from
        };
        let place = (index.unwrap_or(i64::MAX), &disk.id);
        if first.is_none_or(|(best, _)| place.0 < best) {
            first = Some(place);
        }
    }
    Ok(first.map(|(_, id)| id.clone()))
}

fn refusal(drive: &Value) -> Option<&'static str> {
    let Some(inserted) = drive.get("inserted") else { return Some("no medium") };
    match () {
        () if inserted["ro"] == true => Some("read-only"),
        () if drive["qdev"].as_str().is_none_or(str::is_empty) => Some("not attached to a device"),
        () => None,
    }
}

fn is_ours(drive: &Value) -> bool {
    drive["inserted"]["node-name"].as_str().is_some_and(names::is_ours)
}

/// What the disk under a filter of ours is, in the form of a drive's `inserted`.
async fn under_filter(qmp: &Qmp, drive: &Value) -> Result<Value> {
    let filter = drive["inserted"]["node-name"].as_str().unwrap_or_default();
    let graph = Graph::read(qmp).await?;
    let source = graph.child(filter, "file");
    let nodes = qmp.execute("query-named-block-nodes", serde_json::json!({ "flat": true })).await?;
    let mut nodes = nodes.as_array().into_iter().flatten();
    let node = nodes.find(|node| node["node-name"].as_str() == source && source.is_some()).cloned();
    node.ok_or_else(|| Error::new(ErrorKind::Failed, format!("find the disk under the filter {filter}")))
}

fn disk(drive: &Value, inserted: &Value) -> Result<DiskDescription> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let image = &inserted["image"];
    let format = text(&inserted["drv"]);
    let size = image["virtual-size"].as_u64();
    let size =
        size.ok_or_else(|| Error::new(ErrorKind::Failed, "read the size of a disk: QEMU does not tell"))?;
    Ok(DiskDescription {
        id: drive_id(drive, inserted),
        device: device_path(drive),
        node: text(&inserted["node-name"]),
        // Version 2 of qcow2 (compat 0.10) has no bitmaps.
        keeps_bitmaps: format == "qcow2" && image["format-specific"]["data"]["compat"] != "0.10",
        format,
        file: text(&inserted["file"]),
        size,
    })
}

/// QEMU gives the id of a device that has one, else its path; some devices (virtio) hold their drive in a
/// child, whose path it then gives.
pub(super) fn device_path(drive: &Value) -> String {
    match drive["qdev"].as_str().unwrap_or_default() {
        path if path.starts_with('/') => path.to_owned(),
        id => format!("/machine/peripheral/{id}"),
    }
}

fn drive_id(drive: &Value, inserted: &Value) -> String {
    let path = device_path(drive);
    let device_id = path.strip_prefix("/machine/peripheral/").and_then(|rest| rest.split('/').next());
    let node = inserted["node-name"].as_str().filter(|node| !node.starts_with('#'));
    let name = drive["device"].as_str().filter(|name| !name.is_empty());
    let known = device_id.filter(|id| !id.is_empty()).or(node).or(name);
    known.unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn disks_are_known_by_what_survives_a_restart() {
        let id = |qdev: &str, node: &str, device: &str| {
            drive_id(&json!({ "qdev": qdev, "device": device }), &json!({ "node-name": node }))
        };
        assert_eq!(id("/machine/peripheral/d0/virtio-backend", "disk0", ""), "d0");
        assert_eq!(id("scsi0", "#block101", "drive0"), "scsi0");
        assert_eq!(id("/machine/peripheral-anon/device[2]/virtio-backend", "disk0", ""), "disk0");
        assert_eq!(id("/machine/peripheral-anon/device[4]", "#block101", "virtio0"), "virtio0");
        assert_eq!(
            id("/machine/peripheral-anon/device[4]", "#block101", ""),
            "/machine/peripheral-anon/device[4]"
        );
    }

    #[test]
    fn a_zero_uuid_is_none() {
        assert_eq!(set_uuid("00000000-0000-0000-0000-000000000000"), None);
        assert_eq!(set_uuid("0000000A-0000-0000-0000-000000000000").unwrap().as_bytes()[7], b'a');
    }
}
