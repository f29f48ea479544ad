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
//! ```
//! use model::retention::{self, Tier};
//! use model::{ArchiveCopy, Origin, Point, Policy, VaultCopy};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Azure's default: every four hours from 08:00; 180 days, 12 weeks, 60 months, 10 years.
//! let policy = Policy::enhanced("Europe/Berlin").check()?;
//! // The day's last slot, on the first Sunday of March: its window started on Sunday, so Sunday it counts for.
//! let slot = policy.next_slot("2026-03-02T00:00:00Z".parse()?).expect("there always is one");
//! assert_eq!((slot.day.to_string(), slot.at.to_string()), ("2026-03-01".into(), "2026-03-02T03:00:00Z".into()));
//! // The last point that got through was Friday's: this one stands for Saturday and Sunday.
//! let stands_for = retention::stands_for(&slot, Some("2026-02-27".parse()?));
//! let point = Point {
//!     id: "019ca7a4-0000-7000-8000-000000000000".parse()?,
//!     taken: "2026-03-02T03:20:00Z".parse()?,
//!     origin: Origin::Scheduled { slot, stands_for },
//!     in_snapshot_tier: false,
//!     vault: VaultCopy::There,
//!     pinned: false,
//!     locked_until: None,
//!     purge_at: None,
//!     archive: ArchiveCopy::Never,
//! };
//! let plan = retention::plan(&[point.clone()], &policy, "2026-04-01T00:00:00Z".parse()?);
//! let verdict = plan.of(point.id, Tier::Vault).expect("it is in the vault");
//! let reasons: Vec<String> = verdict.reasons.iter().map(|reason| reason.why.to_string()).collect();
//! assert_eq!(reasons, ["the newest point", "the newest scheduled point", "monthly", "daily", "weekly"]);
//! assert_eq!(verdict.expiry(), Some("2031-03-02T03:20:00Z".parse()?)); // 60 months
//! # Ok(())
//! # }
//! ```
//!
//! # The rest
//! | module | holds |
//! | --- | --- |
//! | [`policy`] | the JSON shape, its checks, calendars, disks |
//! | [`schedule`] | slots, starts, what is due, concurrency limits, the forecast |
//! | [`retention`] | classes, the plan, the dry run of a policy's change |
//! | [`protection`] | a machine under a policy: protected, stopped, deleted, brought back, purged |
//! | [`archive`] | which points move to the archive store, and which leave the vault tier |
//! | [`access`] | roles, actions, and the one question who may do what where |
//! | [`cost`] | size classes, prices, and what a month comes to |
//! | [`drill`] | what a practice restore came to |
//! | [`image`] | images and their versions: names, and which is meant |
//! | [`job`] | kinds, steps, states, retries, and the lease that lets servers die |
//! | [`restores`] | many machines restored as one: groups, limits, what begins next |
//! | [`simulate`] | development only: a month of 100,000 machines |

pub mod access;
pub mod archive;
mod chance;
pub mod cost;
pub mod drill;
mod ids;
pub mod image;
pub mod job;
mod owner;
mod point;
pub mod policy;
pub mod protection;
pub mod restores;
pub mod retention;
pub mod schedule;
pub mod simulate;

pub use ids::{ClaimantId, HostId, JobId, MachineId, PointId, PolicyId, StoreId, VaultId};
pub use owner::{Owner, SNAPSHOTS_OF_A_DISK_MAX};
pub use point::{ArchiveCopy, Days, Near, Origin, Point, VaultCopy};
pub use policy::Policy;
pub use schedule::Slot;
