//! Collection: packs that no point refers to are deleted. Led by the protocol; see `protocol/collector.rs`.
//!
//! [`Vault::plan_collection`] says what a collection would do and changes nothing; [`Vault::collect`] asks
//! everything again and does it.
//!
//! | file | holds |
//! | --- | --- |
//! | `mark.rs` | what points need |
//! | `live.rs` | the places in a pack, a bit for each |
//! | `open.rs` | nodes of maps, opened many at a time |
//! | `run.rs` | the protocol's steps, done in the store |
//! | `compact.rs` | what is live in packs that are mostly garbage moves into new ones |
//! | `due.rs` | the clock's part |
//! | `meter.rs`, `ledger.rs` | whose the stored bytes are; changes nothing |
//!
//! INVARIANT: any error in marking ends the run. An object that cannot be read is never "nothing there".

mod compact;
mod due;
mod ledger;
mod live;
mod mark;
mod meter;
mod open;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use live::Live;

use crate::index::Extent;
use crate::log::Told;
use crate::point::Point;
use crate::protocol::{Collector, CollectorDoes, PointState, Record, Rules, SessionState, State};
use crate::vault::Vault;
use crate::{Error, ErrorKind, MachineKey, PackId, PointId, Result, SessionId};
use due::{due_points, due_sessions, is_due, is_due_point};
use jiff::{SignedDuration, Timestamp};
use mark::Marker;
pub use meter::{MachineUse, Metered};
use run::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// How often a collection is tried while others change what it looks at.
const LOOKS_MAX: u32 = 3;

/// When a collection may do what.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// Tells the time.
    pub now: Timestamp,
    /// Deleted points are kept this long before they are purged.
    pub soft_delete: SignedDuration,
    /// Only these points are purged, however long ago others were deleted; none: all that are due.
    pub only: Option<BTreeSet<PointId>>,
    /// Condemned packs are kept this long before they are deleted. Insurance only: safety does not rest on it.
    pub grace: SignedDuration,
    /// Sessions that began longer ago than this are aborted. Insurance only: one that is merely slow fails to
    /// commit and loses nothing that was acknowledged.
    pub session_age: SignedDuration,
    /// A run that would delete more than this share of the vault's bytes stops instead.
    pub share_max: f64,
    /// A pack of which less than this share is needed is compacted; 0 compacts nothing.
    pub compact_below: f64,
    /// Bytes that one run moves at most.
    pub compact_bytes_max: u64,
}

impl CollectOptions {
    /// 14 days of soft delete, 3 days of grace, sessions of a week, half of the vault; packs of which less than
    /// half is needed are compacted, 64 GiB a run.
    pub fn new(now: Timestamp) -> Self {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        Self {
            now,
            soft_delete: days(14),
            only: None,
            grace: days(3),
            session_age: days(7),
            share_max: 0.5,
            compact_below: 0.5,
            compact_bytes_max: 64 << 30,
        }
    }
}

/// What a collection would do.
#[derive(Clone, Debug, Default)]
pub struct CollectPlan {
    /// Deleted points whose time is over.
    pub purge: Vec<PointId>,
    /// Sessions that never ended.
    pub abort: Vec<SessionId>,
    /// Packs that nothing refers to then, and their bytes.
    pub garbage: BTreeMap<PackId, u64>,
    /// Of those, packs that were condemned long enough ago to be deleted now.
    pub delete: BTreeSet<PackId>,
    /// Packs that are mostly garbage, and the bytes in them that are needed: these move into new packs.
    pub compact: BTreeMap<PackId, u64>,
    /// Bytes of all packs.
    pub stored_bytes: u64,
    /// Files of a local store that writes left which were cut off a day ago or earlier.
    pub staged: Vec<PathBuf>,
}

/// What a collection did.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Points purged.
    pub purged: usize,
    /// Sessions aborted.
    pub aborted: usize,
    /// Packs emptied into new ones.
    pub compacted: usize,
    /// Bytes that were moved for it.
    pub moved_bytes: u64,
    /// Packs condemned by this run.
    pub condemned: usize,
    /// Packs deleted by this run.
    pub deleted: usize,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Files removed that cut-off writes had left in a local store.
    pub staged: usize,
}

impl Vault {
    /// What a collection would do now.
    pub async fn plan_collection(&self, options: &CollectOptions) -> Result<CollectPlan> {
        for _ in 1..LOOKS_MAX {
            let told = self.read_log(Told::default()).await?;
            match self.plan_once(&told, options).await {
                Err(error) if self.is_moving(&error, told).await? => {}
                other => return other.map(|(plan, _)| plan),
            }
        }
        let told = self.read_log(Told::default()).await?;
        self.plan_once(&told, options).await.map(|(plan, _)| plan)
    }

    /// Whether what looks damaged may only have been moved by another collector since.
    async fn is_moving(&self, error: &Error, before: Told) -> Result<bool> {
        let position = before.state.position;
        Ok(error.kind() == ErrorKind::Corrupt && self.read_log(before).await?.state.position > position)
    }

    async fn plan_once(&self, told: &Told, options: &CollectOptions) -> Result<(CollectPlan, Marker<'_>)> {
        let purge = due_points(told, options);
        let abort = due_sessions(&told.state, options);
        // As it would be then. The log itself is followed from what it says now.
        let mut planned = told.state.clone();
        planned.sessions.extend(abort.iter().map(|session| (*session, SessionState::Aborted)));
        let packs = self.list_packs().await?;
        let mut marker = Marker::new(self);
        marker.learn(told, &packs, self.read_intents(None).await?);
        marker.mark_roots(told, &purge).await?;
        let is_garbage = |pack: &PackId| {
            let condemned = planned.doomed.contains_key(pack);
            (condemned || planned.is_condemnable(pack, Rules::ALL)) && !marker.refers_to(pack)
        };
        let garbage: BTreeMap<_, _> =
            packs.iter().filter(|(p, _)| is_garbage(p)).map(|(p, n)| (*p, *n)).collect();
        // Without grace, what is condemned now is deleted in the same run.
        let now = |pack: &&PackId| options.grace.is_zero() || is_due(told, pack, options);
        let plan = CollectPlan {
            delete: garbage.keys().filter(now).copied().collect(),
            compact: compact::candidates(&planned, &packs, &marker, options),
            purge,
            abort,
            garbage,
            stored_bytes: packs.values().sum(),
            staged: self.store().staged()?,
        };
        Ok((plan, marker))
    }

    /// Collects.
    ///
    /// # Errors
    /// `TooMuch` if more than [`CollectOptions::share_max`] of the vault would go. Whatever the error, what
    /// was done stands and the next run goes on.
    pub async fn collect(self: &Arc<Self>, options: &CollectOptions) -> Result<Collected> {
        let mut done = Collected::default();
        for _ in 1..LOOKS_MAX {
            let before = self.read_log(Told::default()).await?;
            match self.collect_once(options, &mut done).await {
                Err(error) if self.is_moving(&error, before).await? => {}
                other => return other.map(|()| done),
            }
        }
        self.collect_once(options, &mut done).await.map(|()| done)
    }

    async fn collect_once(self: &Arc<Self>, options: &CollectOptions, done: &mut Collected) -> Result<()> {
        // The breaker first: purging cannot be taken back.
        let told = self.read_log(Told::default()).await?;
        let (plan, mut marker) = self.plan_once(&told, options).await?;
        // What was retired is kept elsewhere: its going is no loss that a breaker should stop.
        let lost = plan.garbage.iter().filter(|(pack, _)| !told.state.retired.contains(pack));
        check_share(lost.map(|(_, bytes)| bytes).sum(), plan.stored_bytes, options)?;
        self.abort_and_purge(options, done).await?;
        // What is marked stays marked: of points that were not to be purged.
        self.compact(options, &mut marker, done).await?;
        let mut run = Run::new(marker, options, done);
        let mut collector = Collector::new();
        loop {
            let does = collector.does();
            if does == CollectorDoes::Rest {
                break;
            }
            let seen = match run.step(does).await {
                Ok(seen) => seen,
                Err(error) => {
                    run.withdraw().await;
                    return Err(error);
                }
            };
            collector.sees(seen, Rules::ALL);
        }
        run.finish_deletes().await?;
        run.done.staged += self.store().remove_staged()?;
        self.tidy_index(&run.told.state, Extent::All).await;
        Ok(())
    }

    /// What makes garbage: aborted sessions, purged points, and objects of either that a crash left.
    async fn abort_and_purge(&self, options: &CollectOptions, done: &mut Collected) -> Result<()> {
        let mut told = self.read_log(Told::default()).await?;
        for session in due_sessions(&told.state, options) {
            told = self.append_when_possible(told, &Record::Abort { session }, options.now).await?;
            done.aborted += 1;
        }
        let due = due_points(&told, options);
        for (machine, id) in self.point_objects(None).await? {
            if due.contains(&id) {
                let is_due = |told: &Told| is_due_point(told, &id, options);
                let purged;
                (told, purged) = self.purge_point(told, (&machine, id), options.now, is_due).await?;
                done.purged += usize::from(purged);
            } else if self.is_left_over(&told.state, &machine, id).await? {
                self.store().delete(&Point::object(&machine, id)).await?;
            }
        }
        Ok(())
    }

    /// Whether a point's object stands for nothing: purged, or of a session that was aborted.
    async fn is_left_over(&self, state: &State, machine: &MachineKey, id: PointId) -> Result<bool> {
        match state.points.get(&id) {
            Some(known) => Ok(*known == PointState::Purged),
            None => match self.point(machine, id).await {
                Ok(point) => Ok(state.sessions.get(&point.session) == Some(&SessionState::Aborted)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false), // gone already
                Err(error) => Err(error),
            },
        }
    }

    /// Every pack there is, with its bytes.
    pub(crate) async fn list_packs(&self) -> Result<BTreeMap<PackId, u64>> {
        let mut packs = BTreeMap::new();
        for folder in ["packs", "maps"] {
            for (name, size) in self.store().list(folder).await? {
                let pack = PackId::from_object(&name)
                    .ok_or_else(|| Error::corrupt(&name, 0, "no pack has such a name"))?;
                packs.insert(pack, size);
            }
        }
        Ok(packs)
    }
}

/// The breaker.
fn check_share(bytes: u64, all: u64, options: &CollectOptions) -> Result<()> {
    if bytes as f64 > all as f64 * options.share_max {
        let share = options.share_max * 100.0;
        let context =
            format!("{bytes} of {all} stored bytes would be deleted, more than the {share:.0} % a run may");
        return Err(Error::new(ErrorKind::TooMuch, context));
    }
    Ok(())
}
