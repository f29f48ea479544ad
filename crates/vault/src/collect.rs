//! Collection: packs that no point refers to are deleted. Led by the protocol; see `protocol/collector.rs`.
//!
//! [`Vault::plan_collection`] says what a collection would do and changes nothing; [`Vault::collect`] asks
//! everything again and does it.
//!
//! INVARIANT: any error in marking ends the run. An object that cannot be read is never "nothing there".

use crate::log::Told;
use crate::map::{Child, Node};
use crate::point::Point;
use crate::protocol::{
    Collector, CollectorDoes, CollectorSees, Doom, PointState, Record, Rules, SessionState, State,
};
use crate::vault::Vault;
use crate::{Error, ErrorKind, MachineKey, PackId, PointId, Result};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// When a collection may do what.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// Tells the time.
    pub now: Timestamp,
    /// Deleted points are kept this long before they are purged.
    pub soft_delete: SignedDuration,
    /// Condemned packs are kept this long before they are deleted. Insurance only: safety does not rest on it.
    pub grace: SignedDuration,
    /// Sessions that began longer ago than this are aborted. Insurance only: one that is merely slow fails to
    /// commit and loses nothing that was acknowledged.
    pub session_age: SignedDuration,
    /// A run that would delete more than this share of the vault's bytes stops instead.
    pub share_max: f64,
}

impl CollectOptions {
    /// 14 days of soft delete, 3 days of grace, sessions of a week, half of the vault.
    pub fn new(now: Timestamp) -> Self {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        Self { now, soft_delete: days(14), grace: days(3), session_age: days(7), share_max: 0.5 }
    }
}

/// What a collection would do.
#[derive(Clone, Debug, Default)]
pub struct CollectPlan {
    /// Deleted points whose time is over.
    pub purge: Vec<PointId>,
    /// Sessions that never ended.
    pub abort: Vec<crate::SessionId>,
    /// Packs that nothing refers to then, and their bytes.
    pub garbage: BTreeMap<PackId, u64>,
    /// Of those, packs that were condemned long enough ago to be deleted now.
    pub delete: BTreeSet<PackId>,
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
        let told = self.read_log(Told::default()).await?;
        let purge = due_points(&told, options);
        let abort = due_sessions(&told.state, options);
        // As it would be then. The log itself is followed from what it says now.
        let mut planned = told.state.clone();
        planned.sessions.extend(abort.iter().map(|session| (*session, SessionState::Aborted)));
        let packs = self.list_packs().await?;
        let mut marker = Marker::new(self);
        marker.mark_roots(&told, &purge).await?;
        let is_garbage = |pack: &PackId| {
            let condemned = planned.doomed.contains_key(pack);
            (condemned || planned.is_condemnable(pack, Rules::ALL)) && !marker.referred.contains(pack)
        };
        let garbage: BTreeMap<_, _> =
            packs.iter().filter(|(p, _)| is_garbage(p)).map(|(p, n)| (*p, *n)).collect();
        // Without grace, what is condemned now is deleted in the same run.
        let now = |pack: &&PackId| options.grace.is_zero() || is_due(&told, pack, options);
        let delete = garbage.keys().filter(now).copied().collect();
        Ok(CollectPlan {
            purge,
            abort,
            garbage,
            delete,
            stored_bytes: packs.values().sum(),
            staged: self.store().staged(options.now)?,
        })
    }

    /// Collects.
    ///
    /// # Errors
    /// `TooMuch` if more than [`CollectOptions::share_max`] of the vault would go. Whatever the error, what
    /// was done stands and the next run goes on.
    pub async fn collect(&self, options: &CollectOptions) -> Result<Collected> {
        let mut done = Collected::default();
        // The breaker first: purging cannot be taken back.
        let plan = self.plan_collection(options).await?;
        check_share(plan.garbage.values().sum(), plan.stored_bytes, options)?;
        self.abort_and_purge(options, &mut done).await?;
        let mut run = Run {
            vault: self,
            options,
            told: Told::default(),
            marker: Marker::new(self),
            packs: BTreeMap::new(),
            intent: None,
            done,
        };
        let mut collector = Collector::new();
        loop {
            let does = collector.does();
            if does == CollectorDoes::Rest {
                break;
            }
            let seen = run.step(does).await?;
            collector.sees(seen, Rules::ALL);
        }
        run.finish_deletes().await?;
        run.done.staged = self.store().remove_staged(options.now)?;
        Ok(run.done)
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

/// One run of a collector: its hands and eyes.
struct Run<'a> {
    vault: &'a Vault,
    options: &'a CollectOptions,
    told: Told,
    marker: Marker<'a>,
    packs: BTreeMap<PackId, u64>,
    intent: Option<String>,
    done: Collected,
}

impl Run<'_> {
    async fn step(&mut self, does: CollectorDoes) -> Result<CollectorSees> {
        let vault = self.vault;
        Ok(match does {
            CollectorDoes::Mark => {
                self.told = vault.read_log(std::mem::take(&mut self.told)).await?;
                self.packs = vault.list_packs().await?;
                self.marker.mark_roots(&self.told, &[]).await?;
                let packs = self.packs.keys().copied().collect();
                let referred = self.marker.referred.iter().copied().collect();
                CollectorSees::Marked { state: self.told.state.clone(), packs, referred }
            }
            CollectorDoes::Append(record) => CollectorSees::Appended(self.append(&record).await?),
            CollectorDoes::ReadLog => {
                self.told = vault.read_log(std::mem::take(&mut self.told)).await?;
                let mut state = self.told.state.clone();
                // Grace: what was condemned too lately is not this run's business.
                state
                    .doomed
                    .retain(|pack, doom| *doom == Doom::Deleting || is_due(&self.told, pack, self.options));
                CollectorSees::Log(state)
            }
            CollectorDoes::PublishIntent(packs) => {
                self.intent = Some(vault.put_intent(&packs).await?);
                CollectorSees::Published
            }
            CollectorDoes::LookAgain(packs) => {
                self.marker.mark_objects(&self.told).await?;
                CollectorSees::Referred(
                    packs.into_iter().filter(|p| self.marker.referred.contains(p)).collect(),
                )
            }
            CollectorDoes::Delete(packs) => {
                self.delete(&packs).await?;
                CollectorSees::Deleted
            }
            CollectorDoes::Confirm(packs) => {
                let there = vault.list_packs().await?;
                let gone = packs.iter().all(|pack| !there.contains_key(pack));
                if !gone {
                    return Err(Error::new(
                        ErrorKind::Store,
                        "the store still lists packs that it has deleted",
                    ));
                }
                CollectorSees::Gone(true)
            }
            CollectorDoes::DropIntent => {
                if let Some(intent) = self.intent.take() {
                    vault.store().delete(&intent).await?;
                }
                CollectorSees::Dropped
            }
            CollectorDoes::Rest => unreachable!("the caller stops here"),
        })
    }

    async fn append(&mut self, record: &Record) -> Result<bool> {
        if let Record::Condemn { packs } = record {
            let bytes = packs.iter().filter_map(|pack| self.packs.get(pack)).sum();
            check_share(bytes, self.packs.values().sum(), self.options)?;
        }
        let stands = self.vault.append(&self.told, record, self.options.now).await?;
        if let (true, Record::Condemn { packs }) = (stands, record) {
            self.done.condemned += packs.len();
        }
        Ok(stands)
    }

    async fn delete(&mut self, packs: &BTreeSet<PackId>) -> Result<()> {
        for pack in packs {
            self.vault.store().delete(&pack.object()).await?;
            self.done.deleted += 1;
            self.done.freed_bytes += self.packs.get(pack).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Deletes what the log says is being deleted and a run that died left. Nothing takes such a pack back.
    async fn finish_deletes(&mut self) -> Result<()> {
        self.told = self.vault.read_log(std::mem::take(&mut self.told)).await?;
        let there = self.vault.list_packs().await?;
        let doomed = self.told.state.doomed.iter().filter(|(_, doom)| **doom == Doom::Deleting);
        let left: BTreeSet<PackId> =
            doomed.map(|(pack, _)| *pack).filter(|pack| there.contains_key(pack)).collect();
        self.packs.extend(there);
        self.delete(&left).await
    }
}

/// Finds the packs that points refer to. Each shared node is walked once.
struct Marker<'a> {
    vault: &'a Vault,
    points: HashSet<PointId>,
    /// By place too: copies of one node may hold different hints.
    nodes: HashSet<Child>,
    referred: HashSet<PackId>,
}

impl<'a> Marker<'a> {
    fn new(vault: &'a Vault) -> Self {
        Self { vault, points: HashSet::new(), nodes: HashSet::new(), referred: HashSet::new() }
    }

    /// Marks what the log's roots refer to, but for some that are to be purged. Every one of them must be there.
    async fn mark_roots(&mut self, told: &Told, besides: &[PointId]) -> Result<()> {
        let mut objects = self.vault.point_objects(None).await?;
        self.vault.check_roots(told, &objects).await?;
        objects.retain(|(_, id)| told.state.is_root(id) && !besides.contains(id));
        self.mark_each(told, objects).await
    }

    /// Marks what any point's object refers to, whatever the log says of it.
    async fn mark_objects(&mut self, told: &Told) -> Result<()> {
        let objects = self.vault.point_objects(None).await?;
        self.mark_each(told, objects).await
    }

    async fn mark_each(&mut self, told: &Told, objects: Vec<(MachineKey, PointId)>) -> Result<()> {
        for (machine, id) in objects {
            if self.points.contains(&id) {
                continue;
            }
            match self.mark_point(&machine, id).await {
                Ok(()) => drop(self.points.insert(id)),
                // Another collector purged it, or its writer gave it up, while it was walked.
                Err(error) if self.is_gone(told, &machine, id).await? => drop(error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn mark_point(&mut self, machine: &MachineKey, id: PointId) -> Result<()> {
        for disk in &self.vault.point(machine, id).await?.disks {
            self.mark_map(&disk.map).await?;
        }
        Ok(())
    }

    /// Whether a point is neither kept by the log nor has an object.
    async fn is_gone(&self, told: &Told, machine: &MachineKey, id: PointId) -> Result<bool> {
        let kept = self.vault.is_root_still(told, id).await?;
        Ok(!kept && !self.vault.point_objects(Some(machine)).await?.iter().any(|(_, there)| *there == id))
    }

    async fn mark_map(&mut self, map: &crate::DiskMap) -> Result<()> {
        let Some(root) = map.root.as_ref().map(Child::try_from).transpose()? else { return Ok(()) };
        let mut waiting = vec![(root, crate::map::root_level(map.size))];
        while let Some((child, level)) = waiting.pop() {
            self.referred.insert(child.at.pack);
            if self.nodes.contains(&child) {
                continue;
            }
            let node = self.vault.read_node(&child, level).await?;
            self.nodes.insert(child);
            self.mark_node(&node, level, &mut waiting);
        }
        Ok(())
    }

    fn mark_node(&mut self, node: &Node, level: u8, waiting: &mut Vec<(Child, u8)>) {
        for child in node.slots.iter().flatten() {
            if level == 0 {
                self.referred.insert(child.at.pack);
            } else {
                waiting.push((*child, level - 1));
            }
        }
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

fn due_points(told: &Told, options: &CollectOptions) -> Vec<PointId> {
    told.state.points.keys().filter(|point| is_due_point(told, point, options)).copied().collect()
}

fn is_due_point(told: &Told, point: &PointId, options: &CollectOptions) -> bool {
    let deleted = told.state.points.get(point) == Some(&PointState::SoftDeleted);
    deleted && told.deleted_at.get(point).is_some_and(|at| is_over(*at, options.soft_delete, options))
}

/// Sessions are drawn as version 7 ids, which tell when. One that does not tell is left to people.
fn due_sessions(state: &State, options: &CollectOptions) -> Vec<crate::SessionId> {
    let is_old = |session: &crate::SessionId| {
        let (seconds, _) = session.0.get_timestamp().map(|stamp| stamp.to_unix()).unwrap_or((u64::MAX, 0));
        let begun = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        begun.is_some_and(|begun| is_over(begun, options.session_age, options))
    };
    let open = state.sessions.iter().filter(|(_, state)| **state == SessionState::Open);
    open.map(|(session, _)| *session).filter(is_old).collect()
}

fn is_due(told: &Told, pack: &PackId, options: &CollectOptions) -> bool {
    told.condemned_at.get(pack).is_some_and(|at| is_over(*at, options.grace, options))
}

/// Whether a time has passed. One beyond the end of the calendar never has.
fn is_over(from: Timestamp, time: SignedDuration, options: &CollectOptions) -> bool {
    from.checked_add(time).is_ok_and(|until| until <= options.now)
}
