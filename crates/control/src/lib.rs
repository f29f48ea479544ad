//! What the service does: the acts of people, the schedule's, and those of movers, each over the domain's rules and the
//! catalog.
//!
//! **Called by** `server`, which has asked whether the caller may. **Calls** `model` (every rule), `catalog` (every
//! row), `api` (the shapes it answers in) and of `vault` what makes and opens vaults; it never touches a block of a
//! disk, and knows nothing of HTTP.
//!
//! Reading order: [`Control`] (`service.rs`) → `vaults.rs` → `policies.rs` → `machines.rs` → `items.rs`, protection → `points.rs` →
//! `schedule.rs`, what is due → `dispatch.rs`, orders for movers → `browse.rs`, files → `retention.rs`, what
//! expires.
//!
//! Invariants:
//! - every act of a person that changes something is in the audit log, also one that failed after it began;
//! - a job changes by `model`'s function alone; whatever a mover says is applied under its claim, or refused;
//! - what deletes is planned by `model`, checked again under the row's revision, then done.
//!
//! Errors are [`Error`]: a problem as the API tells it. **After a crash** every act happened or did not; what was
//! under way is a job, and goes on.

mod adopt;
mod alerts;
mod archive;
mod audit;
mod browse;
mod collect;
mod copies;
mod cost;
mod dispatch;
mod drills;
mod dry_run;
mod engine;
mod error;
mod faults;
mod follow;
mod forecast;
mod holders;
mod images;
mod inventory;
mod items;
mod jobs;
mod keys;
mod machines;
mod movers;
mod moving;
mod notes;
mod order;
mod overview;
mod page;
mod people;
mod points;
mod policies;
mod request;
mod restore;
mod retention;
mod schedule;
mod secret;
mod service;
mod settle;
mod shared_keys;
mod sign_in;
mod single_sign_on;
mod snapshots;
mod stopping;
mod store;
mod survey;
mod tries;
mod usage;
mod vaults;
mod waiting;
mod way_out;

pub use adopt::Adopted;
pub use browse::{FilesPlace, FilesReply, Pieces};
pub use error::{Error, Result};
pub use images::ImagePlace;
pub use items::WhichItems;
pub use jobs::action_of;
pub use machines::WhichMachines;
pub use page::Paging;
pub use people::Asker;
pub use points::PointPlace;
pub use secret::token_hash;
pub use service::{Actor, Chance, Clock, Control, Settings};
pub use sign_in::Bearer;
pub use single_sign_on::{GroupRole, Mapping, SingleSignOn};
pub use snapshots::{SnapshotPlace, WhichSnapshots};
pub use usage::WhichCosts;
