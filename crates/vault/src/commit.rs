//! Commit: the order in which a session becomes a point.
//!
//! 1. every pack is durable in the store;
//! 2. a sample of them is read back and found whole, and meanwhile the index runs become durable;
//! 3. the point's object is put: a reference that collectors respect, not yet a point;
//! 4. nobody means to delete what it uses, and all of it is there (`protocol/writer.rs`);
//! 5. the commit stands in the log: the point exists now, and only now is it acknowledged.
//!
//! CRASH: before 5, packs, runs and perhaps a point's object that the log knows nothing of. They are not
//! listed and not used, and go when collection aborts the session.

use crate::index::Extent;
use crate::pack::read_toc;
use crate::point::{POINT_BYTES_MAX, Point, PointStats, SERVICE_BYTES_MAX};
use crate::protocol::{Doom, Intention, Record, Rules, SessionState, State, Writer, WriterDoes, WriterSees};
use crate::record::seal_record;
use crate::seal::{ObjectKind, ObjectName};
use crate::session::Inner;
use crate::{DiskRecord, Error, ErrorKind, MachineKey, PackId, PackKind, PointId, Result, Session, work};
use futures_util::future::try_join;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a point says besides its disks.
#[derive(Clone, Debug)]
pub struct PointDraft {
    /// Its id.
    pub id: PointId,
    /// Under what name its machine's points are kept.
    pub machine: MachineKey,
    /// What people call the machine.
    pub machine_name: String,
    /// The instant of the disks.
    pub instant: Timestamp,
    /// The point it was made incrementally from.
    pub parent: Option<PointId>,
    /// What was proved of the guest's consistency.
    pub consistency: Value,
    /// How to make the machine again.
    pub description: Value,
    /// What a service wants to find again with the point; null for none, 256 KiB at most.
    pub service: Value,
}

impl Session {
    /// Makes the session a point. Once this returns, the point survives a power cut.
    ///
    /// # Errors
    /// On any error there is no such point, unless the store failed to answer the very last write: then it
    /// may exist, whole. `Conflict` if what it builds on was collected meanwhile: do it again.
    pub async fn commit(self, draft: PointDraft, disks: Vec<DiskRecord>) -> Result<Point> {
        let written = self.written();
        check_service(&draft)?;
        let session = self.close().await?;
        prove_and_index(&session).await?;
        let point = Point {
            format: 1,
            id: draft.id,
            machine: draft.machine,
            machine_name: draft.machine_name,
            instant: draft.instant,
            parent: draft.parent,
            session: session.id,
            consistency: draft.consistency,
            description: draft.description,
            service: draft.service,
            stats: PointStats {
                read_bytes: disks.iter().map(|disk| disk.read_bytes).sum(),
                new_bytes: written.new,
                stored_bytes: written.sealed,
            },
            disks,
        };
        publish(&session, &point).await?;
        // The point exists by now, whatever becomes of this.
        session.vault.tidy_index(&session.told.state, Extent::Small).await;
        Ok(point)
    }
}

impl Session {
    /// Ends the session without a point: what it has copied stands for what those packs hold. Nothing, if it
    /// has copied nothing.
    ///
    /// # Errors
    /// `Conflict` if the session was aborted meanwhile, or one of the packs is being deleted.
    pub(crate) async fn retire(
        self,
        packs: BTreeSet<PackId>,
        damaged: BTreeSet<PackId>,
        now: Timestamp,
    ) -> Result<()> {
        let session = self.close().await?;
        prove_and_index(&session).await?;
        // Unlike a point's, what this session copied is found through the index alone.
        if session.known.has_lost() {
            return Err(Error::new(ErrorKind::Store, "what was copied could not be put into the index"));
        }
        let wrote =
            [PackKind::Data, PackKind::Map].into_iter().any(|kind| session.own_packs(kind).next().is_some());
        let record = if packs.is_empty() && !wrote {
            Record::Abort { session: session.id }
        } else {
            Record::Retire { session: Some(session.id), packs, damaged }
        };
        session.vault.append_when_possible(session.told.clone(), &record, now).await.map(drop)
    }
}

/// Lets the protocol lead from reference to commit.
async fn publish(session: &Inner, point: &Point) -> Result<()> {
    let own = [PackKind::Data, PackKind::Map].into_iter().flat_map(|kind| session.own_packs(kind));
    let mut writer = Writer::new(Intention {
        session: session.id,
        point: point.id,
        own: own.collect(),
        bases: session.bases.lock().expect("no holder panics").clone(),
        uses: session.known.used(),
    });
    let vault = &session.vault;
    let mut told = session.told.clone();
    loop {
        let seen = match writer.does() {
            WriterDoes::PublishReference => {
                put_point(session, point).await?;
                WriterSees::Published
            }
            WriterDoes::ReadIntents => WriterSees::Intents(vault.read_intents(None).await?),
            WriterDoes::CheckPresence => {
                let missing = missing(session, point, &writer.wants).await?;
                if !missing.is_empty() {
                    told = vault.read_log(told).await?;
                    check_collected(&told.state, &missing)?;
                }
                WriterSees::Present(missing.is_empty())
            }
            WriterDoes::ReadLog => {
                told = vault.read_log(told).await?;
                WriterSees::Log(told.state.clone())
            }
            WriterDoes::Append(record) => {
                WriterSees::Appended(vault.append(&told, &record, session.begun).await?)
            }
            WriterDoes::Acknowledge => return Ok(()),
            WriterDoes::GiveUp(refusal) => {
                vault.store().delete(&Point::object(&point.machine, point.id)).await?;
                let context = format!("the vault was cleaned while this was written ({refusal:?})");
                return Err(Error::new(ErrorKind::Conflict, context));
            }
        };
        writer.sees(&seen, Rules::ALL);
    }
}

fn check_service(draft: &PointDraft) -> Result<()> {
    let bytes = draft.service.to_string().len();
    if bytes > SERVICE_BYTES_MAX {
        let text =
            format!("commit the point {}: what the service says of it is {bytes} bytes long", draft.id);
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(())
}

async fn put_point(session: &Inner, point: &Point) -> Result<()> {
    let vault = &session.vault;
    let body = serde_json::to_vec(point).expect("a point is plain data");
    // Nobody could read it again.
    if body.len() > POINT_BYTES_MAX {
        let text = format!("commit the point {}: its description is {} bytes long", point.id, body.len());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    // The session's id, not the point's: a copy of the point in another store is another object, and must
    // have another key.
    let name = ObjectName { kind: ObjectKind::Point, id: session.id.0, sequence: 0 };
    let object = seal_record(vault.keys(), vault.id(), name, &body);
    vault.store().create(&Point::object(&point.machine, point.id), object).await
}

/// Something a point needs that is not in the store.
enum Missing {
    Pack(PackId),
    Base(PointId),
}

/// What is not there of every pack and the object of every base. One listing a session that is used, not one
/// request a pack.
async fn missing(session: &Inner, point: &Point, wants: &Intention) -> Result<Vec<Missing>> {
    let store = session.vault.store();
    let wanted: BTreeSet<PackId> = wants.own.union(&wants.uses).copied().collect();
    let folders: BTreeSet<String> =
        wanted.iter().map(|pack| format!("{}/{}", pack.kind.folder(), pack.session)).collect();
    let mut there = BTreeSet::new();
    for folder in folders {
        there.extend(store.list(&folder).await?.iter().filter_map(|(name, _)| PackId::from_object(name)));
    }
    let mut missing: Vec<Missing> = wanted.difference(&there).copied().map(Missing::Pack).collect();
    if !wants.bases.is_empty() {
        let objects = store.list(&format!("points/{}", point.machine)).await?;
        let has =
            |base: &PointId| objects.iter().any(|(name, _)| *name == Point::object(&point.machine, *base));
        missing.extend(wants.bases.iter().filter(|base| !has(base)).copied().map(Missing::Base));
    }
    Ok(missing)
}

/// What the log says is being deleted is gone rightly, and trying again helps. Anything else was lost.
fn check_collected(state: &State, missing: &[Missing]) -> Result<()> {
    for one in missing {
        match one {
            Missing::Pack(pack) if state.doomed.get(pack) != Some(&Doom::Deleting) => {
                return Err(Error::corrupt(pack, 0, "it is missing, and nobody meant to delete it"));
            }
            Missing::Base(point) if state.is_root(point) => {
                return Err(Error::corrupt(
                    format!("points/*/{point}"),
                    0,
                    "the log has this point, the store has it not",
                ));
            }
            Missing::Pack(_) | Missing::Base(_) => {}
        }
    }
    Ok(())
}

/// Reads a sample of the packs back, and puts the index: the runs of a session that goes no further mean nothing.
async fn prove_and_index(session: &Inner) -> Result<()> {
    let prove = async {
        match read_back(session).await {
            Err(error) => Err(collected_or(session, error).await),
            whole => whole,
        }
    };
    try_join(prove, session.vault.put_index(session.id, &session.known)).await.map(drop)
}

/// Reads the last pack of each kind back from the store: its hash, seal and table must hold. A small backup is
/// proved whole by this; of a large one it is a sample.
async fn read_back(session: &Inner) -> Result<()> {
    for kind in [PackKind::Data, PackKind::Map] {
        if let Some(pack) = session.own_packs(kind).next_back() {
            let bytes = session.vault.store().get(&pack.object()).await?;
            let (keys, vault) = (Arc::clone(session.vault.keys_shared()), session.vault.id());
            work::run(move || read_toc(&keys, vault, pack, &bytes)).await?;
        }
    }
    Ok(())
}

/// A pack of its own that is not there: the session was given up for its age and its packs collected, or the
/// store lost it.
async fn collected_or(session: &Inner, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    match session.vault.read_log(session.told.clone()).await {
        Ok(told) if told.state.sessions.get(&session.id) == Some(&SessionState::Open) => {
            Error::caused(ErrorKind::Corrupt, format!("{error}: it was written, and it is gone"), error)
        }
        Ok(_) => Error::caused(ErrorKind::Conflict, "the session was given up while this was written", error),
        Err(other) => other,
    }
}
