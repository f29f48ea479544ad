//! The storage engine: disks as recovery points on any object store: deduplicated, compressed,
//! encrypted, incremental for ever, readable with nothing but the objects and the key.
//!
//! **Called by** `mover` and the command line. **Calls** `block` (a disk in a point is a
//! [`block::BlockSource`]) and the object-store library, which only `store/` names. It knows no
//! machine, no policy, no protocol and no SQL: what a point says of its machine is opaque here.
//!
//! Reading order: [`Store`] (`store/`: where objects lie) → [`Vault`] (`vault.rs`: create, open, list) →
//! [`Session`] (`session.rs`: the write path) → `pack.rs` (where sealed chunks lie) → `map/` (which chunk stands at which block) →
//! `index/` (which chunks there are) → `commit.rs` (the order of durable writes) → [`PointDisk`] (`reader.rs`: the
//! way back) → `collect/` (deleting, compacting) → `repair.rs` → [`copy_point`] (`copy.rs`: to another store of the
//! vault) → [`Rescue`] (`rescue.rs`: whatever else is lost). [`Note`] (`notes.rs`): what a service keeps beside its points. `keys/` stands apart: who can open a vault
//! ([`Holders`]), and with what ([`KeyProvider`]). The
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
//! - memory does not grow with the disk: pieces in flight, two open packs and the uploads under way; of the
//!   index an eighth of a byte a chunk, 16 MiB of filters, 50 MiB of what a session adds, 70 MiB while runs are
//!   fetched. The rest of the index lies in the cache ([`Vault::with_cache`]); without one in memory too, 46 bytes
//!   a chunk.
//!
//! | | backup | restore | delete, undelete | collect |
//! |---|---|---|---|---|
//! | **backup** | safe: sessions share only committed packs | safe: a point is visible only when whole | safe: a base that is purged meanwhile makes the commit fail | safe: the protocol; `Conflict` at worst |
//! | **restore** | safe | safe: read-only | safe until purged | a point purged while it is read fails, by name |
//! | **delete, undelete** | | | one order: the log | safe: only what was soft-deleted long enough is purged |
//! | **collect** | | | | safe: each condemns, intends and deletes by itself |
//! | **compact, repair** | safe: what is retired serves sessions that found it before; `Conflict` if it goes | safe: what is not where its map says is looked for | safe | safe: copies are kept by the rule of `protocol/home.rs` |
//! | **copy to, copy from** | safe: a copy is a backup of the target | safe: read-only | safe: what the target's log knows is not copied again | target: as a backup; source: a pack collected meanwhile fails it, by name |
//! | **rescue** | safe: read-only, and asks no log | safe | safe | what is deleted meanwhile is a gap |
//! | **change keys** | safe: an open vault takes newer keys over when a session begins or an object needs them; of a removed holder, `Key` | safe, likewise | safe | safe |
//!
//! Two changes of keys race for one name; the loser is made again on top of the winner's.
//!
//! Errors: [`ErrorKind`] says what a caller can do. `Corrupt` is never folded into another kind.

mod attach;
mod bytes_io;
mod checkpoint;
mod chunk;
mod collect;
mod commit;
mod copies;
mod copy;
mod deletion;
mod error;
mod fence;
mod fetch;
#[cfg(test)]
mod fuzz;
mod id;
mod ids;
mod index;
mod inherit;
mod keys;
mod log;
mod map;
mod notes;
mod pack;
mod point;
mod protocol;
mod reader;
mod record;
mod repair;
mod rescue;
mod seal;
mod sealed;
mod session;
mod standing;
mod store;
mod used;
mod vault;
mod verify;
mod work;

pub use chunk::CHUNK_BYTES;
pub use collect::{CollectOptions, CollectPlan, Collected, MachineUse, Metered};
pub use commit::PointDraft;
pub use copy::{
    Copied, CopyCourse, CopyPlan, CopyRun, copy_point, copy_point_again, copy_point_at, plan_copy,
};
pub use error::{Error, ErrorKind, Result};
pub use fence::Ended;
pub use id::{ChunkId, MachineKey, PackId, PackKind, PointId, SessionId, VaultId};
pub use ids::Ids;
pub use index::Rebuilt;
pub use keys::{
    HashCost, Holder, HolderId, HolderSecret, Holders, KeyFile, KeyProvider, NewHolder, Passphrase,
    RecoveryKey, Removal, Rotation, WrapContext,
};
pub use map::{BlockSample, DiskMap, DiskWriter};
pub use notes::{Note, Notes};
pub use point::{DiskRecord, Point, PointStats};
pub use reader::PointDisk;
pub use repair::Repaired;
pub use rescue::{Found, FoundPoint, Gap, Rescue, Standing};
pub use session::{Base, Session, StoredBatch, Written};
pub use store::{ProbeReport, Store, StoreAddress, StoreSettings, Verdict};
pub use used::Used;
pub use vault::{Survey, Vault, VaultInfo};
pub use verify::{Damage, DamagedPoint, Verified, scrub};
