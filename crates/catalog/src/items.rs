//! Items: machines under the protection of a vault, or that were.

use crate::jobs::queue_in;
use crate::notes::want;
use crate::page::{Cursor, Page, with_one_more};
use crate::plan::keep;
use crate::row::{
    count, document, first_word, instant, instant_option, json, like, micros, number, parsed, text,
};
use crate::vaults::one_revision_on;
use crate::{Catalog, Error, ErrorKind, NewJob, PointToPlan, Queued, Result};
use jiff::Timestamp;
use model::protection::Protection;
use model::{MachineId, PolicyId, VaultId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};
use uuid::Uuid;

/// A machine in a vault.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: Uuid,
    /// The vault its points are in.
    pub vault: VaultId,
    /// The machine.
    pub machine: MachineId,
    /// The machine's name, kept when the machine is gone.
    pub name: String,
    /// Where it stands.
    pub protection: Protection,
    /// When its newest point was taken.
    pub last_point: Option<Timestamp>,
    /// Since when it is here.
    pub created: Timestamp,
    /// Which version of the row this is.
    pub revision: u64,
}

/// Which items. Empty means all.
#[derive(Clone, Debug, Default)]
pub struct ItemFilter {
    /// Of this vault.
    pub vault: Option<VaultId>,
    /// In this state, by its first word.
    pub state: Option<String>,
    /// Under this policy.
    pub policy: Option<PolicyId>,
    /// Their names fit this: `*` is anything, `?` one character; case does not matter.
    pub name: Option<String>,
}

pub(crate) fn item(row: &AnyRow) -> sqlx::Result<Item> {
    Ok(Item {
        id: parsed(row, "id")?,
        vault: parsed(row, "vault_id")?,
        machine: parsed(row, "machine_id")?,
        name: text(row, "name")?,
        protection: json(row, "protection")?,
        last_point: instant_option(row, "last_point_at")?,
        created: instant(row, "created_at")?,
        revision: number(row, "revision")?,
    })
}

/// The policy that must not go away while the item is as it is.
fn policy_of(item: &Item) -> Option<String> {
    item.protection.retention_policy().map(|id| id.to_string())
}

fn purge_of(item: &Item) -> Option<i64> {
    match item.protection {
        Protection::Deleted { purge_at } => Some(micros(purge_at)),
        _ => None,
    }
}

impl Catalog {
    /// Puts a machine under protection.
    ///
    /// # Errors
    /// `Exists` when the vault has it already, or another vault protects it; `Invalid` when vault or policy are
    /// not there.
    pub async fn add_item(&self, new: &Item) -> Result<()> {
        let insert =
            "insert into items (id, vault_id, machine_id, name, policy_id, state, protection, last_point_at,
                purge_at, created_at, revision)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(new.vault.to_string());
        let query = query.bind(new.machine.to_string()).bind(&new.name);
        let query = query.bind(policy_of(new)).bind(first_word(&new.protection));
        let query = query.bind(document(&new.protection)).bind(new.last_point.map(micros));
        let query = query.bind(purge_of(new)).bind(micros(new.created));
        let added = query.execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("protect the machine {}", new.name), e))
    }

    /// One item.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn item(&self, id: Uuid) -> Result<Item> {
        let query = sqlx::query("select * from items where id = $1").bind(id.to_string());
        let found = query.try_map(|row| item(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the item {id}"), e))
    }

    /// A page of items, by name.
    pub async fn items(&self, filter: &ItemFilter, after: Option<&Cursor>, limit: u32) -> Result<Page<Item>> {
        let (key, id) = after.map(|c| (&*c.key, &*c.id)).unwrap_or_default();
        let select = "select * from items where (name, id) > ($1, $2)
            and ($3 = '' or vault_id = $3) and ($4 = '' or state = $4) and ($5 = '' or policy_id = $5)
            and ($6 = '' or lower(name) like $6 escape '\\')
            order by name, id limit $7";
        let text = |id: Option<String>| id.unwrap_or_default();
        let query = sqlx::query(select).bind(key).bind(id);
        let query = query.bind(text(filter.vault.map(|id| id.to_string()))).bind(text(filter.state.clone()));
        let query = query.bind(text(filter.policy.map(|id| id.to_string())));
        let query =
            query.bind(filter.name.as_deref().map(like).unwrap_or_default()).bind(with_one_more(limit));
        let rows = query.try_map(|row| item(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the items", e))?;
        Ok(Page::of(rows, limit, |row| Cursor { key: row.name.clone(), id: row.id.to_string() }))
    }

    /// The items of some machines, in whatever vault; at most [`PAGE_MAX`](crate::PAGE_MAX) machines.
    pub async fn items_of(&self, machines: &[MachineId]) -> Result<Vec<Item>> {
        if machines.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<_> = (1..=machines.len()).map(|number| format!("${number}")).collect();
        let select = format!("select * from items where machine_id in ({})", places.join(", "));
        let query =
            machines.iter().fold(sqlx::query(AssertSqlSafe(select)), |query, id| query.bind(id.to_string()));
        let rows = query.try_map(|row| item(&row)).fetch_all(&self.pool).await;
        rows.map_err(|e| Error::sql("find the items of machines", e))
    }

    /// Backups of an item that somebody asked for since then, and that did not fail.
    pub async fn on_demand_since(&self, item: Uuid, since: Timestamp) -> Result<u64> {
        let select = "select count(*) as backups from jobs where subject = $1 and created_at >= $2
            and kind = 'backup' and slot is null and state not in ('failed', 'cancelled')";
        let query = sqlx::query(select).bind(item.to_string()).bind(micros(since));
        let count = query.try_map(|row: AnyRow| number(&row, "backups")).fetch_one(&self.pool).await;
        count.map_err(|e| Error::sql("count the backups on demand", e))
    }

    /// How many items there are in each state.
    pub async fn items_by_state(&self) -> Result<Vec<(String, u64)>> {
        let select = "select state, count(*) as items from items group by state order by state";
        let query = sqlx::query(select).try_map(|row| Ok((text(&row, "state")?, number(&row, "items")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("count the items", e))
    }

    /// Writes an item that was read and changed. Gives its new revision.
    ///
    /// # Errors
    /// `Changed` when somebody else did so meanwhile, or it is gone; `Exists` when another vault has come to
    /// protect its machine.
    pub async fn update_item(&self, changed: &Item) -> Result<u64> {
        let sql = |e| Error::sql("change an item", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        let revision = update(&mut transaction, changed).await?;
        transaction.commit().await.map_err(sql)?;
        Ok(revision)
    }

    /// Writes an item that was read and changed, with its points, and queues the job that carries it out: all of it
    /// or nothing. Whoever changes points this way cannot undo what another has: the item's revision is compared.
    ///
    /// # Errors
    /// As [`update_item`](Self::update_item).
    pub async fn change_item(&self, change: &ItemChange<'_>, now: Timestamp) -> Result<Queued> {
        let context = || format!("change the points of {}", change.item.name);
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        // The job first: whoever queues one for the item waits for this to be done.
        if let Some(job) = change.job {
            match queue_in(&mut transaction, job, now).await? {
                Queued::New => {}
                refused => return Ok(refused),
            }
        }
        update(&mut transaction, change.item).await?;
        for kept in change.points {
            keep(&mut transaction, change.item.id, kept).await.map_err(|e| Error::sql(context(), e))?;
        }
        transaction.commit().await.map_err(|e| Error::sql(context(), e))?;
        Ok(Queued::New)
    }

    /// Forgets an item and its points, whose purge the vault has confirmed.
    ///
    /// # Errors
    /// `Invalid` while a point of it is not purged; `NotFound`.
    pub async fn remove_item(&self, id: Uuid) -> Result<()> {
        let context = || format!("forget the item {id}");
        let mut transaction = self.begin().await.map_err(|e| Error::sql(context(), e))?;
        // Its notes in the vault are to go.
        want(&mut transaction, id).await.map_err(|e| Error::sql(context(), e))?;
        let query = sqlx::query("delete from items where id = $1").bind(id.to_string());
        let done = query.execute(&mut *transaction).await.map_err(|e| Error::sql(context(), e))?;
        if done.rows_affected() == 0 {
            return Err(Error::new(ErrorKind::NotFound, context()));
        }
        transaction.commit().await.map_err(|e| Error::sql(context(), e))
    }
}

/// A change of an item, with all that it means.
#[derive(Clone, Copy, Debug)]
pub struct ItemChange<'a> {
    /// As it is to be, with the revision that was read.
    pub item: &'a Item,
    /// Those of its points that are to be kept in another way.
    pub points: &'a [PointToPlan],
    /// What carries it out.
    pub job: Option<&'a NewJob>,
}

async fn update(connection: &mut AnyConnection, changed: &Item) -> Result<u64> {
    let context = || format!("change the protection of {}", changed.name);
    let update =
        "update items set name = $1, policy_id = $2, state = $3, protection = $4, last_point_at = $5,
            purge_at = $6, revision = revision + 1
        where id = $7 and revision = $8";
    let query = sqlx::query(update).bind(&changed.name).bind(policy_of(changed));
    let query = query.bind(first_word(&changed.protection)).bind(document(&changed.protection));
    let query = query.bind(changed.last_point.map(micros)).bind(purge_of(changed));
    let query = query.bind(changed.id.to_string()).bind(count(changed.revision));
    let done = query.execute(&mut *connection).await.map_err(|e| Error::sql(context(), e))?;
    let revision = one_revision_on(done.rows_affected(), changed.revision, context)?;
    want(connection, changed.id).await.map_err(|e| Error::sql(context(), e))?;
    Ok(revision)
}
