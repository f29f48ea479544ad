//! Names of runs.

use crate::bytes_io::Fields;
use crate::seal::{ObjectKind, ObjectName};
use uuid::Uuid;

/// A run in the store: who wrote it, and which of theirs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunName {
    /// The session that published it, or an id drawn for one merge. Runs of one group hold ranges of ids apart
    /// from one another.
    pub(crate) group: Uuid,
    pub(crate) sequence: u32,
}

impl RunName {
    /// Bytes of a name where it is written down.
    pub(super) const BYTES: usize = 20;

    /// The run of that object's name.
    pub(crate) fn from_object(object: &str) -> Option<Self> {
        let (group, sequence) = object.strip_prefix("index/")?.split_once('/')?;
        let name = Self { group: group.parse().ok()?, sequence: u32::from_str_radix(sequence, 16).ok()? };
        (name.object() == object).then_some(name)
    }

    /// The object's name in the store.
    pub(crate) fn object(&self) -> String {
        format!("index/{}/{:08x}", self.group, self.sequence)
    }

    /// What the head of the object must name.
    pub(super) fn sealed_as(&self) -> ObjectName {
        ObjectName { kind: ObjectKind::IndexRun, id: self.group, sequence: self.sequence }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { group: Uuid::from_bytes(fields.array()?), sequence: fields.u32()? })
    }
}
