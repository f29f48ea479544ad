//! Whose the stored bytes were, day by day, and what they cost.

use crate::row::{count, document, instant, instant_option, json, micros, number, spelt, text, word};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use model::VaultId;
use model::cost::{Prices, StorageClass};
use sqlx::Row;
use sqlx::any::AnyRow;

/// The one row of prices.
const PRICES: i64 = 1;

/// What was measured of a subject in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// What the vault calls the machine; `#` and a word for what is no machine's.
    pub subject: String,
    /// Its part of what is stored.
    pub share_bytes: u64,
    /// What it alone needs of that.
    pub alone_bytes: u64,
    /// What its disks hold; none for what is no machine's, or has no points but deleted ones.
    pub used_bytes: Option<u64>,
    /// Its points, but for deleted ones.
    pub points: u64,
}

/// A day on which a store was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageDay {
    /// The vault.
    pub vault: VaultId,
    /// What its store is used for.
    pub class: StorageClass,
    /// The day, in UTC.
    pub day: Date,
    /// When it was.
    pub measured: Timestamp,
}

fn usage(row: &AnyRow) -> sqlx::Result<UsageRow> {
    let used: Option<i64> = row.try_get("used_bytes")?;
    Ok(UsageRow {
        subject: text(row, "subject")?,
        share_bytes: number(row, "share_bytes")?,
        alone_bytes: number(row, "alone_bytes")?,
        used_bytes: used.map(i64::unsigned_abs),
        points: number(row, "points")?,
    })
}

impl Catalog {
    /// Writes what was measured of a store, or a part of it. What was measured earlier on that day is forgotten; where
    /// something was measured later, nothing is written.
    pub async fn put_usage(&self, of: UsageDay, rows: &[UsageRow]) -> Result<()> {
        let sql = |e| Error::sql("note what is stored", e);
        let class = [spelt(&of.class.tier), spelt(&of.class.redundancy)];
        let mut transaction = self.begin().await.map_err(sql)?;
        let delete = "delete from usage
            where vault_id = $1 and tier = $2 and redundancy = $3 and day = $4 and measured_at < $5";
        let query = sqlx::query(delete).bind(of.vault.to_string()).bind(&class[0]).bind(&class[1]);
        let query = query.bind(of.day.to_string()).bind(micros(of.measured));
        query.execute(&mut *transaction).await.map_err(sql)?;
        let later = "select 1 as later from usage
            where vault_id = $1 and tier = $2 and redundancy = $3 and day = $4 and measured_at > $5 limit 1";
        let query = sqlx::query(later).bind(of.vault.to_string()).bind(&class[0]).bind(&class[1]);
        let query = query.bind(of.day.to_string()).bind(micros(of.measured));
        if query.fetch_optional(&mut *transaction).await.map_err(sql)?.is_some() {
            return Ok(());
        }
        let insert = "insert into usage (vault_id, tier, redundancy, day, subject, share_bytes, alone_bytes,
                used_bytes, points, measured_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing";
        for row in rows {
            let query = sqlx::query(insert).bind(of.vault.to_string()).bind(&class[0]).bind(&class[1]);
            let query = query.bind(of.day.to_string()).bind(&row.subject).bind(count(row.share_bytes));
            let query = query.bind(count(row.alone_bytes)).bind(row.used_bytes.map(count));
            let query = query.bind(count(row.points)).bind(micros(of.measured));
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// The days on which a vault's stores were measured, up to one, by store and then by day.
    pub async fn usage_days(&self, vault: VaultId, from: Date, until: Date) -> Result<Vec<UsageDay>> {
        let select = "select tier, redundancy, day, max(measured_at) as measured_at from usage
            where vault_id = $1 and day >= $2 and day <= $3
            group by tier, redundancy, day order by tier, redundancy, day";
        let query =
            sqlx::query(select).bind(vault.to_string()).bind(from.to_string()).bind(until.to_string());
        let query = query.try_map(|row: AnyRow| {
            let class = StorageClass { tier: word(&row, "tier")?, redundancy: word(&row, "redundancy")? };
            let day = text(&row, "day")?.parse().map_err(|error: jiff::Error| sqlx::Error::ColumnDecode {
                index: "day".to_owned(),
                source: Box::new(error),
            })?;
            Ok(UsageDay { vault, class, day, measured: instant(&row, "measured_at")? })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the days that were measured", e))
    }

    /// What was measured of a store on a day, by subject.
    pub async fn usage_on(&self, of: &UsageDay) -> Result<Vec<UsageRow>> {
        let select = "select * from usage where vault_id = $1 and tier = $2 and redundancy = $3 and day = $4
            order by subject";
        let query = sqlx::query(select).bind(of.vault.to_string()).bind(spelt(&of.class.tier));
        let query = query.bind(spelt(&of.class.redundancy)).bind(of.day.to_string());
        let query = query.try_map(|row| usage(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("read what was measured", e))
    }

    /// What lay in a store when it was measured last, on that day or later, and when that was.
    pub async fn stored_last(
        &self,
        vault: VaultId,
        class: StorageClass,
        since: Date,
    ) -> Result<Option<(u64, Timestamp)>> {
        // The newest day is looked up by the key, once: only its rows are added up.
        let select = "select cast(coalesce(sum(share_bytes), 0) as bigint) as bytes,
                max(measured_at) as measured_at from usage
            where vault_id = $1 and tier = $2 and redundancy = $3 and day = (select max(day) from usage
                where vault_id = $1 and tier = $2 and redundancy = $3 and day >= $4)";
        let query = sqlx::query(select).bind(vault.to_string()).bind(spelt(&class.tier));
        let query = query.bind(spelt(&class.redundancy)).bind(since.to_string());
        let query = query.try_map(|row: AnyRow| {
            let measured = instant_option(&row, "measured_at")?;
            measured.map(|measured| Ok((number(&row, "bytes")?, measured))).transpose()
        });
        query.fetch_one(&self.pool).await.map_err(|e| Error::sql("add up what a store holds", e))
    }

    /// Forgets what was measured before a day.
    pub async fn forget_usage(&self, before: Date) -> Result<()> {
        let query = sqlx::query("delete from usage where day < $1").bind(before.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("forget what was stored", e))
    }

    /// Somebody's own prices, if there are any.
    pub async fn prices(&self) -> Result<Option<Prices>> {
        let query = sqlx::query("select document from prices where id = $1").bind(PRICES);
        let found = query.try_map(|row: AnyRow| json(&row, "document")).fetch_optional(&self.pool).await;
        found.map_err(|e| Error::sql("read the prices", e))
    }

    /// Writes somebody's own prices.
    pub async fn put_prices(&self, prices: &Prices, now: Timestamp) -> Result<()> {
        let upsert = "insert into prices (id, document, changed_at) values ($1, $2, $3)
            on conflict (id) do update set document = excluded.document, changed_at = excluded.changed_at";
        let query = sqlx::query(upsert).bind(PRICES).bind(document(prices)).bind(micros(now));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("write the prices", e))
    }
}
