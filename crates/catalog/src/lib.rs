//! What the server knows, stored: vaults and policies, machines and their protection, points, jobs, people, and
//! who did what.
//!
//! **Called by** the server alone. **Calls** a database: SQLite within the program, or PostgreSQL by a URL; one text
//! of SQL for both (`migrations/`), one suite of tests. It decides nothing: rules are `model`'s, and what two
//! processes must agree upon is one statement here (a claim on a job, a name, a revision).
//!
//! Reading order: [`Catalog`] (`open.rs`) → `vaults.rs`, which is how every table is read and changed → `points.rs`
//! → `jobs/`, where servers compete.
//!
//! Invariants:
//! - the catalog can be lost: what is needed to restore lies in the vaults, and `points` is rebuilt from them;
//! - who read an older revision of a row cannot write over a newer one;
//! - jobs that exclude each other are queued one at a time, under a row that is held for their subject; one run for a
//!   slot is a unique index;
//! - a job is written by comparing revisions, so of two that change it at once one reads it again; what a claim of an
//!   older generation may do is `model`'s to refuse.
//!
//! Errors are [`Error`]; its [`ErrorKind`] says what a caller can do. **After a crash** every statement or
//! transaction happened wholly or not at all; a job that was running is claimed by another once its lease ends.

mod adopted;
mod alerts;
mod archive;
mod audit;
mod copies;
mod copy_drills;
mod drills;
mod error;
mod figures;
mod idempotency;
mod images;
mod items;
mod jobs;
mod machines;
mod migrations;
mod movers;
mod notes;
mod open;
mod page;
mod people;
mod plan;
mod points;
mod policies;
mod replacements;
mod restore_sets;
mod row;
mod schedule;
mod sign_ins;
mod snapshots;
mod usage;
mod vault_keys;
mod vault_notes;
mod vaults;

pub use alerts::{Alert, Severity};
pub use audit::{AuditEntry, AuditProof};
pub use copies::{CopyFigures, CopyRow};
pub use drills::{DrillCandidate, DrillRow, ProofRow};
pub use error::{Error, ErrorKind, Result};
pub use idempotency::Repetition;
pub use images::{ImageMachineRow, ImageRow};
pub use items::{Item, ItemChange, ItemFilter};
pub use jobs::{ClaimWish, JobFilter, JobLogRow, JobRow, NewJob, Queued, Told, WaitingJobs};
pub use machines::{Host, Machine, MachineFilter, Seen};
pub use movers::Mover;
pub use notes::NoteDraft;
pub use open::Catalog;
pub use page::{Cursor, PAGE_MAX, Page};
pub use people::{Grant, Token, User};
pub use plan::PointToPlan;
pub use points::PointRow;
pub use policies::PolicyRow;
pub use replacements::ReplacementRow;
pub use restore_sets::{OpenRestoreSet, RestoreSetRow, SetStep};
pub use schedule::{ScheduledItem, Settle, Settled};
pub use sign_ins::SignIn;
pub use snapshots::{SnapshotFilter, SnapshotRow};
pub use usage::{UsageDay, UsageRow};
pub use vault_notes::VaultNoteDraft;
pub use vaults::VaultRow;
