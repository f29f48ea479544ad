//! Recovery points: the manifest that makes a set of disks at one instant restorable.

use crate::bytes_io::Fields;
use crate::index::Location;
use crate::map::{Child, DiskMap};
use crate::{ChunkId, Error, ErrorKind, MachineKey, PackId, PackKind, PointId, Result, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest manifest that is read: thousands of disks with long descriptions.
pub(crate) const POINT_BYTES_MAX: usize = 16 << 20;

/// The largest `service` of a point: a policy that names a thousand disks, several times over.
pub(crate) const SERVICE_BYTES_MAX: usize = 256 << 10;

/// A machine's disks at one instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Version of this manifest; 1.
    pub(crate) format: u16,
    /// Its id, also its name in the store.
    pub id: PointId,
    /// Under what name its machine's points are kept.
    pub machine: MachineKey,
    /// What people call the machine.
    pub machine_name: String,
    /// The instant of the disks.
    pub instant: Timestamp,
    /// The point it was made incrementally from; for information, reading needs no other point.
    pub parent: Option<PointId>,
    /// The session that wrote it.
    pub session: SessionId,
    /// The disks.
    pub disks: Vec<DiskRecord>,
    /// What was proved of the guest's consistency; the vault does not look inside.
    pub consistency: Value,
    /// How to make the machine again; the vault does not look inside.
    pub description: Value,
    /// What the service that made it wants to find again; the vault does not look inside. Null where there was none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub service: Value,
    /// What making it moved.
    pub stats: PointStats,
}

/// One disk of a point.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskRecord {
    /// Its name, unique in the point.
    pub name: String,
    /// Its content.
    pub map: DiskMap,
    /// Whether only changes were read, or why everything was; for people.
    pub tracking: String,
    /// Bytes read from the machine for it.
    pub read_bytes: u64,
}

/// What making a point moved, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointStats {
    /// Read from the machine.
    pub read_bytes: u64,
    /// Of those, in chunks that the vault did not have.
    pub new_bytes: u64,
    /// Added to the store: sealed chunks and map nodes.
    pub stored_bytes: u64,
}

impl Point {
    /// The disk of that name.
    ///
    /// # Errors
    /// `NotFound`, naming the disks there are.
    pub fn disk(&self, name: &str) -> Result<&DiskRecord> {
        self.disks.iter().find(|disk| disk.name == name).ok_or_else(|| {
            let names: Vec<_> = self.disks.iter().map(|disk| disk.name.as_str()).collect();
            let context = format!("point {} has no disk '{name}'; it has {}", self.id, names.join(", "));
            Error::new(ErrorKind::NotFound, context)
        })
    }

    /// The object's name in the store.
    pub(crate) fn object(machine: &MachineKey, id: PointId) -> String {
        format!("points/{machine}/{id}")
    }
}

/// A [`Child`] as the manifest spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChildRecord {
    /// 64 hex digits.
    pub(crate) id: String,
    session: SessionId,
    sequence: u32,
    offset: u32,
    length: u32,
}

impl From<Child> for ChildRecord {
    fn from(child: Child) -> Self {
        let Location { pack, offset, length } = child.at;
        Self { id: child.id.to_string(), session: pack.session, sequence: pack.sequence, offset, length }
    }
}

impl TryFrom<&ChildRecord> for Child {
    type Error = Error;

    fn try_from(record: &ChildRecord) -> Result<Self> {
        let digits = |at: usize| u8::from_str_radix(record.id.get(at..at + 2)?, 16).ok();
        let bytes = (0..64).step_by(2).map(digits).collect::<Option<Vec<u8>>>();
        let id = bytes.filter(|_| record.id.len() == 64).and_then(|bytes| Fields(&bytes).array());
        let id = id.ok_or_else(|| Error::corrupt("a point", 0, "the id of a map's root makes no sense"))?;
        let pack = PackId { kind: PackKind::Map, session: record.session, sequence: record.sequence };
        Ok(Child { id: ChunkId(id), at: Location { pack, offset: record.offset, length: record.length } })
    }
}
