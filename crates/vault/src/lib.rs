//! The storage engine: disks as recovery points on any object store: deduplicated, compressed,
//! encrypted, incremental for ever, readable with nothing but the objects and the key.
//!
//! **Called by** `mover` and the command line. **Calls** `block` (a disk in a point is a
//! [`block::BlockSource`]) and the object-store library, which only `store.rs` names. It knows no
//! machine, no policy, no protocol and no SQL: what a point says of its machine is opaque here.
//!
//! Reading order: [`Vault`] (`vault.rs`: create, open, list) → [`Session`] (`session.rs`: the write
//! path) → `pack.rs` (where sealed chunks lie) → `map/` (which chunk stands at which block) →
//! `commit.rs` (the order of durable writes) → [`PointDisk`] (`reader.rs`: the way back). The bytes of
//! every object are in `docs/format.md`, which is normative.
//!
//! Invariants:
//! - a point is its last object written: packs, then index, then point. Whatever a crash leaves is
//!   either a whole point or orphans that nothing refers to;
//! - object names are never reused and objects never rewritten: every put is create-only;
//! - a chunk read is decrypted, authenticated against its id, inflated under a cap and hashed again:
//!   altered bytes are an error that names the object, never other data;
//! - AES-GCM keys belong to one object, nonces are offsets within it: no pair is ever used twice;
//! - memory does not grow with the disk: pieces in flight, two open packs and the uploads under way.
//!   The index is the exception of this first cut: it is held in memory, 76 bytes a chunk.
//!
//! | | backup | restore | create vault |
//! |---|---|---|---|
//! | **backup** | safe: sessions share nothing but finished objects | safe: a point is visible only when whole | - |
//! | **restore** | safe | safe: read-only | - |
//! | **create vault** | - | - | one winner: `vault.json` is put create-only |
//!
//! Nothing is ever deleted yet; collection and its protocol come with the next format step.
//!
//! Errors: [`ErrorKind`] says what a caller can do. `Corrupt` is never folded into another kind.

mod bytes_io;
mod chunk;
mod commit;
mod error;
mod id;
mod index;
mod keys;
mod map;
mod pack;
mod point;
#[allow(dead_code)] // wired in next
mod protocol;
mod reader;
mod record;
mod seal;
mod session;
mod store;
mod vault;

pub use chunk::CHUNK_BYTES;
pub use commit::PointDraft;
pub use error::{Error, ErrorKind, Result};
pub use id::{ChunkId, MachineKey, PackId, PackKind, PointId, SessionId, VaultId};
pub use keys::KeyFile;
pub use map::{DiskMap, DiskWriter};
pub use point::{DiskRecord, Point, PointStats};
pub use reader::PointDisk;
pub use session::{Session, StoredBatch, Written};
pub use store::Store;
pub use vault::{Vault, VaultInfo};
