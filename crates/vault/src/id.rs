//! Ids: each a type of its own, so that none can stand where another belongs.

use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let context = || format!("'{text}' is not an id");
                Uuid::parse_str(text).map(Self).map_err(|e| Error::caused(ErrorKind::Invalid, context(), e))
            }
        }
    };
}

uuid_id! {
    /// A vault, for ever.
    VaultId
}
uuid_id! {
    /// One run of writing into a vault. Drawn anew for every run, so the names under it are never reused.
    SessionId
}
uuid_id! {
    /// A recovery point. Version 7, so that ids sort by the time they were made.
    PointId
}

/// What a chunk holds, as a keyed hash: equal ids, equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a pack holds. Map nodes ride apart from data, so that walking maps never reads data packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackKind {
    /// Chunks of disks.
    Data = 1,
    /// Nodes of block maps.
    Map = 2,
}

impl PackKind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Data, Self::Map].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A pack: the session that wrote it and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackId {
    /// Whether it holds data or maps.
    pub kind: PackKind,
    /// Who wrote it.
    pub session: SessionId,
    /// Counts up from 0 within the session and kind.
    pub sequence: u32,
}

impl PackKind {
    /// The folder of packs of this kind.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Data => "packs",
            Self::Map => "maps",
        }
    }
}

impl PackId {
    /// The pack of that object's name.
    pub(crate) fn from_object(object: &str) -> Option<Self> {
        let mut parts = object.split('/');
        let folder = parts.next()?;
        let kind = [PackKind::Data, PackKind::Map].into_iter().find(|kind| kind.folder() == folder)?;
        let session = parts.next()?.parse().ok()?;
        let sequence = u32::from_str_radix(parts.next()?, 16).ok()?;
        let pack = Self { kind, session, sequence };
        // Only the one spelling: names are compared as text elsewhere.
        (pack.object() == object).then_some(pack)
    }

    /// The object's name in the store.
    pub fn object(&self) -> String {
        format!("{}/{}/{:08x}", self.kind.folder(), self.session, self.sequence)
    }
}

impl TryFrom<String> for PackId {
    type Error = Error;

    fn try_from(object: String) -> Result<Self> {
        let context = || format!("'{object}' does not name a pack");
        Self::from_object(&object).ok_or_else(|| Error::new(ErrorKind::Corrupt, context()))
    }
}

impl From<PackId> for String {
    fn from(pack: PackId) -> Self {
        pack.object()
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object())
    }
}

/// Under what name a machine's points are kept: letters, digits, `-`, `_` and `.`, at most 128.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineKey(String);

impl MachineKey {
    /// Takes a name that is safe as part of an object's name everywhere.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 128 || !name.chars().all(safe) || name.starts_with('.') {
            let rule = "use 1 to 128 letters, digits, '-', '_' and '.', not starting with '.'";
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("'{name}' cannot name a machine in a vault: {rule}"),
            ));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MachineKey {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<MachineKey> for String {
    fn from(key: MachineKey) -> Self {
        key.0
    }
}

impl fmt::Display for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
