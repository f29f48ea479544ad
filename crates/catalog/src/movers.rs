//! Movers: who may ask for work, and the hosts each speaks with.

use crate::machines::host;
use crate::row::{instant, instant_option, micros, number, parsed, text};
use crate::{Catalog, Error, Host, Result};
use jiff::Timestamp;
use model::{HostId, MachineId};
use sqlx::any::AnyRow;

/// A mover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mover {
    /// Its name: `server` for the one within the server.
    pub name: String,
    /// Since when it is there.
    pub joined: Timestamp,
    /// When it was last heard of.
    pub seen: Option<Timestamp>,
}

fn mover(row: &AnyRow) -> sqlx::Result<Mover> {
    Ok(Mover {
        name: text(row, "name")?,
        joined: instant(row, "joined_at")?,
        seen: instant_option(row, "seen_at")?,
    })
}

impl Catalog {
    /// Keeps the hash of a token that a mover joins with.
    pub async fn add_join_token(&self, hash: &str, made_by: &str, expires: Timestamp) -> Result<()> {
        let insert = "insert into join_tokens (hash, made_by, expires_at) values ($1, $2, $3)";
        let query = sqlx::query(insert).bind(hash).bind(made_by).bind(micros(expires));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("keep a join token", e))
    }

    /// Uses a join token up. Gives whether it was good; those that are over are forgotten.
    pub async fn use_join_token(&self, hash: &str, now: Timestamp) -> Result<bool> {
        let sql = |e| Error::sql("use a join token", e);
        let query = sqlx::query("delete from join_tokens where hash = $1 and expires_at > $2");
        let used = query.bind(hash).bind(micros(now)).execute(&self.pool).await.map_err(sql)?;
        let query = sqlx::query("delete from join_tokens where expires_at <= $1").bind(micros(now));
        query.execute(&self.pool).await.map_err(sql)?;
        Ok(used.rows_affected() == 1)
    }

    /// Adds a mover.
    ///
    /// # Errors
    /// `Exists` when its name is taken.
    pub async fn add_mover(&self, new: &Mover) -> Result<()> {
        let insert = "insert into movers (name, joined_at, seen_at) values ($1, $2, $3)";
        let query = sqlx::query(insert).bind(&new.name).bind(micros(new.joined));
        let added = query.bind(new.seen.map(micros)).execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("add the mover {}", new.name), e))
    }

    /// All movers, by name.
    pub async fn movers(&self) -> Result<Vec<Mover>> {
        let query = sqlx::query("select * from movers order by name").try_map(|row| mover(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the movers", e))
    }

    /// One mover.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn mover(&self, name: &str) -> Result<Mover> {
        let query = sqlx::query("select * from movers where name = $1").bind(name);
        let found = query.try_map(|row| mover(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the mover {name}"), e))
    }

    /// Forgets a mover.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_mover(&self, name: &str) -> Result<()> {
        let query = sqlx::query("delete from movers where name = $1 returning name").bind(name);
        let done = query.fetch_one(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql(format!("forget the mover {name}"), e))
    }

    /// Notes that a mover was heard of.
    pub async fn see_mover(&self, name: &str, now: Timestamp) -> Result<()> {
        let query =
            sqlx::query("update movers set seen_at = $1 where name = $2").bind(micros(now)).bind(name);
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("note a mover", e))
    }

    /// How many movers were heard of since then.
    pub async fn movers_seen(&self, since: Timestamp) -> Result<u64> {
        let query =
            sqlx::query("select count(*) as movers from movers where seen_at >= $1").bind(micros(since));
        let found = query.try_map(|row: AnyRow| number(&row, "movers")).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql("count the movers", e))
    }

    /// Adds the host that a mover stands on. That it is there already, with that mover, is no error.
    ///
    /// # Errors
    /// `Exists` when another mover has a host of that name.
    pub async fn add_own_host(&self, id: HostId, mover: &str) -> Result<HostId> {
        let upsert = "insert into hosts (id, name, address, mover) values ($1, $2, 'local', $2)
            on conflict (name) do update set mover = excluded.mover where hosts.mover = excluded.mover
            returning id";
        let query = sqlx::query(upsert).bind(id.to_string()).bind(mover);
        let found = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_optional(&self.pool).await;
        let context = || format!("add the host {mover}");
        found.map_err(|e| Error::sql(context(), e))?.ok_or_else(|| {
            Error::new(crate::ErrorKind::Exists, context() + ": another mover has a host of that name")
        })
    }

    /// The hosts that a mover speaks with.
    pub async fn hosts_of(&self, mover: &str) -> Result<Vec<Host>> {
        let select = "select * from hosts where mover = $1 order by name";
        let query = sqlx::query(select).bind(mover).try_map(|row| host(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list a mover's hosts", e))
    }

    /// The host of a machine; none if either is gone.
    pub async fn host_of(&self, machine: MachineId) -> Result<Option<Host>> {
        let select = "select * from hosts where id = (select host_id from machines where id = $1)";
        let query = sqlx::query(select).bind(machine.to_string()).try_map(|row| host(&row));
        query.fetch_optional(&self.pool).await.map_err(|e| Error::sql("find a machine's host", e))
    }
}
