//! What is due: each item knows when to look at it next, so a look costs what is due and not what there is.
//!
//! `next_due_at` and the points' `expires_at` are worked out from a policy and a vault's rules. `policy_seen` says from
//! which: an item for which that has changed is worked out anew, whoever changed it and whether or not they said so.

use crate::items::item;
use crate::jobs::queue_in;
use crate::row::{document, instant_option, json, micros, text};
use crate::{Catalog, Error, Item, NewJob, Queued, Result};
use jiff::Timestamp;
use model::schedule::Skipped;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// By what an item's slots and expiries are to be worked out.
macro_rules! standing {
    () => {
        "case when items.state in ('awaits_first', 'protected', 'in_error') then 'runs' else 'rests' end || '/'
            || coalesce((select p.id || '/' || p.revision from policies p where p.id = items.policy_id), '')
            || '/' || coalesce((select v.revision from vaults v where v.id = items.vault_id), 0)"
    };
}

/// An item, and where its schedule stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledItem {
    /// The item.
    pub item: Item,
    /// All slots up to then have had a run or a record. None: it was never scheduled.
    pub settled: Option<Timestamp>,
    /// By which schedule its next run was worked out; none: none runs.
    pub due_by: Option<String>,
    /// By what its slots and expiries are to be worked out now.
    pub standing: String,
}

/// What becomes of an item's slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Settle<'a> {
    /// Up to when they were settled.
    pub before: Option<Timestamp>,
    /// Up to when they are now.
    pub after: Timestamp,
    /// When the next run starts.
    pub next_due: Option<Timestamp>,
    /// Slots without a run.
    pub skipped: &'a [Skipped],
    /// The run.
    pub job: Option<&'a NewJob>,
}

/// What came of settling slots.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It is done.
    Done,
    /// Somebody else has settled them meanwhile. Nothing was written.
    Lost,
    /// This job is under way, and excludes the run. Nothing was written.
    Excluded(Box<crate::JobRow>),
}

fn scheduled(row: &AnyRow) -> sqlx::Result<ScheduledItem> {
    Ok(ScheduledItem {
        item: item(row)?,
        settled: instant_option(row, "settled_at")?,
        due_by: row.try_get("due_by")?,
        standing: text(row, "standing")?,
    })
}

impl Catalog {
    /// Items whose next run starts by now, the earliest first.
    pub async fn items_due(&self, now: Timestamp, limit: u32) -> Result<Vec<ScheduledItem>> {
        let select = concat!(
            "select items.*, ",
            standing!(),
            " as standing from items where next_due_at <= $1 order by next_due_at limit $2"
        );
        let query =
            sqlx::query(select).bind(micros(now)).bind(i64::from(limit)).try_map(|row| scheduled(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for what is due", e))
    }

    /// Items whose slots and expiries are to be worked out anew.
    /// A page, by id.
    pub async fn items_to_plan(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<ScheduledItem>> {
        let select = concat!(
            "select items.*, ",
            standing!(),
            " as standing from items where policy_seen is null and id > $1 order by id limit $2"
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(after).bind(i64::from(limit)).try_map(|row| scheduled(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for what is to be planned", e))
    }

    /// Has an item's slots and expiries worked out anew.
    pub async fn plan_item_again(&self, item: Uuid) -> Result<()> {
        let query = sqlx::query("update items set policy_seen = null where id = $1").bind(item.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("have an item planned again", e))
    }

    /// Finds items for which that by which they were worked out has changed, and has it done anew. Looks at all.
    pub async fn find_items_to_plan(&self) -> Result<u64> {
        let update = concat!(
            "update items set policy_seen = null where policy_seen is not null and policy_seen <> ",
            standing!()
        );
        let done = sqlx::query(update).execute(&self.pool).await;
        done.map(|done| done.rows_affected()).map_err(|e| Error::sql("look for changed policies", e))
    }

    /// Notes that expiries were worked out, unless that by which has changed meanwhile.
    pub async fn planned(&self, item: &ScheduledItem) -> Result<()> {
        let update = concat!("update items set policy_seen = $1 where id = $2 and $1 = ", standing!());
        let query = sqlx::query(update).bind(&item.standing).bind(item.item.id.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("note a plan", e))
    }

    /// Puts an item on another schedule, or on none, unless somebody has done so meanwhile.
    pub async fn reschedule(
        &self,
        item: &ScheduledItem,
        due_by: Option<&str>,
        settled: Option<Timestamp>,
        next_due: Option<Timestamp>,
    ) -> Result<()> {
        let update = "update items set due_by = $1, settled_at = $2, next_due_at = $3
            where id = $4 and coalesce(settled_at, -1) = $5";
        let query = sqlx::query(update).bind(due_by).bind(settled.map(micros)).bind(next_due.map(micros));
        let query = query.bind(item.item.id.to_string()).bind(item.settled.map_or(-1, micros));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("reschedule an item", e))
    }

    /// Looks at an item later, without settling anything.
    pub async fn put_off(&self, item: Uuid, until: Timestamp) -> Result<()> {
        let update = "update items set next_due_at = $1 where id = $2 and next_due_at < $1";
        let query = sqlx::query(update).bind(micros(until)).bind(item.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("put an item off", e))
    }

    /// Settles slots of an item: its run is queued, and those without one are recorded, all or nothing.
    pub async fn settle(&self, item: Uuid, settle: &Settle<'_>, now: Timestamp) -> Result<Settled> {
        let sql = |e| Error::sql(format!("settle the slots of {item}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        // The job first, as everywhere: who holds one of two rows never waits for who holds the other.
        if let Some(job) = settle.job {
            match queue_in(&mut transaction, job, now).await? {
                Queued::New | Queued::SlotIsTaken => {}
                Queued::Excluded(other) => return Ok(Settled::Excluded(other)),
            }
        }
        let update = "update items set settled_at = $1, next_due_at = $2
            where id = $3 and coalesce(settled_at, -1) = $4";
        let query = sqlx::query(update).bind(micros(settle.after)).bind(settle.next_due.map(micros));
        let query = query.bind(item.to_string()).bind(settle.before.map_or(-1, micros));
        if query.execute(&mut *transaction).await.map_err(sql)?.rows_affected() == 0 {
            return Ok(Settled::Lost);
        }
        for skipped in settle.skipped {
            let insert = "insert into skipped_runs (item_id, slot_at, skipped, noted_at)
                values ($1, $2, $3, $4) on conflict do nothing";
            let query = sqlx::query(insert).bind(item.to_string()).bind(micros(skipped.slot.at));
            let query = query.bind(document(skipped)).bind(micros(now));
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)?;
        Ok(Settled::Done)
    }

    /// Slots of an item that had no run, the newest first.
    pub async fn skipped_runs(&self, item: Uuid, limit: u32) -> Result<Vec<Skipped>> {
        let select = "select skipped from skipped_runs where item_id = $1 order by slot_at desc limit $2";
        let query = sqlx::query(select).bind(item.to_string()).bind(i64::from(limit));
        let rows = query.try_map(|row: AnyRow| json(&row, "skipped")).fetch_all(&self.pool).await;
        rows.map_err(|e| Error::sql("list the skipped runs", e))
    }

    /// Forgets skipped runs noted before then.
    pub async fn forget_skipped_runs(&self, before: Timestamp) -> Result<()> {
        let query = sqlx::query("delete from skipped_runs where noted_at < $1").bind(micros(before));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("forget skipped runs", e))
    }

    /// Items that run, with where their schedules stand: a page, by id.
    pub async fn items_that_run(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<ScheduledItem>> {
        let select = concat!(
            "select items.*, ",
            standing!(),
            " as standing from items where id > $1 and due_by is not null order by id limit $2"
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(after).bind(i64::from(limit)).try_map(|row| scheduled(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list what runs", e))
    }
}
