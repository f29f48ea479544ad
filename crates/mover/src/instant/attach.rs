//! How a machine is given the disks of an instant restore, by whoever starts it.

use super::folder::{monitor, server};
use super::{InstantDisk, Journal};
use serde_json::json;
use std::path::Path;

/// The words of a QEMU's command line: the disks, in order, and the monitor that we use. A disk whose data cannot be
/// read stops the guest, which is not told of an error that passes.
pub fn qemu_arguments(folder: &Path, journal: &Journal) -> Vec<String> {
    let mut words = Vec::new();
    for (index, disk) in journal.disks.iter().filter(|disk| !disk.firmware).enumerate() {
        let node = format!("disk{index}");
        let file = json!({ "driver": "file", "filename": disk.image, "discard": "unmap" });
        let blockdev = json!({ "driver": "qcow2", "node-name": node, "discard": "unmap", "file": file });
        let device = json!({ "driver": "virtio-blk-pci", "drive": node, "id": disk.name,
                             "werror": "stop", "rerror": "stop" });
        words.extend([
            "-blockdev".to_owned(),
            blockdev.to_string(),
            "-device".to_owned(),
            device.to_string(),
        ]);
    }
    let monitor = format!("unix:{},server=on,wait=off", monitor(folder).display());
    words.extend(["-qmp".to_owned(), monitor]);
    words
}

/// A disk of a libvirt domain. libvirt must be told what lies beneath: what stands in the image it reads only in part.
pub fn libvirt_disk(folder: &Path, journal: &Journal, disk: &InstantDisk, target: &str) -> String {
    let text = |path: &Path| escaped(&path.display().to_string());
    format!(
        "<disk type='file' device='disk'>\
         <driver name='qemu' type='qcow2' discard='unmap' error_policy='stop' rerror_policy='stop'/>\
         <source file='{image}'/>\
         <backingStore type='network'><format type='raw'/>\
         <source protocol='nbd' name='{export}'><host transport='unix' socket='{socket}'/>\
         <reconnect delay='{delay}'/></source><backingStore/></backingStore>\
         <target dev='{target}' bus='virtio'/></disk>",
        image = text(&disk.image),
        export = escaped(&disk.name),
        socket = text(&server(folder)),
        delay = journal.patience_s,
        target = escaped(target),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
