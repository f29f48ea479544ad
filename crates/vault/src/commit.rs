//! Commit: the order in which a session becomes a point.
//!
//! 1. every pack is durable in the store;
//! 2. a sample of them is read back and found whole;
//! 3. the index runs are durable;
//! 4. the point is put: it exists now, and only now is it acknowledged.
//!
//! CRASH: before 4, packs and runs that no point refers to. They cost space and can serve later sessions:
//! a run is only written once the packs it names are durable, so what it says is true.

use crate::index::{RUN_ENTRIES_MAX, encode_run};
use crate::pack::read_toc;
use crate::point::{Point, PointStats};
use crate::record::seal_record;
use crate::seal::{ObjectKind, ObjectName};
use crate::session::Inner;
use crate::{DiskRecord, MachineKey, PackId, PackKind, PointId, Result, Session};
use jiff::Timestamp;
use serde_json::Value;

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
}

impl Session {
    /// Makes the session a point. Once this returns, the point survives a power cut.
    ///
    /// # Errors
    /// On any error there is no such point; what was written is orphaned.
    pub async fn commit(self, draft: PointDraft, disks: Vec<DiskRecord>) -> Result<Point> {
        let written = self.written();
        let session = self.close().await?;
        read_back(&session).await?;
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
            stats: PointStats {
                read_bytes: disks.iter().map(|disk| disk.read_bytes).sum(),
                new_bytes: written.new,
                stored_bytes: written.sealed,
            },
            disks,
        };
        let vault = std::sync::Arc::clone(&session.vault);
        put_index(session).await?;
        let body = serde_json::to_vec(&point).expect("a point is plain data");
        let name = ObjectName { kind: ObjectKind::Point, id: point.id.0, sequence: 0 };
        let object = seal_record(vault.keys(), vault.id(), name, &body);
        vault.store().create(&Point::object(&point.machine, point.id), object).await?;
        Ok(point)
    }
}

/// Reads the last pack of each kind back from the store: its hash, seal and table must hold. A small backup is proved whole by this; of a
/// large one it is a sample.
async fn read_back(session: &Inner) -> Result<()> {
    for kind in [PackKind::Data, PackKind::Map] {
        if let Some(sequence) = session.pack_count(kind).checked_sub(1) {
            let pack = PackId { kind, session: session.id, sequence };
            let bytes = session.vault.store().get(&pack.object()).await?;
            read_toc(session.vault.keys(), session.vault.id(), pack, &bytes)?;
        }
    }
    Ok(())
}

/// Publishes what the session added.
async fn put_index(session: Inner) -> Result<()> {
    let Inner { vault, id, known, .. } = session;
    let fresh = known.into_fresh();
    for (part, sequence) in fresh.chunks(RUN_ENTRIES_MAX).zip(0..) {
        let name = ObjectName { kind: ObjectKind::IndexRun, id: id.0, sequence };
        let object = seal_record(vault.keys(), vault.id(), name, &encode_run(part));
        vault.store().create(&format!("index/{id}/{sequence:08x}"), object).await?;
    }
    Ok(())
}
