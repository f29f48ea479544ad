//! The log in the store: `log/<n>`, one sealed record each, put create-only; and intents to delete, `gc/<run>`.
//!
//! A record counts if it stands at the position it was computed for. Whoever puts `log/<n>` has read all
//! before it and asked [`State`] whether it may follow; if the name is taken, it reads on and asks again.
//!
//! CRASH: a put that was not acknowledged may stand. Whoever comes back to it reads it like any other.

use crate::protocol::{Record, Rules, State};
use crate::record::{open_record, seal_record};
use crate::seal::{ObjectKind, ObjectName, id_in_head};
use crate::vault::Vault;
use crate::{Error, ErrorKind, PackId, Result};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The largest record or intent: half a million packs by name.
const RECORD_BYTES_MAX: usize = 32 << 20;
/// Records read at once.
const READS_MAX: usize = 16;
/// How often a record is put again because others were quicker, before it is given up.
const TRIES_MAX: u32 = 1000;

/// A record as it lies in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// When it was written, by the writer's clock. For people and for grace; nothing is proved by it.
    at: Timestamp,
    record: Record,
}

/// What the log says, and when packs were condemned and points soft-deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) condemned_at: BTreeMap<PackId, Timestamp>,
    pub(crate) deleted_at: BTreeMap<crate::PointId, Timestamp>,
}

impl Vault {
    /// Reads the log to its end, from what is known of it.
    pub(crate) async fn read_log(&self, mut told: Told) -> Result<Told> {
        let mut numbers = Vec::new();
        for (name, _) in self.store().list("log").await? {
            let number = name.strip_prefix("log/").filter(|digits| digits.len() == 16);
            let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            numbers.push(number.ok_or_else(|| Error::corrupt(&name, 0, "no record has such a name"))?);
        }
        numbers.sort_unstable();
        let first = told.state.position;
        let fresh: Vec<u64> = numbers.into_iter().filter(|number| *number >= first).collect();
        // A gap is a record that was lost: what follows it was computed with it.
        if let Some((expected, _)) = (first..).zip(&fresh).find(|(expected, number)| expected != *number) {
            return Err(Error::corrupt(object(expected), 0, "the log has later records but lacks this one"));
        }
        let entries = stream::iter(fresh).map(|number| async move { self.read_entry(number).await });
        let mut entries = entries.buffered(READS_MAX);
        while let Some((number, entry)) = entries.try_next().await? {
            told.follow(number, &entry)?;
        }
        Ok(told)
    }

    async fn read_entry(&self, number: u64) -> Result<(u64, Entry)> {
        let name = object(number);
        let body = self.open_named(ObjectKind::LogRecord, &name, sequence(number)).await?;
        let entry = serde_json::from_slice(&body);
        Ok((number, entry.map_err(|e| Error::caused(ErrorKind::Corrupt, format!("read {name}"), e))?))
    }

    /// Puts a record behind the last one that `told` knows. `false` if another stands there.
    ///
    /// A put whose answer was lost may be tried again beneath us, and is then refused by itself: what stands
    /// there is read, and the same record is ours, or one that says the same.
    pub(crate) async fn append(&self, told: &Told, record: &Record, at: Timestamp) -> Result<bool> {
        let number = told.state.position;
        let entry = Entry { at, record: record.clone() };
        let body = serde_json::to_vec(&entry).expect("plain data");
        let object = self.seal_named(ObjectKind::LogRecord, sequence(number), &body)?;
        match self.store().create(&crate::log::object(number), object).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(self.read_entry(number).await?.1.record == *record)
            }
            Err(error) => Err(error),
        }
    }

    /// Appends a record that does not depend on what others append meanwhile; gives what the log says then.
    ///
    /// # Errors
    /// `Conflict` if the log no longer allows it.
    pub(crate) async fn append_when_possible(
        &self,
        told: Told,
        record: &Record,
        at: Timestamp,
    ) -> Result<Told> {
        Ok(self.append_while(told, (record, at), |_| true).await?.0)
    }

    /// The same for a record that makes sense only while `holds` does: that is asked of exactly the records
    /// before it. Gives what the log says then, and whether the record was appended.
    pub(crate) async fn append_while(
        &self,
        mut told: Told,
        (record, at): (&Record, Timestamp),
        holds: impl Fn(&Told) -> bool,
    ) -> Result<(Told, bool)> {
        for _ in 0..TRIES_MAX {
            told = self.read_log(told).await?;
            if !holds(&told) {
                return Ok((told, false));
            }
            if let Err(refusal) = told.state.clone().apply(record, Rules::ALL) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("the vault's log does not allow it: {refusal:?}"),
                ));
            }
            if self.append(&told, record, at).await? {
                told.follow(told.state.position, &Entry { at, record: record.clone() })?;
                return Ok((told, true));
            }
        }
        Err(Error::new(ErrorKind::Conflict, "the vault's log was never free: too many write to it"))
    }

    /// Publishes an intent to delete packs; gives its name.
    pub(crate) async fn put_intent(&self, packs: &BTreeSet<PackId>) -> Result<String> {
        let name = format!("gc/{}", self.ids().draw());
        let body = serde_json::to_vec(packs).expect("plain data");
        self.store().create(&name, self.seal_named(ObjectKind::Intent, 0, &body)?).await?;
        Ok(name)
    }

    /// All packs that any intent names.
    pub(crate) async fn read_intents(&self) -> Result<BTreeSet<PackId>> {
        let mut all = BTreeSet::new();
        for (name, _) in self.store().list("gc").await? {
            let body = match self.open_named(ObjectKind::Intent, &name, 0).await {
                // Dropped since the listing: its packs are gone or were never deleted, and whoever asks
                // looks for the packs themselves next.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            let packs: BTreeSet<PackId> = serde_json::from_slice(&body)
                .map_err(|e| Error::caused(ErrorKind::Corrupt, format!("read {name}"), e))?;
            all.extend(packs);
        }
        Ok(all)
    }

    /// Seals a body under a fresh id: racers for one name must not share a key.
    fn seal_named(&self, kind: ObjectKind, sequence: u32, body: &[u8]) -> Result<Vec<u8>> {
        if body.len() > RECORD_BYTES_MAX {
            let context = format!("a record of {} bytes is too large: delete in smaller steps", body.len());
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        let name = ObjectName { kind, id: self.ids().draw(), sequence };
        Ok(seal_record(self.keys(), self.id(), name, body))
    }

    async fn open_named(&self, kind: ObjectKind, object: &str, sequence: u32) -> Result<Vec<u8>> {
        let bytes = self.store().get(object).await?;
        let id = id_in_head(&bytes).ok_or_else(|| Error::corrupt(object, 0, "it is shorter than a head"))?;
        let name = ObjectName { kind, id, sequence };
        self.open_fresh(|keys| open_record(keys, self.id(), name, &bytes, RECORD_BYTES_MAX)).await
    }
}

impl Told {
    fn follow(&mut self, number: u64, entry: &Entry) -> Result<()> {
        let Entry { at, record } = entry;
        let applied = self.state.apply(record, Rules::ALL);
        applied.map_err(|refusal| {
            Error::corrupt(
                object(number),
                0,
                format!("this record cannot stand behind those before it: {refusal:?}"),
            )
        })?;
        match record {
            Record::Condemn { packs } => self.condemned_at.extend(packs.iter().map(|pack| (*pack, *at))),
            Record::SoftDelete { point } => drop(self.deleted_at.insert(*point, *at)),
            _ => {}
        }
        Ok(())
    }
}

fn object(number: u64) -> String {
    format!("log/{number:016x}")
}

/// The low half of a record's number, bound into its seal so that records cannot be swapped.
fn sequence(number: u64) -> u32 {
    (number & 0xFFFF_FFFF) as u32
}
