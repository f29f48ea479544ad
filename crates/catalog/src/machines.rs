//! Hosts, and the machines on them as they last told.

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{document, instant, instant_option, json, micros, parsed, text};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{HostId, MachineId};
use serde_json::Value;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A host that runs machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// What people call it.
    pub name: String,
    /// How its machines are found: `local`, or a libvirt URI.
    pub address: String,
    /// The name of the mover that speaks with it.
    pub mover: String,
    /// When it last told of its machines.
    pub seen: Option<Timestamp>,
}

/// A machine, protected or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Ours: it stays the same when the machine is renamed.
    pub id: MachineId,
    /// Where it runs.
    pub host: HostId,
    /// What its hypervisor knows it by: a uuid, or its name where it has none.
    pub known_as: String,
    /// Its name.
    pub name: String,
    /// What people sort it by.
    pub tags: BTreeMap<String, String>,
    /// All that its hypervisor tells.
    pub description: Value,
    /// When it was last seen.
    pub seen: Timestamp,
}

pub(crate) fn host(row: &AnyRow) -> sqlx::Result<Host> {
    Ok(Host {
        id: parsed(row, "id")?,
        name: text(row, "name")?,
        address: text(row, "address")?,
        mover: text(row, "mover")?,
        seen: instant_option(row, "seen_at")?,
    })
}

fn machine(row: &AnyRow) -> sqlx::Result<Machine> {
    Ok(Machine {
        id: parsed(row, "id")?,
        host: parsed(row, "host_id")?,
        known_as: text(row, "known_as")?,
        name: text(row, "name")?,
        tags: json(row, "tags")?,
        description: json(row, "description")?,
        seen: instant(row, "seen_at")?,
    })
}

impl Catalog {
    /// Adds a host.
    ///
    /// # Errors
    /// `Exists` when its name is taken.
    pub async fn add_host(&self, new: &Host) -> Result<()> {
        let query =
            sqlx::query("insert into hosts (id, name, address, mover, seen_at) values ($1, $2, $3, $4, $5)");
        let query = query.bind(new.id.to_string()).bind(&new.name).bind(&new.address).bind(&new.mover);
        let added = query.bind(new.seen.map(micros)).execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("add the host {}", new.name), e))
    }

    /// All hosts, by name.
    pub async fn hosts(&self) -> Result<Vec<Host>> {
        let query = sqlx::query("select * from hosts order by name, id").try_map(|row| host(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the hosts", e))
    }

    /// Takes in what a host tells of a machine. Gives the id it has here: `told.id`, unless it was known before;
    /// tags, which are people's, stay as they are.
    pub async fn see_machine(&self, told: &Machine) -> Result<MachineId> {
        let context = || format!("note the machine {}", told.name);
        let upsert = "insert into machines (id, host_id, known_as, name, tags, description, seen_at)
            values ($1, $2, $3, $4, $5, $6, $7)
            on conflict (host_id, known_as) do update
            set name = excluded.name, description = excluded.description, seen_at = excluded.seen_at
            returning id";
        let query = sqlx::query(upsert).bind(told.id.to_string()).bind(told.host.to_string());
        let query = query.bind(&told.known_as).bind(&told.name).bind(document(&told.tags));
        let query = query.bind(document(&told.description)).bind(micros(told.seen));
        let id = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_one(&self.pool).await;
        id.map_err(|e| Error::sql(context(), e))
    }

    /// Sorts a machine anew.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag_machine(&self, id: MachineId, tags: &BTreeMap<String, String>) -> Result<()> {
        let query = sqlx::query("update machines set tags = $1 where id = $2 returning id");
        let done = query.bind(document(tags)).bind(id.to_string()).fetch_one(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql(format!("tag the machine {id}"), e))
    }

    /// One machine.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn machine(&self, id: MachineId) -> Result<Machine> {
        let query = sqlx::query("select * from machines where id = $1").bind(id.to_string());
        let found = query.try_map(|row| machine(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the machine {id}"), e))
    }

    /// A page of the machines, by name.
    pub async fn machines(&self, after: Option<&Cursor>, limit: u32) -> Result<Page<Machine>> {
        let (key, id) = after.map(|c| (&*c.key, &*c.id)).unwrap_or_default();
        let select = "select * from machines where (name, id) > ($1, $2) order by name, id limit $3";
        let query = sqlx::query(select).bind(key).bind(id).bind(with_one_more(limit));
        let rows = query.try_map(|row| machine(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the machines", e))?;
        Ok(Page::of(rows, limit, |row| Cursor { key: row.name.clone(), id: row.id.to_string() }))
    }
}
