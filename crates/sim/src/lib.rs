//! The vault in a world that fails: one seeded thread, a store with weather, programs that die anywhere.
//!
//! **Called by** `cargo xtask sim vault` and its own tests. **Calls** `vault` by its public face only.
//!
//! One seed is one run: two or three machines are backed up, deleted and had back; one or two collectors, a
//! rotation of keys and verification go on at the same time; the store answers late, wrongly or not at all, and
//! programs are cut off in the middle of a request and begin again. Time is virtual, every chance is drawn from
//! the seed: the same seed does the same, request by request, and its trace has the same hash.
//!
//! Reading order: `world.rs` (what outlives a crash) → `weather.rs` (what a store does) → `store.rs` (how it
//! does it) → `oracle.rs` (what must be true) → `scenario.rs`, `writer.rs`, `keeper.rs` (who takes part) →
//! `seed.rs` (one seed, and what is looked at in the end). `process.rs` stands apart: the same questions to real
//! processes on a real file system.
//!
//! What must hold, for every seed:
//! - a point that was acknowledged and not deleted is listed and restores, byte for byte;
//! - what is listed was committed; what was deleted is not listed;
//! - an act ends, within its virtual deadline, in success or in an error that this weather explains;
//! - when the weather is over the next backup and collection succeed, and leave nothing that belongs to nobody.

mod begin;
mod failed;
mod keeper;
mod oracle;
pub mod process;
mod random;
mod scenario;
mod seed;
mod store;
mod sweep;
mod trace;
mod weather;
mod world;
mod writer;

pub use failed::FAILED;
pub use seed::{Outcome, run};
pub use sweep::{Swept, sweep};
