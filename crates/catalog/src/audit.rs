//! Who did what: a chain in which every entry holds the hash of the one before.
//!
//! An entry that is changed, taken out or put in breaks the chain from there on. Cutting off the end does not: so
//! the newest hash belongs somewhere else too (a log that is shipped off, the vault), to be compared with.

use crate::row::{count, instant, micros, number, text};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use sqlx::any::AnyRow;

/// Entries read at once when the chain is checked.
const STEP: i64 = 10_000;
/// Servers that append at the same moment take the same place; all but one try again.
const TRIES: u32 = 50;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place, from 1.
    pub ordinal: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// The rest, as JSON.
    pub detail: String,
    /// BLAKE3 over all of this and the hash before, in hex.
    pub hash: String,
}

/// What checking the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditProof {
    /// Whole, up to this entry.
    Whole {
        /// How many entries.
        entries: u64,
        /// The hash of the newest.
        head: String,
    },
    /// This entry, or the one before it, is not what it was.
    Broken {
        /// Where.
        ordinal: u64,
    },
}

fn entry(row: &AnyRow) -> sqlx::Result<AuditEntry> {
    Ok(AuditEntry {
        ordinal: number(row, "ordinal")?,
        at: instant(row, "at")?,
        actor: text(row, "actor")?,
        action: text(row, "action")?,
        object: text(row, "object")?,
        detail: text(row, "detail")?,
        hash: text(row, "hash")?,
    })
}

impl AuditEntry {
    /// The hash that this entry must have after that one. Lengths go in too: no two entries read the same.
    fn hash_after(&self, before: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("strongroom audit entry 1");
        hasher.update(&self.ordinal.to_le_bytes()).update(&micros(self.at).to_le_bytes());
        for part in [before, &self.actor, &self.action, &self.object, &self.detail] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl Catalog {
    /// Appends an entry; its place and hash are given here.
    pub async fn append_audit(&self, mut new: AuditEntry) -> Result<AuditEntry> {
        let context = "write the audit log";
        for _ in 0..TRIES {
            let query = sqlx::query("select * from audit order by ordinal desc limit 1");
            let last = query.try_map(|row| entry(&row)).fetch_optional(&self.pool).await;
            let last = last.map_err(|e| Error::sql(context, e))?;
            new.ordinal = last.as_ref().map_or(0, |last| last.ordinal) + 1;
            new.hash = new.hash_after(last.as_ref().map_or("", |last| &last.hash));
            match self.insert_audit(&new).await.map_err(|e| Error::sql(context, e)) {
                Ok(()) => return Ok(new),
                Err(error) if error.kind() == ErrorKind::Exists => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{context}: too many write it at once")))
    }

    async fn insert_audit(&self, new: &AuditEntry) -> sqlx::Result<()> {
        let insert = "insert into audit (ordinal, at, actor, action, object, detail, hash)
            values ($1, $2, $3, $4, $5, $6, $7)";
        let query = sqlx::query(insert).bind(count(new.ordinal)).bind(micros(new.at)).bind(&new.actor);
        let query = query.bind(&new.action).bind(&new.object).bind(&new.detail).bind(&new.hash);
        query.execute(&self.pool).await.map(drop)
    }

    /// The entries behind a place, oldest first.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        let query = sqlx::query("select * from audit where ordinal > $1 order by ordinal limit $2");
        let query = query.bind(count(after)).bind(i64::from(limit)).try_map(|row| entry(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("read the audit log", e))
    }

    /// Checks the whole chain.
    pub async fn check_audit(&self) -> Result<AuditProof> {
        let (mut entries, mut head) = (0, String::new());
        loop {
            let query = sqlx::query("select * from audit where ordinal > $1 order by ordinal limit $2");
            let query = query.bind(count(entries)).bind(STEP).try_map(|row| entry(&row));
            let some = query.fetch_all(&self.pool).await.map_err(|e| Error::sql("check the audit log", e))?;
            if some.is_empty() {
                return Ok(AuditProof::Whole { entries, head });
            }
            for entry in some {
                if entry.ordinal != entries + 1 || entry.hash != entry.hash_after(&head) {
                    return Ok(AuditProof::Broken { ordinal: entries + 1 });
                }
                (entries, head) = (entry.ordinal, entry.hash);
            }
        }
    }
}
