//! Network cards in libvirt's XML.

use super::domain::{retain, tell};
use super::recreation::{LeftOut, Macs, Network, Recreation, new_mac};
use xmltree::{Element, XMLNode};

/// What of a card says to what it is connected.
const CONNECTION: [&str; 7] = ["source", "target", "virtualport", "backend", "portgroup", "ip", "route"];
/// Under which names a card's source names what it is connected to.
const SOURCES: [&str; 3] = ["bridge", "network", "dev"];

pub(super) fn connect(devices: &mut Element, recreation: &Recreation, left_out: &mut Vec<LeftOut>) {
    let mut number = 0;
    retain(devices, "interface", |card| {
        let kind = card.attributes.get("type").cloned().unwrap_or_default();
        // The name of the host's end; libvirt chooses one.
        let _ = card.take_child("target");
        if let Macs::New(random) = recreation.macs {
            let _ = card.take_child("mac");
            let mut mac = Element::new("mac");
            mac.attributes.insert("address".into(), new_mac(random, number));
            card.children.insert(0, XMLNode::Element(mac));
        }
        number += 1;
        match &recreation.network {
            Network::Keep | Network::Remap(_)
                if matches!(kind.as_str(), "hostdev" | "vdpa" | "vhostuser") =>
            {
                let what = format!("the network card {number} ({kind})");
                tell(left_out, what, "it is one of the host, and the original may be using it");
                return false;
            }
            Network::Keep => {}
            Network::Disconnected => disconnect(card),
            Network::Isolated => isolate(card),
            Network::Remap(map) => {
                let source = card.get_mut_child("source");
                let named = source.and_then(|source| {
                    let key = *SOURCES.iter().find(|key| source.attributes.contains_key(**key))?;
                    Some((map.get(source.attributes.get(key)?)?.clone(), key, source))
                });
                match named {
                    Some((new, key, source)) => drop(source.attributes.insert(key.to_owned(), new)),
                    None => tell(
                        left_out,
                        format!("another network for card {number}"),
                        "no mapping names its own",
                    ),
                }
            }
        }
        true
    });
}

/// The card is there with its link down. It is moved off the host's network as well: what raises the link must not
/// put two of one address onto it.
fn disconnect(card: &mut Element) {
    stand_alone(card, "user");
    let _ = card.take_child("link");
    let mut link = Element::new("link");
    link.attributes.insert("state".into(), "down".into());
    card.children.push(XMLNode::Element(link));
}

fn isolate(card: &mut Element) {
    stand_alone(card, "network");
    let mut source = Element::new("source");
    source.attributes.insert("network".into(), Network::ISOLATED_NETWORK.into());
    card.children.push(XMLNode::Element(source));
}

fn stand_alone(card: &mut Element, kind: &str) {
    card.attributes.insert("type".into(), kind.to_owned());
    card.attributes.remove("managed");
    for name in CONNECTION.iter().chain(&["vlan", "filterref", "bandwidth"]) {
        while card.take_child(*name).is_some() {}
    }
}
