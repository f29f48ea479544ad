//! Points that were tried out: what came of it, which are due, and how old the last proof of each machine is.

use crate::items::item;
use crate::notes::want;
use crate::row::{
    document, flag, instant, instant_option, json, micros, number, parsed, parsed_option, text,
};
use crate::{Catalog, Error, Item, Result};
use jiff::Timestamp;
use model::drill::{DrillRecord, Verdict};
use model::{JobId, PointId, PolicyId, VaultId};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// A drill that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillRow {
    /// The job that it was.
    pub job: JobId,
    /// The point that was tried.
    pub point: PointId,
    /// Whose.
    pub item: Uuid,
    /// The instant of the point.
    pub instant: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// What it found out.
    pub record: DrillRecord,
    /// Whether there is a picture of the screen. Of no account where a drill is written.
    pub has_picture: bool,
}

/// A machine of which a drill may be due.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillCandidate {
    /// The item.
    pub item: Item,
    /// Points since the last one that was tried, that one not counted.
    pub points_since: u64,
}

/// How old the proof of a machine's points is.
#[derive(Clone, Debug, PartialEq)]
pub struct ProofRow {
    /// The item.
    pub item: Uuid,
    /// What it is called.
    pub name: String,
    /// Its policy.
    pub policy: Option<PolicyId>,
    /// The instant of its newest point that was proved.
    pub proved: Option<Timestamp>,
    /// The instant of the newest point that was tried at all, and the verdict's first word.
    pub tried: Option<(Timestamp, String)>,
    /// The instant of the newest point whose copy in the second store was proved.
    pub copy_proved: Option<Timestamp>,
}

/// Protected, and backed up by a policy.
macro_rules! runs {
    () => {
        "items.state in ('awaits_first', 'protected', 'in_error')"
    };
}

pub(crate) fn drill(row: &AnyRow) -> sqlx::Result<DrillRow> {
    Ok(DrillRow {
        job: parsed(row, "id")?,
        point: parsed(row, "point_id")?,
        item: parsed(row, "item_id")?,
        instant: instant(row, "instant")?,
        ended: instant(row, "ended_at")?,
        record: json(row, "record")?,
        has_picture: flag(row, "has_picture")?,
    })
}

pub(crate) fn first_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "proved",
        Verdict::BootedOnly => "booted_only",
        Verdict::Failed { .. } => "failed",
    }
}

impl Catalog {
    /// Writes a drill. Once written it stays.
    ///
    /// # Errors
    /// `Invalid` when its point is not there.
    pub async fn put_drill(&self, row: &DrillRow) -> Result<()> {
        let insert = "insert into drills (id, point_id, item_id, instant, ended_at, verdict, record)
            values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing";
        let query = sqlx::query(insert).bind(row.job.to_string()).bind(row.point.to_string());
        let query = query.bind(row.item.to_string()).bind(micros(row.instant)).bind(micros(row.ended));
        let query = query.bind(first_word(&row.record.verdict)).bind(document(&row.record));
        let sql = |e| Error::sql("note a drill", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        query.execute(&mut *transaction).await.map_err(sql)?;
        want(&mut transaction, row.item).await.map_err(sql)?;
        transaction.commit().await.map_err(sql)
    }

    /// The last drill of each of an item's points that were tried, by the points' instants.
    pub async fn drills_of(&self, item: Uuid) -> Result<Vec<DrillRow>> {
        let select =
            "select d.*, cast(case when exists (select 1 from drill_pictures p where p.job_id = d.id)
                then 1 else 0 end as bigint) as has_picture
            from drills d where d.item_id = $1 and not exists (select 1 from drills later
                where later.point_id = d.point_id and (later.ended_at, later.id) > (d.ended_at, d.id))
            order by d.instant, d.id";
        let query = sqlx::query(select).bind(item.to_string()).try_map(|row| drill(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the drills", e))
    }

    /// Keeps what a drill's screen showed: its format, and the file in base64. It goes with the job.
    pub async fn put_drill_picture(&self, job: JobId, format: &str, data: &str) -> Result<()> {
        let upsert = "insert into drill_pictures (job_id, format, data) values ($1, $2, $3)
            on conflict (job_id) do update set format = excluded.format, data = excluded.data";
        let query = sqlx::query(upsert).bind(job.to_string()).bind(format).bind(data);
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("keep a drill's picture", e))
    }

    /// What the screen showed: its format, and the file in base64.
    pub async fn drill_picture(&self, job: JobId) -> Result<Option<(String, String)>> {
        let query = sqlx::query("select format, data from drill_pictures where job_id = $1");
        let query = query.bind(job.to_string());
        let found = query.try_map(|row: AnyRow| Ok((text(&row, "format")?, text(&row, "data")?)));
        found.fetch_optional(&self.pool).await.map_err(|e| Error::sql("find a drill's picture", e))
    }

    /// Machines of a policy with so many points since the last one that was tried, of which no drill waits or runs, and
    /// none was for this slot. A page, by id.
    pub async fn items_to_drill(
        &self,
        (policy, slot): (PolicyId, Option<&str>),
        points_min: u64,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DrillCandidate>> {
        let select = concat!(
            "select * from (select items.*, cast((select count(*) from points p
                    where p.item_id = items.id and p.purge_at is null and p.instant > coalesce(
                        (select max(d.instant) from drills d where d.item_id = items.id), -1)) as bigint) as since
                from items where items.policy_id = $1 and items.id > $2 and ",
            runs!(),
            " and not exists (select 1 from jobs j where j.kind = 'drill' and j.subject = items.id
                    and (j.ended_at is null or j.slot = $3))) as found
            where since >= $4 order by id limit $5"
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(select).bind(policy.to_string()).bind(after).bind(slot.unwrap_or_default());
        let query = query.bind(i64::try_from(points_min).unwrap_or(i64::MAX)).bind(i64::from(limit));
        let query = query.try_map(|row: AnyRow| {
            Ok(DrillCandidate { item: item(&row)?, points_since: number(&row, "since")? })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("look for drills that are due", e))
    }

    /// How old the proof of each machine in a vault is that is backed up: those without one first, then the oldest.
    pub async fn proofs(&self, vault: VaultId) -> Result<Vec<ProofRow>> {
        let select = concat!(
            "select items.id, items.name, items.policy_id,
                (select max(d.instant) from drills d where d.item_id = items.id and d.verdict = 'proved') as proved,
                (select max(d.instant) from drills d where d.item_id = items.id) as tried,
                (select d.verdict from drills d where d.item_id = items.id
                    order by d.instant desc, d.ended_at desc limit 1) as verdict,
                (select max(c.instant) from copy_drills c where c.vault_id = items.vault_id
                    and c.item_id = items.id and c.verdict = 'proved') as copy_proved
            from items where items.vault_id = $1 and ",
            runs!(),
            " order by coalesce((select max(d.instant) from drills d
                where d.item_id = items.id and d.verdict = 'proved'), -1), items.name, items.id"
        );
        let query = sqlx::query(select).bind(vault.to_string()).try_map(|row: AnyRow| {
            let verdict: Option<String> = row.try_get("verdict")?;
            Ok(ProofRow {
                item: parsed(&row, "id")?,
                name: text(&row, "name")?,
                policy: parsed_option(&row, "policy_id")?,
                proved: instant_option(&row, "proved")?,
                tried: instant_option(&row, "tried")?.zip(verdict),
                copy_proved: instant_option(&row, "copy_proved")?,
            })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the proofs", e))
    }
}
