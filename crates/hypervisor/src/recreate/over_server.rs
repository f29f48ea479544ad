//! Disks that are overlays over a server: when that is gone, the guest is stopped rather than told of an error.

use super::recreation::{OverServer, text_of};
use super::words::Word;
use crate::Result;
use xmltree::{Element, XMLNode};

/// Every kind of disk of QEMU's that can be told what to do about errors. Said for the kind, it goes before what a
/// `-drive` says.
const DISKS: [&str; 4] = ["virtio-blk-device", "scsi-hd", "scsi-block", "ide-hd"];

/// What a command line needs besides.
pub(super) fn words(over: &OverServer) -> Result<Vec<Word>> {
    let stop = |kind: &&str| {
        ["rerror", "werror"]
            .map(|what| Word::new("global", format!("driver={kind},property={what},value=stop")))
    };
    let monitor = text_of(&over.monitor)?.replace(',', ",,");
    let monitor = Word::new("qmp", format!("unix:{monitor},server=on,wait=off"));
    Ok(DISKS.iter().flat_map(stop).chain([monitor]).collect())
}

/// Tells libvirt what lies beneath a disk: what stands in the image it reads only in part.
pub(super) fn place(disk: &mut Element, name: &str, over: &OverServer) -> Result<()> {
    let driver = disk.get_mut_child("driver").expect("it was put there with the file");
    for policy in ["error_policy", "rerror_policy"] {
        driver.attributes.insert(policy.into(), "stop".into());
    }
    let mut source = with("source", &[("protocol", "nbd"), ("name", name)], Vec::new());
    let host = [("transport", "unix"), ("socket", &text_of(&over.socket)?)];
    source.children.push(XMLNode::Element(with("host", &host, Vec::new())));
    let delay = over.patience_s.to_string();
    source.children.push(XMLNode::Element(with("reconnect", &[("delay", &delay)], Vec::new())));
    let format = with("format", &[("type", "raw")], Vec::new());
    let beneath =
        with("backingStore", &[("type", "network")], vec![format, source, Element::new("backingStore")]);
    let after =
        disk.children.iter().position(|node| node.as_element().is_some_and(|one| one.name == "source"));
    disk.children.insert(after.map_or(0, |at| at + 1), XMLNode::Element(beneath));
    Ok(())
}

fn with(name: &str, attributes: &[(&str, &str)], children: Vec<Element>) -> Element {
    let mut element = Element::new(name);
    for (key, value) in attributes {
        element.attributes.insert((*key).into(), (*value).into());
    }
    element.children = children.into_iter().map(XMLNode::Element).collect();
    element
}
