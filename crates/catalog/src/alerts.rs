//! What somebody should know: one open alert for each thing that is wrong, however often it is noticed.

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{instant, instant_option, micros, parsed, spelt, text, word};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data or its safety is at stake.
    Critical,
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// Good to know.
    Informational,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: Uuid,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing: one open alert for each kind and subject.
    pub category: String,
    /// What it is about.
    pub subject: String,
    /// What is wrong and what to do.
    pub text: String,
    /// Since when.
    pub raised: Timestamp,
    /// Until when.
    pub resolved: Option<Timestamp>,
    /// Who has taken note.
    pub acknowledged_by: Option<String>,
}

fn alert(row: &AnyRow) -> sqlx::Result<Alert> {
    Ok(Alert {
        id: parsed(row, "id")?,
        severity: word(row, "severity")?,
        category: text(row, "category")?,
        subject: text(row, "subject")?,
        text: text(row, "text")?,
        raised: instant(row, "raised_at")?,
        resolved: instant_option(row, "resolved_at")?,
        acknowledged_by: row.try_get("acknowledged_by")?,
    })
}

impl Catalog {
    /// Raises an alert. Gives whether it is new: one that is open already stays as it is.
    pub async fn raise(&self, new: &Alert) -> Result<bool> {
        let insert = "insert into alerts (id, severity, category, subject, text, raised_at)
            values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(spelt(&new.severity));
        let query = query.bind(&new.category).bind(&new.subject).bind(&new.text).bind(micros(new.raised));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("raise an alert", e))?;
        Ok(done.rows_affected() == 1)
    }

    /// Has an open alert say what is so by now.
    pub async fn reword(&self, category: &str, subject: &str, text: &str) -> Result<()> {
        let update = "update alerts set text = $1
            where category = $2 and subject = $3 and resolved_at is null and text <> $1";
        let query = sqlx::query(update).bind(text).bind(category).bind(subject);
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("reword an alert", e))
    }

    /// Says that what an alert told of is over. Gives whether there was one.
    pub async fn resolve(&self, category: &str, subject: &str, now: Timestamp) -> Result<bool> {
        let update = "update alerts set resolved_at = $1
            where category = $2 and subject = $3 and resolved_at is null";
        let query = sqlx::query(update).bind(micros(now)).bind(category).bind(subject);
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("resolve an alert", e))?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes that somebody has seen an alert.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn acknowledge(&self, id: Uuid, by: &str) -> Result<()> {
        let query = sqlx::query("update alerts set acknowledged_by = $1 where id = $2 returning id");
        let done = query.bind(by).bind(id.to_string()).fetch_one(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql(format!("acknowledge the alert {id}"), e))
    }

    /// An alert.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn alert(&self, id: Uuid) -> Result<Alert> {
        let query = sqlx::query("select * from alerts where id = $1").bind(id.to_string());
        let found = query.try_map(|row| alert(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the alert {id}"), e))
    }

    /// A page of the alerts, newest first; all, or the open ones.
    pub async fn alerts(&self, open: bool, after: Option<&Cursor>, limit: u32) -> Result<Page<Alert>> {
        let (before, id) = Cursor::time_and_id(after)?;
        let select =
            "select * from alerts where (raised_at, id) < ($1, $2) and ($3 = 0 or resolved_at is null)
            order by raised_at desc, id desc limit $4";
        let query =
            sqlx::query(select).bind(before).bind(id).bind(i64::from(open)).bind(with_one_more(limit));
        let rows = query.try_map(|row| alert(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the alerts", e))?;
        Ok(Page::of(rows, limit, |row| Cursor::of_time(row.raised, row.id)))
    }
}
