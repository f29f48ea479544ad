//! Network cards: their addresses, and what they are connected to.

use super::command_line::Draft;
use super::recreation::{Macs, Network, new_mac, refused};
use super::words::{Settings, Word};
use crate::{NicDescription, Result};
use std::collections::BTreeMap;

/// Connections that only who started QEMU could make again.
const HANDED_OVER: [&str; 4] = ["fd", "fds", "vhostfd", "vhostfds"];
/// Connections to programs or devices of the host.
const OUTSIDE: [&str; 3] = ["vhost-user", "vhost-vdpa", "af-xdp"];
/// What a card of QEMU's is on a `-nic`.
const OF_CARD: [&str; 3] = ["model", "mac", "macaddr"];

/// Settles all cards.
pub(super) fn connect(draft: &mut Draft<'_>) -> Result<()> {
    own_card(draft);
    let mut hub = 0;
    let mut has_legacy_backend = false;
    for at in 0..draft.words.len() {
        let word = draft.words[at].clone();
        let settings = word.settings("type");
        let kind = settings.get("type").unwrap_or_default();
        let replaced = match word.option.as_str() {
            "netdev" => backend(draft, &settings, &["id"], &mut hub)?,
            "nic" if kind != "none" => backend(draft, &settings, &OF_CARD, &mut hub)?,
            "net" if kind != "nic" && kind != "none" => {
                let another = std::mem::replace(&mut has_legacy_backend, true);
                legacy(draft, &settings, another)?
            }
            _ => continue,
        };
        draft.words[at] =
            replaced.map_or_else(Word::nothing, |settings| Word::new(&word.option, settings.write()));
    }
    plugged(draft, &mut hub);
    addresses(draft);
    Ok(())
}

/// QEMU gives a machine a card of its own where nobody says a word about cards; it is said now, if it is not to be on
/// the host's network.
fn own_card(draft: &mut Draft<'_>) {
    let says = ["netdev", "nic", "net", "nodefaults"];
    let is_silent = !draft.words.iter().any(|word| says.contains(&word.option.as_str()));
    if let (true, Network::Disconnected | Network::Isolated, [card]) =
        (is_silent, &draft.recreation.network, &draft.description.nics[..])
    {
        draft.words.push(Word::new("nic", format!("user,model={},mac={}", card.driver, card.mac)));
    }
}

/// What takes the place of a connection, keeping `own` settings; none: nothing does.
fn backend(draft: &mut Draft<'_>, old: &Settings, own: &[&str], hub: &mut u32) -> Result<Option<Settings>> {
    let fresh = |kind: &str, more: (&str, String)| {
        let mut new = Settings::Pairs(Vec::new());
        new.set("type", kind);
        for key in own {
            old.get(key).into_iter().for_each(|value| new.set(key, value));
        }
        new.set(more.0, more.1);
        Some(new)
    };
    match &draft.recreation.network {
        // A hub of its own, to which nothing else is plugged.
        Network::Disconnected => {
            *hub += 1;
            Ok(fresh("hubport", ("hubid", hub.to_string())))
        }
        Network::Isolated => Ok(fresh("user", ("restrict", "on".into()))),
        Network::Keep => kept(old).map(Some),
        Network::Remap(map) => {
            let mut new = kept(old)?;
            if !remap(&mut new, map) {
                draft.leave_out("another network for a card", format!("no mapping names {}", old.write()));
            }
            Ok(Some(new))
        }
    }
}

fn kept(old: &Settings) -> Result<Settings> {
    let kind = old.get("type").unwrap_or_default();
    let is_handed_over = HANDED_OVER.iter().any(|key| old.get(key).is_some());
    if is_handed_over || OUTSIDE.contains(&kind.as_str()) {
        let text = format!(
            "its network card's connection ({}) was made by another program; choose another network: \
             disconnected or isolated",
            old.write()
        );
        return Err(refused(text));
    }
    Ok(old.clone())
}

fn remap(settings: &mut Settings, map: &BTreeMap<String, String>) -> bool {
    for key in ["br", "ifname"] {
        if let Some(new) = settings.get(key).and_then(|old| map.get(&old)) {
            settings.set(key, new);
            return true;
        }
    }
    false
}

/// `-net`, the oldest form: all cards and connections of it are on one hub.
fn legacy(draft: &mut Draft<'_>, old: &Settings, has_another: bool) -> Result<Option<Settings>> {
    match draft.recreation.network {
        Network::Disconnected => Ok(None),
        Network::Isolated if has_another => Ok(None),
        _ => backend(draft, old, &[], &mut 0),
    }
}

/// Cards that were plugged in later: their connection is not on the command line, but a card on none can be made.
fn plugged(draft: &mut Draft<'_>, hub: &mut u32) {
    let later = &draft.description.plugged_later;
    let cards: Vec<NicDescription> = draft.description.nics.to_vec();
    for card in cards.iter().filter(|card| later.iter().any(|device| device.id == card.id)) {
        let kind = match draft.recreation.network {
            Network::Disconnected => {
                *hub += 1;
                format!("hubport,hubid={hub}")
            }
            Network::Isolated => "user,restrict=on".to_owned(),
            _ => {
                draft.leave_out(
                    format!("the network card {}", card.id),
                    "it was plugged in later, so its connection is not known",
                );
                continue;
            }
        };
        draft.words.push(Word::new("netdev", format!("{kind},id=net-{}", card.id)));
        let device = format!("{},netdev=net-{},id={},mac={}", card.driver, card.id, card.id, card.mac);
        draft.words.push(Word::new("device", device));
    }
    let is_known = |id: &str| {
        draft.description.nics.iter().any(|card| card.id == id)
            || draft.description.disks.iter().any(|disk| disk.device.contains(&format!("/{id}")))
    };
    let others: Vec<_> = later.iter().filter(|device| !is_known(&device.id)).cloned().collect();
    for device in others {
        let what = format!("the device {} ({})", device.id, device.driver);
        draft.leave_out(what, "it was plugged in later, and how is not known");
    }
}

fn addresses(draft: &mut Draft<'_>) {
    let mut number = 0;
    for word in &mut draft.words {
        let (implied, key) = match word.option.as_str() {
            "device" => ("driver", "mac"),
            "nic" => ("type", "mac"),
            "net" => ("type", "macaddr"),
            _ => continue,
        };
        let mut settings = word.settings(implied);
        let netdev = settings.get("netdev");
        let is_card = match word.option.as_str() {
            "device" => netdev.is_some() || settings.get("mac").is_some(),
            "net" => settings.get("type").as_deref() == Some("nic"),
            _ => settings.get("type").as_deref() != Some("none"),
        };
        if !is_card {
            continue;
        }
        let id = settings.get("id");
        let was = draft
            .description
            .nics
            .iter()
            .find(|card| id.as_ref() == Some(&card.id) || (netdev.is_some() && netdev == card.netdev));
        let mac = match draft.recreation.macs {
            Macs::New(random) => Some(new_mac(random, number)),
            // QEMU chooses addresses by counting: said aloud, they stay when a card is gone.
            Macs::Keep => was.filter(|_| word.is("device")).map(|card| card.mac.clone()),
        };
        number += 1;
        if let Some(mac) = mac {
            settings.set(key, mac);
            *word = Word::new(&word.option.clone(), settings.write());
        }
    }
}
