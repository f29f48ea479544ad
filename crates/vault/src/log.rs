//! The log in the store: `log/<n>`, one sealed record each, put create-only; and intents to delete, `gc/<run>`.
//!
//! A record counts if it stands at the position it was computed for. Whoever puts `log/<n>` has read all
//! before it and asked [`State`] whether it may follow; if the name is taken, it reads on and asks again.
//!
//! CRASH: a put that was not acknowledged may stand. Whoever comes back to it reads it like any other.
//!
//! Who begins to read starts from a checkpoint (`checkpoint.rs`) and lists only what came after it.

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
/// Records that a listing may miss because they were put while it went on.
const UNLISTED_MAX: u64 = 1000;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) condemned_at: BTreeMap<PackId, Timestamp>,
    pub(crate) deleted_at: BTreeMap<crate::PointId, Timestamp>,
    /// The number of records that the newest known checkpoint holds.
    pub(crate) checkpoint: u64,
}

impl Vault {
    /// Reads the log to its end, from what is known of it; from a checkpoint if that is nothing.
    pub(crate) async fn read_log(&self, mut told: Told) -> Result<Told> {
        let mut records_min = told.state.position;
        if told.state.position == 0 {
            let found = self.last_checkpoint().await?;
            (told, records_min) = (found.told, found.records_min);
        }
        let first = told.state.position;
        let fresh = self.list_records(first, records_min).await?;
        let entries = stream::iter(fresh).map(|number| async move { self.read_entry(number).await });
        let mut entries = entries.buffered(READS_MAX);
        while let Some((number, entry)) = entries.try_next().await? {
            told.follow(number, &entry)?;
        }
        Ok(told)
    }

    /// The numbers of all records from `first` on.
    ///
    /// INVARIANT: records are never deleted. The one before `first`, and as many as a checkpoint was made of,
    /// were once there: if the store lists them no more, the log has lost its tail, and with it points.
    async fn list_records(&self, first: u64, records_min: u64) -> Result<Vec<u64>> {
        // The listing begins with the record before the first: proof that it begins where it should.
        let known = first.saturating_sub(1);
        let before = known.checked_sub(1).map(object);
        let mut numbers = Vec::new();
        for (name, _) in self.store().list_after("log", before.as_deref()).await? {
            let number = name.strip_prefix("log/").filter(|digits| digits.len() == 16);
            let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            numbers.push(number.ok_or_else(|| Error::corrupt(&name, 0, "no record has such a name"))?);
        }
        let next = numbers.iter().max().map_or(known, |last| last + 1);
        if next < records_min {
            let found = format!("the log has lost its tail: it once had {records_min} records");
            return Err(Error::corrupt(object(next), 0, found));
        }
        if first > 0 && !numbers.contains(&known) {
            return Err(Error::corrupt(object(known), 0, "the log has lost this record"));
        }
        // A listing that goes on while others append may show a record and not the one before it: whether that
        // is there, only reading it tells.
        if next - first > numbers.len() as u64 + UNLISTED_MAX {
            return Err(Error::corrupt(
                object(next - 1),
                0,
                "the log has this record but lacks most before it",
            ));
        }
        Ok((first..next).collect())
    }

    async fn read_entry(&self, number: u64) -> Result<(u64, Entry)> {
        let name = object(number);
        let body = match self.open_named(ObjectKind::LogRecord, &name, sequence(number)).await {
            // What follows it was computed with it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::corrupt(name, 0, "the log has later records but lacks this one"));
            }
            other => other?,
        };
        let entry = serde_json::from_slice(&body);
        Ok((number, entry.map_err(|e| Error::caused(ErrorKind::Corrupt, format!("read {name}"), e))?))
    }

    /// Puts a record behind the last one that `told` knows. `false` if another stands there.
    ///
    /// What another put there that says the same serves as well, but for one that opens a session: that is his.
    /// INVARIANT: two who took one session for their own would seal under the same keys.
    pub(crate) async fn append(&self, told: &Told, record: &Record, at: Timestamp) -> Result<bool> {
        let is_owned = matches!(record, Record::Open { .. });
        Ok(self.append_alone(told, record, at).await?
            || (!is_owned && self.read_entry(told.state.position).await?.1.record == *record))
    }

    /// A put whose answer was lost is known as our own by its bytes: see `store/create.rs`.
    async fn append_alone(&self, told: &Told, record: &Record, at: Timestamp) -> Result<bool> {
        let number = told.state.position;
        let entry = Entry { at, record: record.clone() };
        let body = serde_json::to_vec(&entry).expect("plain data");
        let object = self.seal_named(ObjectKind::LogRecord, sequence(number), &body)?;
        match self.store().create(&crate::log::object(number), object).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
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
                self.put_checkpoint_if_due(&mut told).await;
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

    /// All packs that any intent but `own` names.
    pub(crate) async fn read_intents(&self, own: Option<&str>) -> Result<BTreeSet<PackId>> {
        let mut all = BTreeSet::new();
        let intents = self.store().list("gc").await?;
        for (name, _) in intents.into_iter().filter(|(name, _)| own != Some(name)) {
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
    pub(crate) fn seal_named(&self, kind: ObjectKind, sequence: u32, body: &[u8]) -> Result<Vec<u8>> {
        if body.len() > RECORD_BYTES_MAX {
            let context = format!("a record of {} bytes is too large: delete in smaller steps", body.len());
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        let name = ObjectName { kind, id: self.ids().draw(), sequence };
        Ok(seal_record(self.keys(), self.id(), name, body))
    }

    pub(crate) async fn open_named(&self, kind: ObjectKind, object: &str, sequence: u32) -> Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyFile, PackKind, SessionId, Store, VaultId};
    use object_store::memory::InMemory;
    use std::sync::Arc;
    use uuid::Uuid;

    #[tokio::test]
    async fn a_session_is_opened_by_one_and_other_records_by_whoever_says_the_same() {
        let (store, holder) = (Store::new(Arc::new(InMemory::new()), "memory"), KeyFile::generate());
        let now = Timestamp::UNIX_EPOCH;
        let vault = Vault::create(store, VaultId(Uuid::from_u128(1)), now, &holder).await.expect("create");
        let session = SessionId(Uuid::from_u128(2));
        let open = Record::Open { session };
        let none = Told::default();
        assert!(vault.append(&none, &open, now).await.expect("append"));
        assert!(!vault.append(&none, &open, now).await.expect("append"), "it is the first one's");
        let pack = PackId { kind: PackKind::Data, session, sequence: 0 };
        let condemn = Record::Condemn { packs: [pack].into() };
        let told = vault.read_log(none).await.expect("read");
        let other = Record::Abort { session };
        for (record, stands) in [(&condemn, true), (&condemn, true), (&other, false)] {
            assert_eq!(vault.append(&told, record, now).await.expect("append"), stands);
        }
    }
}
