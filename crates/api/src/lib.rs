//! What goes over the wire, and nothing of how it is done: the types of requests and answers, the codes of errors.
//!
//! **Used by** `server`, which answers, by `cli`, and by `mover`, which works for a server: all mean the same by a
//! field because there is one definition of it. Policies and ids are `model`'s own, for their JSON shape is the same
//! wherever they stand.
//!
//! Reading order: `problem.rs` (every error there is) → `vaults.rs` → `archive.rs` → `policies.rs` → `machines.rs` → `items.rs`, a
//! machine under protection → `points.rs` → `drills.rs` → `jobs.rs` → `cost.rs` → `access.rs` → `watch.rs` (overview, alerts, audit) →
//! `work.rs`, what a mover and a server say to each other → `files.rs`, looking into points → `snapshots.rs` → `client.rs`, how they and
//! people's programs ask.
//!
//! Invariants:
//! - instants are RFC 3339 in UTC, sizes are bytes, ids are uuids, names of fields say their unit otherwise;
//! - a request with a field that is not known is refused: it is a mistake, or meant for a newer server;
//! - an answer may get fields: who reads it passes over those that it does not know.

mod access;
mod archive;
#[cfg(feature = "client")]
pub mod client;
mod copies;
mod cost;
mod drills;
pub mod files;
pub mod images;
mod items;
mod jobs;
mod keys;
mod machines;
mod page;
mod points;
mod policies;
mod problem;
mod restore_sets;
mod restores;
pub mod snapshots;
mod vaults;
mod watch;
pub mod work;

pub use access::{
    BeginSignIn, Credentials, FinishSignIn, Me, NewToken, NewUser, RoleGrant, Roles, Session, SignInBegun,
    TokenInfo, TokenMade, User, UserChange,
};
pub use archive::{
    ArchivePlan, ArchiveState, ArchiveStore, ArchivingBegun, ItemArchivePlan, PointToArchive, Rehydrate,
    StaysPut,
};
pub use copies::{CopiedPoint, CopyState, CopyStore};
pub use cost::{CostBy, CostLine, CostReport, MachineDays, MeasuredStore, StorageUse, StoreUsage, UsagePart};
pub use drills::{Drill, PointDrill, Proof, Screenshot};
pub use items::{
    BackUp, BulkChange, BulkOutcome, ChangeItem, Item, ItemChanged, ItemState, Protect, Resume, Stop, StopHow,
};
pub use jobs::{
    Accepted, DiskProgress, Job, JobError, JobLogEntry, JobProgress, JobState, JobStep, SkippedRun, StepState,
};
pub use keys::{KeyHolder, VaultKeys};
pub use machines::{Host, Machine, MachineDisk, MachineStanding, MachineState, Mover, NewHost, Tags};
pub use page::Page;
pub use points::{KeptFor, NewMachine, NewNetwork, Pin, Point, PointDisk, Restore, RestoreFormat};
pub use policies::{DryRun, ItemDryRun, NewPolicy, PointChange, Policy, PolicyPreview, PreviewPoint};
pub use problem::{Code, Problem, Violation};
pub use restore_sets::{
    NewRestoreSet, RestoreSet, SetLimits, SetMachine, SetMember, SetMemberState, SetNewMachines, SetTotal,
};
pub use restores::{
    DiskTarget, RemoveKept, Replace, Replacement, ReplacementState, RestoreInto, RestoreTarget, StopMachine,
    UndoReplacement, WrittenDisk,
};
pub use vaults::{AutoProtect, NewVault, Vault, VaultChange, VaultMade, VaultRemoved, VaultSettings};
pub use watch::{
    Alert, AuditChain, AuditEntry, Forecast, ForecastRun, Health, Overview, Severity, TierStored, Version,
};
