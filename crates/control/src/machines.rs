//! Hosts, and the machines that they tell of.

use crate::faults::Faults;
use crate::{Actor, Control, Error, Paging, Result};
use api::{Code, Host, Machine, MachineStanding, NewHost, Page, Tags};
use catalog::{ErrorKind, Item, MachineFilter};
use model::protection::Protection;
use model::{HostId, MachineId, VaultId};
use serde_json::json;
use std::collections::HashMap;

/// The mover within the server.
pub(crate) const OWN_MOVER: &str = "server";
/// Lists of hosts are made for so many.
const HOSTS_MAX: usize = 2000;
/// A URI that no libvirt has longer.
const ADDRESS_MAX: usize = 1024;
/// As in Azure, and enough to sort by.
const TAGS_MAX: usize = 50;
const TAG_KEY_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;
/// A pattern for names, which have 255 characters at most.
pub(crate) const PATTERN_MAX: usize = 255;

/// Which machines. What is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct WhichMachines {
    /// Their names fit this: `*` is anything, `?` one character; case does not matter.
    pub name: Option<String>,
    /// They stand so to protection.
    pub standing: Option<MachineStanding>,
    /// They are on this host.
    pub host: Option<HostId>,
    /// They carry this tag: `key` or `key=value`.
    pub tag: Option<String>,
}

impl Control {
    /// The hosts, by name.
    pub async fn hosts(&self, paging: &Paging) -> Result<Page<Host>> {
        let rows = self.catalog.hosts().await?;
        paging.of(rows.into_iter().map(host).collect(), |host| (host.name.clone(), host.id.to_string()))
    }

    /// Adds a host; its machines are seen once its mover has told of them.
    pub async fn add_host(&self, actor: &Actor, new: NewHost) -> Result<Host> {
        let mover = new.mover.unwrap_or_else(|| OWN_MOVER.to_owned());
        let mut faults = Faults::default();
        faults.name("/name", &new.name);
        faults.name("/mover", &mover);
        faults.text("/address", &new.address, ADDRESS_MAX);
        if new.address != "local" && !new.address.contains("://") {
            faults.add("/address", "must be `local` or a libvirt URI, such as qemu:///system");
        }
        faults.none()?;
        let others = self.catalog.hosts().await?;
        if others.len() >= HOSTS_MAX {
            return Err(Error::new(
                Code::Conflict,
                format!("there are {HOSTS_MAX} hosts, as many as may be"),
            ));
        }
        if let Some(other) = others.iter().find(|other| other.mover == mover && other.address == new.address)
        {
            let detail =
                format!("the host {} is at {} of the mover {mover} already", other.name, other.address);
            return Err(Error::new(Code::Exists, detail));
        }
        let row = catalog::Host {
            id: HostId(self.draw()),
            name: new.name,
            address: new.address,
            mover,
            seen: None,
        };
        let detail = json!({ "name": row.name, "address": row.address, "mover": row.mover });
        self.audit(actor, "host.add", &row.id.to_string(), &detail).await?;
        self.catalog.add_host(&row).await.map_err(|error| match error.kind() {
            ErrorKind::Exists => Error::new(Code::Exists, format!("there is a host {} already", row.name)),
            _ => error.into(),
        })?;
        Ok(host(row))
    }

    /// Forgets a host and its machines.
    pub async fn remove_host(&self, actor: &Actor, id: HostId) -> Result<()> {
        let protected = || {
            let error = Error::new(Code::Conflict, "machines of the host are protected");
            error.hint("stop their protection first; their points may be kept")
        };
        let filter = MachineFilter {
            host: Some(id),
            standing: Some(word(MachineStanding::Protected)),
            ..MachineFilter::default()
        };
        if !self.catalog.machines(&filter, None, 1).await?.rows.is_empty() {
            return Err(protected());
        }
        let hosts = self.catalog.hosts().await?;
        let host = hosts.iter().find(|host| host.id == id);
        let host = host.ok_or_else(|| Error::not_found(format!("host {id}")))?;
        self.audit(actor, "host.remove", &id.to_string(), &json!({ "name": host.name })).await?;
        match self.catalog.remove_host(id).await {
            Err(error) if error.kind() == ErrorKind::Invalid => Err(protected()),
            removed => removed.map_err(|error| Error::missing(error, format!("host {id}"))),
        }
    }

    /// Machines, by name; with what the caller may see of their items.
    pub async fn machines(
        &self,
        which: &WhichMachines,
        may_see: impl Fn(VaultId) -> bool,
        paging: &Paging,
    ) -> Result<Page<Machine>> {
        let (after, limit) = paging.place()?;
        let filter = filter(which)?;
        let page = self.catalog.machines(&filter, after.as_ref(), limit).await?;
        let ids: Vec<_> = page.rows.iter().map(|row| row.id).collect();
        let mut items: HashMap<MachineId, Vec<Item>> = HashMap::new();
        for item in self.catalog.items_of(&ids).await? {
            items.entry(item.machine).or_default().push(item);
        }
        let of = |id| items.get(&id).map_or(&[][..], Vec::as_slice);
        let machines = page.rows.into_iter().map(|row| {
            let of = of(row.id);
            machine(row, of, &may_see)
        });
        Ok(Page { items: machines.collect(), next: page.next.map(|next| next.to_string()) })
    }

    /// One machine.
    pub async fn machine(&self, id: MachineId, may_see: impl Fn(VaultId) -> bool) -> Result<Machine> {
        let row = self.machine_row(id).await?;
        let items = self.catalog.items_of(&[id]).await?;
        Ok(machine(row, &items, &may_see))
    }

    /// Sorts a machine anew.
    pub async fn tag_machine(
        &self,
        actor: &Actor,
        id: MachineId,
        tags: Tags,
        may_see: impl Fn(VaultId) -> bool,
    ) -> Result<Machine> {
        let mut faults = Faults::default();
        faults.entries("/tags", (0, TAGS_MAX), tags.tags.len());
        for (key, value) in &tags.tags {
            let pointer = format!("/tags/{}", key.replace('~', "~0").replace('/', "~1"));
            faults.text(&pointer, key, TAG_KEY_MAX);
            if key.contains('=') {
                faults.add(&pointer, "must not hold `=`, which stands between key and value");
            }
            if !value.is_empty() {
                faults.text(&pointer, value, TAG_VALUE_MAX);
            }
        }
        faults.none()?;
        self.machine_row(id).await?;
        self.audit(actor, "machine.tag", &id.to_string(), &json!({ "tags": tags.tags })).await?;
        let tagged = self.catalog.tag_machine(id, &tags.tags).await;
        tagged.map_err(|error| Error::missing(error, format!("machine {id}")))?;
        self.machine(id, may_see).await
    }

    /// A machine that must be there.
    pub(crate) async fn machine_row(&self, id: MachineId) -> Result<catalog::Machine> {
        self.catalog.machine(id).await.map_err(|error| Error::missing(error, format!("machine {id}")))
    }
}

fn filter(which: &WhichMachines) -> Result<MachineFilter> {
    let mut faults = Faults::default();
    if let Some(name) = &which.name {
        faults.text("name", name, PATTERN_MAX);
    }
    if let Some(tag) = &which.tag {
        faults.text("tag", tag, TAG_KEY_MAX + 1 + TAG_VALUE_MAX);
    }
    faults.none()?;
    Ok(MachineFilter {
        host: which.host,
        name: which.name.clone(),
        tag: which.tag.as_deref().map(tag),
        standing: which.standing.map(word),
    })
}

/// `key` or `key=value`.
pub(crate) fn tag(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// As the API spells it.
fn word(standing: MachineStanding) -> String {
    let word = serde_json::to_value(standing).expect("a word");
    word.as_str().expect("a word").to_owned()
}

fn host(row: catalog::Host) -> Host {
    let catalog::Host { id, name, address, mover, seen } = row;
    Host { id, name, address, mover, seen }
}

fn machine(row: catalog::Machine, items: &[Item], may_see: impl Fn(VaultId) -> bool) -> Machine {
    let told = crate::inventory::Told::of(&row);
    // What says most of a machine: a policy that holds, else points that stay, else points that are deleted.
    let rank = |item: &&Item| match item.protection {
        Protection::AwaitsFirst { .. } | Protection::Protected { .. } | Protection::InError { .. } => 0,
        Protection::Stopped { .. } => 1,
        Protection::Deleted { .. } => 2,
        Protection::Unprotected {} => 3,
    };
    let item = items.iter().filter(|item| rank(item) < 3).min_by_key(rank);
    let standing = match item {
        Some(item) if item.protection.runs() => MachineStanding::Protected,
        Some(_) => MachineStanding::Stopped,
        None if told.obstacle.is_some() => MachineStanding::Unprotectable,
        None => MachineStanding::Protectable,
    };
    let shown = item.filter(|item| may_see(item.vault));
    Machine {
        id: row.id,
        name: row.name,
        host: row.host,
        known_as: row.known_as,
        tags: row.tags,
        state: told.state,
        disks: told.disks,
        standing,
        obstacle: told.obstacle,
        vault: shown.map(|item| item.vault),
        item: shown.map(|item| item.id),
        seen: row.seen,
    }
}
