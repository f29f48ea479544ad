//! The storage engine: disks as recovery points on any object store: deduplicated, compressed,
//! encrypted, incremental for ever, readable with nothing but the objects and the key.
//!
//! **Called by** `mover` and the command line. **Calls** `block` (a disk in a point is a
//! [`block::BlockSource`]) and the object-store library, which only `store/` names. It knows no
//! machine, no policy, no protocol and no SQL: what a point says of its machine is opaque here.
//!
//! Reading order: [`Store`] (`store/`: where objects lie) → [`Vault`] (`vault.rs`: create, open, list) →
//! [`Session`] (`session.rs`: the write path) → `pack.rs` (where sealed chunks lie) → `map/` (which chunk stands at which block) →
//! `commit.rs` (the order of durable writes) → [`PointDisk`] (`reader.rs`: the way back) → `collect.rs`
//! (deleting). `keys/` stands apart: who can open a vault ([`Holders`]), and with what ([`KeyProvider`]). The
//! bytes of every object are in `docs/format.md`, which is normative.
//!
//! Invariants:
//! - a point exists from its record in the log on: packs, index, point's object, record. Whatever a crash
//!   leaves is either a whole point or orphans that are not listed;
//! - object names are never reused and objects never rewritten: every put is create-only;
//! - a pack is deleted only if the log and the handshake agree (`protocol/mod.rs`), whoever pauses wherever;
//! - a chunk read is decrypted, authenticated against its id, inflated under a cap and hashed again:
//!   altered bytes are an error that names the object, never other data;
//! - AES-GCM keys belong to one object, nonces are offsets within it: no pair is ever used twice;
//! - memory does not grow with the disk: pieces in flight, two open packs and the uploads under way.
//!   The index is the exception: a session holds it in memory, 44 bytes for every chunk ever stored and 76
//!   for each new one.
//!
//! | | backup | restore | delete, undelete | collect |
//! |---|---|---|---|---|
//! | **backup** | safe: sessions share only committed packs | safe: a point is visible only when whole | safe: a base that is purged meanwhile makes the commit fail | safe: the protocol; `Conflict` at worst |
//! | **restore** | safe | safe: read-only | safe until purged | a point purged while it is read fails, by name |
//! | **delete, undelete** | | | one order: the log | safe: only what was soft-deleted long enough is purged |
//! | **collect** | | | | safe: each condemns, intends and deletes by itself |
//! | **change keys** | safe: an open vault takes newer keys over when a session begins or an object needs them; of a removed holder, `Key` | safe, likewise | safe | safe |
//!
//! Two changes of keys race for one name; the loser is made again on top of the winner's.
//!
//! Errors: [`ErrorKind`] says what a caller can do. `Corrupt` is never folded into another kind.

mod bytes_io;
mod chunk;
mod collect;
mod commit;
mod deletion;
mod error;
#[cfg(test)]
mod fuzz;
mod id;
mod ids;
mod index;
mod keys;
mod log;
mod map;
mod pack;
mod point;
mod protocol;
mod reader;
mod record;
mod seal;
mod session;
mod store;
mod vault;
mod verify;
mod work;

pub use chunk::CHUNK_BYTES;
pub use collect::{CollectOptions, CollectPlan, Collected};
pub use commit::PointDraft;
pub use error::{Error, ErrorKind, Result};
pub use id::{ChunkId, MachineKey, PackId, PackKind, PointId, SessionId, VaultId};
pub use ids::Ids;
pub use keys::{
    HashCost, Holder, HolderId, HolderSecret, Holders, KeyFile, KeyProvider, NewHolder, Passphrase,
    RecoveryKey, Removal, Rotation, WrapContext,
};
pub use map::{DiskMap, DiskWriter};
pub use point::{DiskRecord, Point, PointStats};
pub use reader::PointDisk;
pub use session::{Base, Session, StoredBatch, Written};
pub use store::{ProbeReport, Store, StoreAddress, StoreSettings, Verdict};
pub use vault::{Survey, Vault, VaultInfo};
pub use verify::{Damage, DamagedPoint, Verified, scrub};
