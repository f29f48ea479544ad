//! What hosts tell of their machines, and which of them come under protection by themselves.
//!
//! A hypervisor may be hostile, and its machines' owners certainly may: what is told is bounded here, and nothing of it
//! decides what becomes of points.

use crate::machines::tag;
use crate::request::settings;
use crate::{Actor, Control, Error, Result};
use api::work::{Inventory, SeenMachine};
use api::{AutoProtect, Code, MachineDisk, MachineState};
use catalog::{Machine, MachineFilter, PAGE_MAX, Seen};
use model::{HostId, MachineId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Machines of one host.
const MACHINES_MAX: usize = 10_000;
/// Characters of a name; longer ones are cut.
const NAME_MAX: usize = 255;
/// Characters of an obstacle.
const OBSTACLE_MAX: usize = 1000;
/// Disks of a machine.
const DISKS_MAX: usize = 256;
/// Bytes of all else that is told of a machine; more is left out, for nothing here needs it.
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;
/// Why a machine that is gone cannot be protected.
const GONE: &str = "its host no longer tells of it";
/// Who protects machines that nobody named.
const AUTO_PROTECT: &str = "auto-protect";

/// What is told of a machine, as it is stored: its `description` in the catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) state: MachineState,
    pub(crate) disks: Vec<MachineDisk>,
    pub(crate) obstacle: Option<String>,
    description: Value,
}

impl Told {
    pub(crate) fn of(row: &Machine) -> Self {
        let unknown = || Self {
            state: MachineState::Unknown,
            disks: Vec::new(),
            obstacle: None,
            description: row.description.clone(),
        };
        serde_json::from_value(row.description.clone()).unwrap_or_else(|_| unknown())
    }

    fn value(&self) -> Value {
        serde_json::to_value(self).expect("plain data")
    }
}

impl Control {
    /// Takes in what a mover tells of all machines of a host: new ones, changes, those that are gone. Then protects
    /// those that a vault's rules want.
    ///
    /// # Errors
    /// `NotFound` when the host is not one of the mover's.
    pub async fn take_inventory(&self, mover: &str, inventory: Inventory) -> Result<()> {
        let hosts = self.catalog.hosts().await?;
        if !hosts.iter().any(|host| host.id == inventory.host && host.mover == mover) {
            return Err(Error::not_found(format!("host {} of the mover {mover}", inventory.host)));
        }
        let found = inventory.machines.len();
        if found > MACHINES_MAX {
            let rule = format!("must have at most {MACHINES_MAX} entries, has {found}");
            return Err(Error::invalid("/machines", rule));
        }
        let seen = self.compared(inventory).await?;
        self.catalog.see_machines(seen.0, &seen.1, self.now()).await?;
        self.auto_protect(seen.0).await
    }

    async fn compared(&self, inventory: Inventory) -> Result<(HostId, Seen)> {
        let host = inventory.host;
        let known = self.catalog.machines_on(host).await?;
        let mut known: HashMap<String, Machine> =
            known.into_iter().map(|row| (row.known_as.clone(), row)).collect();
        let mut seen = Seen::default();
        let mut told = HashSet::new();
        for machine in inventory.machines.into_iter().filter_map(bounded) {
            // Two that are known as one: the first counts.
            if !told.insert(machine.known_as.clone()) {
                continue;
            }
            let before = known.remove(&machine.known_as);
            if before.as_ref().is_some_and(|row| row.name == machine.name && row.description == machine.told)
            {
                continue;
            }
            let is_new = before.is_none();
            let id = match before {
                Some(row) => row.id,
                // A vault that was taken in may have points of it already.
                None => {
                    let adopted = self.catalog.adopted_machine(&machine.known_as).await?;
                    adopted.unwrap_or_else(|| MachineId(self.draw()))
                }
            };
            seen.changed.push(Machine {
                id,
                host,
                known_as: machine.known_as,
                name: machine.name,
                tags: if is_new { self.catalog.adopted_tags(id).await? } else { BTreeMap::new() },
                description: machine.told,
                seen: self.now(),
            });
        }
        self.part(known.into_values().collect(), &mut seen).await?;
        Ok((host, seen))
    }

    /// Those that are gone: what has items stays, and says so.
    async fn part(&self, gone: Vec<Machine>, seen: &mut Seen) -> Result<()> {
        for some in gone.chunks(PAGE_MAX as usize) {
            let ids: Vec<_> = some.iter().map(|row| row.id).collect();
            let items = self.catalog.items_of(&ids).await?;
            let with_items: HashSet<_> = items.iter().map(|item| item.machine).collect();
            for row in some {
                if !with_items.contains(&row.id) {
                    seen.gone.push(row.id);
                    continue;
                }
                let told = Told::of(row);
                let told = Told { state: MachineState::Unknown, obstacle: Some(GONE.to_owned()), ..told };
                // When it was last seen stays what it was.
                seen.changed.push(Machine { description: told.value(), ..row.clone() });
            }
        }
        Ok(())
    }

    /// Protects those machines of a host that no vault has anything of and a rule wants.
    async fn auto_protect(&self, host: HostId) -> Result<()> {
        let mut rules: Vec<(VaultId, AutoProtect)> = Vec::new();
        for vault in self.catalog.vaults().await? {
            rules.extend(settings(&vault)?.auto_protect.into_iter().map(|rule| (vault.id, rule)));
        }
        if rules.is_empty() {
            return Ok(());
        }
        let actor = Actor(AUTO_PROTECT.to_owned());
        let standing = Some("protectable".to_owned());
        let filter = MachineFilter { host: Some(host), standing, ..MachineFilter::default() };
        let mut place = None;
        loop {
            let page = self.catalog.machines(&filter, place.as_ref(), PAGE_MAX).await?;
            for machine in &page.rows {
                let Some((vault, rule)) = rules.iter().find(|(_, rule)| wants(rule, machine)) else {
                    continue;
                };
                let protected = self.protect(&actor, *vault, machine, rule.policy).await;
                // Somebody may have been quicker, or the policy is gone. The next inventory tries again.
                if let Err(error) = protected {
                    let machine = machine.name.as_str();
                    tracing::warn!(machine, %vault, %error, "a machine could not be protected by itself");
                }
            }
            place = page.next;
            if place.is_none() {
                return Ok(());
            }
        }
    }
}

/// A machine as it is told, within limits.
struct Bounded {
    known_as: String,
    name: String,
    told: Value,
}

/// None if nobody could tell it from others.
fn bounded(seen: SeenMachine) -> Option<Bounded> {
    let SeenMachine { known_as, name, state, disks, obstacle, description } = seen;
    let length = known_as.chars().count();
    if !(1..=NAME_MAX).contains(&length) || known_as.chars().any(char::is_control) {
        return None;
    }
    let disk = |disk: MachineDisk| MachineDisk { name: cleaned(&disk.name, NAME_MAX), ..disk };
    let told = Told {
        state,
        disks: disks.into_iter().take(DISKS_MAX).map(disk).collect(),
        obstacle: obstacle.map(|text| cleaned(&text, OBSTACLE_MAX)).filter(|text| !text.is_empty()),
        description: match description.to_string().len() {
            0..=DESCRIPTION_BYTES_MAX => description,
            bytes => serde_json::json!({ "left_out_bytes": bytes }),
        },
    };
    let name = cleaned(&name, NAME_MAX);
    let name = if name.is_empty() { known_as.clone() } else { name };
    Some(Bounded { known_as, name, told: told.value() })
}

/// Cut to a length, and printable.
fn cleaned(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn wants(rule: &AutoProtect, machine: &Machine) -> bool {
    let name = rule.name.as_ref().is_none_or(|pattern| fits(pattern, &machine.name));
    let tagged = rule.tag.as_ref().is_none_or(|text| {
        let (key, value) = tag(text);
        machine.tags.get(&key).is_some_and(|has| value.is_none_or(|value| *has == value))
    });
    name && tagged
}

/// Whether a name fits a pattern: `*` is anything, `?` one character; case does not matter.
fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how much of the name it has taken: only that one is ever tried again.
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[read] => (at, read) = (at + 1, read + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, read) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// A machine that its host cannot have backed up, or that is gone.
pub(crate) fn must_be_protectable(machine: &Machine) -> Result<()> {
    match Told::of(machine).obstacle {
        None => Ok(()),
        Some(why) => Err(Error::new(Code::Conflict, format!("{} cannot be protected: {why}", machine.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        let yes = [
            ("*", ""),
            ("*", "db1"),
            ("db?", "db1"),
            ("DB*", "db-main"),
            ("*-db", "a-db-db"),
            ("a*b*c", "aXbXbc"),
            ("ö?", "Ö1"),
            ("**", "x"),
            ("", ""),
        ];
        let no = [("?", ""), ("db?", "db"), ("db", "db1"), ("*-db", "db"), ("a*b*c", "aXcXb"), ("", "x")];
        for (pattern, name) in yes {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in no {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_told_is_bounded() {
        let seen = |known_as: &str, name: &str, description: Value| SeenMachine {
            known_as: known_as.to_owned(),
            name: name.to_owned(),
            state: MachineState::Running,
            disks: vec![MachineDisk { name: "v\nda".into(), bytes: 1, is_os: true }; 1000],
            obstacle: Some(String::new()),
            description,
        };
        assert!(bounded(seen("", "x", Value::Null)).is_none());
        assert!(bounded(seen("a\u{0}", "x", Value::Null)).is_none());
        assert!(bounded(seen(&"x".repeat(256), "x", Value::Null)).is_none());
        let large = Value::String("x".repeat(DESCRIPTION_BYTES_MAX));
        let found = bounded(seen("id", &"n\u{7}".repeat(300), large)).expect("it can be told from others");
        assert_eq!(found.name.chars().count(), NAME_MAX);
        assert!(!found.name.chars().any(char::is_control));
        assert!(found.told.to_string().len() < 32 << 10, "{}", found.told.to_string().len());
        assert_eq!(found.told["disks"].as_array().map(Vec::len), Some(DISKS_MAX));
        assert!(found.told["obstacle"].is_null(), "an empty obstacle is none");
        assert_eq!(bounded(seen("id", "", Value::Null)).expect("it has an id").name, "id");
    }
}
