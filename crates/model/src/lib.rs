//! The domain as values: what is to be backed up, when, for how long, and who may do what.
//!
//! No I/O, no clock, no chance of its own: time comes in as [`jiff::Timestamp`], chance as a seed. (The one thing
//! looked up outside are the time zones' rules: the system's, or else those that were compiled in.) The server asks;
//! nothing here knows of vaults' bytes, hypervisors or databases.
//!
//! # From a policy to an expiry, in five minutes
//! 1. A person writes a [`PolicyDocument`](policy::PolicyDocument); [`check`](policy::PolicyDocument::check) finds all
//!    that is wrong with it, or makes a [`Policy`].
//! 2. The policy has [slots](Policy::slots): instants at which it wants a point, each counting for one **day** in
//!    the policy's zone. Each machine [starts](Policy::start_of) a little after the slot, at a moment of its own.
//! 3. The run makes a [`Point`]. Which days it [stands for](retention::stands_for) is settled then, once: its own,
//!    and those before it that were missed.
//! 4. From these days and the policy follow its **classes**: daily, weekly, monthly, yearly. Each says how long.
//! 5. Its **expiry** is the latest of these, and of all else that keeps it: [`retention::plan`].
//!
//! Nothing else takes part. So a changed policy applies to old points by asking again
//! ([`retention::difference`] shows the outcome beforehand), and no machine can shorten another point's life by what
//! it does or says.
//!
//! # The rest
//! | module | holds |
//! | --- | --- |
//! | [`policy`] | the JSON shape, its checks, calendars, disks |
//! | [`schedule`] | slots, starts, what is due, concurrency limits, the forecast |
//! | [`retention`] | classes, the plan, the dry run of a policy's change |
//! | [`protection`] | a machine under a policy: protected, stopped, deleted, brought back, purged |
//! | [`access`] | roles, actions, and the one question who may do what where |
//! | [`job`] | kinds, steps, states, retries, and the lease that lets servers die |
//! | [`simulate`] | development only: a month of 100,000 machines |

pub mod access;
mod chance;
mod ids;
pub mod job;
mod point;
pub mod policy;
pub mod protection;
pub mod retention;
pub mod schedule;
pub mod simulate;

pub use ids::{HolderId, HostId, JobId, MachineId, PointId, PolicyId, StoreId, VaultId};
pub use point::{Days, Origin, Point, VaultCopy};
pub use policy::Policy;
pub use schedule::Slot;
