//! Hosts, and the machines on them as they last told.

use crate::notes::want;
use crate::page::{Cursor, Page, with_one_more};
use crate::row::{document, instant, instant_option, json, like, micros, parsed, text};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::{HostId, MachineId};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};
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
    /// All that its hypervisor tells. Its `obstacle`, if it has one, says why it cannot be protected as it is.
    pub description: Value,
    /// When it was last seen.
    pub seen: Timestamp,
}

/// Which machines. Empty means all.
#[derive(Clone, Debug, Default)]
pub struct MachineFilter {
    /// On this host.
    pub host: Option<HostId>,
    /// Their names fit this: `*` is anything, `?` one character; case does not matter.
    pub name: Option<String>,
    /// They carry this tag, with this value if one is named.
    pub tag: Option<(String, Option<String>)>,
    /// `protected`, `stopped`, `unprotectable` or `protectable`; the first of these that holds.
    pub standing: Option<String>,
}

/// What a host tells of its machines, compared with what was known.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// New ones, those that changed, and those that are gone and have items: as they are to stand.
    pub changed: Vec<Machine>,
    /// Those that are gone. One that has items after all stays.
    pub gone: Vec<MachineId>,
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
        let insert = "insert into hosts (id, name, address, mover, seen_at) values ($1, $2, $3, $4, $5)";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(&new.name).bind(&new.address);
        let added = query.bind(&new.mover).bind(new.seen.map(micros)).execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("add the host {}", new.name), e))
    }

    /// All hosts, by name.
    pub async fn hosts(&self) -> Result<Vec<Host>> {
        let query = sqlx::query("select * from hosts order by name, id").try_map(|row| host(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the hosts", e))
    }

    /// Forgets a host and its machines.
    ///
    /// # Errors
    /// `Invalid` while one of them is protected; `NotFound`.
    pub async fn remove_host(&self, id: HostId) -> Result<()> {
        let context = || format!("remove the host {id}");
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        // Those that are protected stay, and their host with them.
        let machines = "delete from machines where host_id = $1 and not exists (select 1 from items
            where items.machine_id = machines.id and state in ('awaits_first', 'protected', 'in_error'))";
        let machines = sqlx::query(machines).bind(id.to_string()).execute(&mut *transaction).await;
        machines.map_err(|e| Error::sql(context(), e))?;
        let hosts = sqlx::query("delete from hosts where id = $1").bind(id.to_string());
        let done = hosts.execute(&mut *transaction).await.map_err(|e| Error::sql(context(), e))?;
        if done.rows_affected() == 0 {
            return Err(Error::new(ErrorKind::NotFound, context()));
        }
        transaction.commit().await.map_err(|e| Error::sql(context(), e))
    }

    /// Takes in what a host tells of a machine. Gives the id it has here: `told.id`, unless it was known before;
    /// tags, which are people's, stay as they are.
    pub async fn see_machine(&self, told: &Machine) -> Result<MachineId> {
        let context = || format!("note the machine {}", told.name);
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        let id = see(&mut transaction, told).await.map_err(|e| Error::sql(context(), e))?;
        transaction.commit().await.map_err(|e| Error::sql(context(), e))?;
        Ok(id)
    }

    /// Takes in what a host tells of all its machines, at once. Those that did not change were seen as well.
    pub async fn see_machines(&self, host: HostId, seen: &Seen, now: Timestamp) -> Result<()> {
        let sql = |e| Error::sql(format!("note the machines of the host {host}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        for update in [
            "update hosts set seen_at = $1 where id = $2",
            "update machines set seen_at = $1 where host_id = $2",
        ] {
            let query = sqlx::query(update).bind(micros(now)).bind(host.to_string());
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        for machine in &seen.changed {
            see(&mut transaction, machine).await.map_err(sql)?;
        }
        for id in &seen.gone {
            let delete = "delete from machines where id = $1 and host_id = $2
                and not exists (select 1 from items where items.machine_id = machines.id)";
            let query = sqlx::query(delete).bind(id.to_string()).bind(host.to_string());
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// Sorts a machine anew.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag_machine(&self, id: MachineId, tags: &BTreeMap<String, String>) -> Result<()> {
        let sql = |e| Error::sql(format!("tag the machine {id}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        let query = sqlx::query("update machines set tags = $1 where id = $2 returning id");
        let query = query.bind(document(tags)).bind(id.to_string());
        query.fetch_one(&mut *transaction).await.map_err(sql)?;
        // In one order for all who do this.
        let items =
            sqlx::query("select id from items where machine_id = $1 order by id").bind(id.to_string());
        let items = items.try_map(|row: AnyRow| parsed(&row, "id")).fetch_all(&mut *transaction).await;
        for item in items.map_err(sql)? {
            want(&mut transaction, item).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
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

    /// All machines of a host.
    pub async fn machines_on(&self, host: HostId) -> Result<Vec<Machine>> {
        let query = sqlx::query("select * from machines where host_id = $1 order by known_as");
        let query = query.bind(host.to_string()).try_map(|row| machine(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the machines of a host", e))
    }

    /// A page of the machines, by name.
    pub async fn machines(
        &self,
        filter: &MachineFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<Machine>> {
        let (key, id) = after.map(|c| (&*c.key, &*c.id)).unwrap_or_default();
        let select = "select * from machines where (name, id) > ($1, $2)
            and ($3 = '' or host_id = $3) and ($4 = '' or lower(name) like $4 escape '\\')
            and ($5 = '' or replace(tags, $5, '') <> tags or replace(tags, $6, '') <> tags)
            and ($7 = '' or $7 = case
                when exists (select 1 from items where items.machine_id = machines.id
                    and state in ('awaits_first', 'protected', 'in_error')) then 'protected'
                when exists (select 1 from items where items.machine_id = machines.id
                    and state in ('stopped', 'deleted')) then 'stopped'
                when obstacle <> '' then 'unprotectable' else 'protectable' end)
            order by name, id limit $8";
        let query = sqlx::query(select).bind(key).bind(id);
        let query = query.bind(filter.host.map(|id| id.to_string()).unwrap_or_default());
        let query = query.bind(filter.name.as_deref().map(like).unwrap_or_default());
        let [first, other] = filter.tag.as_ref().map(in_tags).unwrap_or_default();
        let query = query.bind(first).bind(other).bind(filter.standing.clone().unwrap_or_default());
        let query = query.bind(with_one_more(limit));
        let rows = query.try_map(|row| machine(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the machines", e))?;
        Ok(Page::of(rows, limit, |row| Cursor { key: row.name.clone(), id: row.id.to_string() }))
    }
}

/// What the text of a machine's tags holds if it carries this one: as the first, or as another. Quotes within keys
/// and values are escaped there, so neither can be found in the middle of something.
fn in_tags((key, value): &(String, Option<String>)) -> [String; 2] {
    let value = value.as_ref().map(document).unwrap_or_default();
    ['{', ','].map(|before| format!("{before}{}:{value}", document(key)))
}

async fn see(transaction: &mut Transaction<'static, Any>, told: &Machine) -> sqlx::Result<MachineId> {
    let upsert = "insert into machines (id, host_id, known_as, name, tags, description, obstacle, seen_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (host_id, known_as) do update set name = excluded.name,
            description = excluded.description, obstacle = excluded.obstacle, seen_at = excluded.seen_at
        returning id";
    let query = sqlx::query(upsert).bind(told.id.to_string()).bind(told.host.to_string());
    let query = query.bind(&told.known_as).bind(&told.name).bind(document(&told.tags));
    let obstacle = told.description.get("obstacle").and_then(Value::as_str).unwrap_or_default();
    let query = query.bind(document(&told.description)).bind(obstacle).bind(micros(told.seen));
    let id: MachineId = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_one(&mut **transaction).await?;
    let rename = "update items set name = $1, revision = revision + 1 where machine_id = $2 and name <> $1";
    sqlx::query(rename).bind(&told.name).bind(id.to_string()).execute(&mut **transaction).await?;
    Ok(id)
}
