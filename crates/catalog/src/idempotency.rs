//! Requests that are sent twice are done once.

use crate::row::{instant, micros, text};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use sqlx::Row;

/// What is known of a request with this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// Nothing: it is to be done now, and its answer given to [`Catalog::answer_request`].
    First,
    /// The first one is being done, or its server died in the middle.
    UnderWay {
        /// When it began.
        since: Timestamp,
    },
    /// It was answered with this.
    Answered(String),
    /// The key was used for another request.
    Different,
}

impl Catalog {
    /// Asks whether a caller has sent a request before. `request` is a hash of all that it says.
    pub async fn begin_request(
        &self,
        caller: &str,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> Result<Repetition> {
        let context = "look for a repeated request";
        let insert = "insert into idempotency (caller, key, request, response, created_at)
            values ($1, $2, $3, null, $4) on conflict (caller, key) do nothing";
        let query = sqlx::query(insert).bind(caller).bind(key).bind(request).bind(micros(now));
        let added = query.execute(&self.pool).await.map_err(|e| Error::sql(context, e))?;
        if added.rows_affected() == 1 {
            return Ok(Repetition::First);
        }
        let select = "select request, response, created_at from idempotency where caller = $1 and key = $2";
        let row = sqlx::query(select).bind(caller).bind(key).fetch_one(&self.pool).await;
        let read = row.and_then(|row| {
            Ok((text(&row, "request")?, row.try_get("response")?, instant(&row, "created_at")?))
        });
        let (before, response, since) = read.map_err(|e| Error::sql(context, e))?;
        Ok(match response {
            _ if before != request => Repetition::Different,
            Some(response) => Repetition::Answered(response),
            None => Repetition::UnderWay { since },
        })
    }

    /// Keeps the answer to a request, for those that come again.
    pub async fn answer_request(&self, caller: &str, key: &str, response: &str) -> Result<()> {
        let query = sqlx::query("update idempotency set response = $1 where caller = $2 and key = $3");
        let done = query.bind(response).bind(caller).bind(key).execute(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql("keep an answer", e))
    }

    /// Forgets a request whose answer is not to be given again.
    pub async fn forget_request(&self, caller: &str, key: &str) -> Result<()> {
        let query = sqlx::query("delete from idempotency where caller = $1 and key = $2");
        let done = query.bind(caller).bind(key).execute(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql("forget a request", e))
    }

    /// Forgets requests that began before. Gives how many.
    pub async fn forget_requests(&self, before: Timestamp) -> Result<u64> {
        let query = sqlx::query("delete from idempotency where created_at < $1").bind(micros(before));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("forget old requests", e))?;
        Ok(done.rows_affected())
    }
}
