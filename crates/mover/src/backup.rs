//! Backup: the disks of running machines, at one instant, become points.

use crate::error::{Doing, Error, Result};
use crate::member::{Member, Ready};
use crate::progress::Progress;
use crate::throttle::Throttle;
use futures_util::future::{BoxFuture, join_all};
use hypervisor::{DiskSelection, FrozenMachine, Level, Machine, Outcome, Rendezvous, Watchdog};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vault::{MachineKey, Point, PointId, SessionId, Vault};

/// What to back up, and how.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// The point to be made: a fresh, random id.
    pub point: PointId,
    /// The session to write it in: a fresh id of version 7.
    pub session: SessionId,
    /// Under what name its points are kept, and what people call it; none: its uuid, or its name, and its name.
    pub kept_as: Option<(MachineKey, String)>,
    /// What a service wants to find again with the point; null for none.
    pub service: Value,
    /// Is asked once everything is read and before anything is committed; while it does not answer, nothing is.
    pub gate: Option<Gate>,
    /// How consistent it should be.
    pub wish: Level,
    /// Whether less will do.
    pub may_fall: bool,
    /// Read everything, even where it is known what changed.
    pub full: bool,
    /// Which disks.
    pub disks: DiskSelection,
    /// Blocks of each disk to compare with the last point although they are said to be unchanged; see
    /// [`AUDIT_BLOCKS`](crate::AUDIT_BLOCKS).
    pub audit_blocks: usize,
    /// What the reading stands under: the job's throttle, its host's.
    pub throttles: Vec<Arc<Throttle>>,
    /// Read slower while the guest's writes suffer.
    pub back_off: bool,
    /// An existing folder with room for what the guest overwrites meanwhile.
    pub scratch: PathBuf,
    /// How long the guest may take to come to a stand.
    pub freeze_timeout: Duration,
    /// What thaws the guest if this process dies.
    pub watchdog: Option<Watchdog>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
}

/// What keeps a point from being committed until it answers.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>);

impl Gate {
    /// A gate that opens when the future is done.
    pub fn new(opens: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(opens))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// Backs a machine up.
///
/// Dropped in the middle, or on any error, the machine is released as if nothing had been, and there is no
/// point. CRASH: the machine keeps our filters and bitmaps until the next backup takes them back.
pub async fn backup(
    machine: &dyn Machine,
    vault: &Arc<Vault>,
    request: &BackupRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Point> {
    let members = vec![Member::new(machine, vault, request, None).await?];
    let mut points = Box::pin(together(members, progress)).await?;
    Ok(points.pop().expect("a point for each machine"))
}

/// Backs several machines up at one instant: a consistency group. Each gets a point of its own, which names
/// the group and all its members.
///
/// All are read before any is committed. CRASH, or an error of the store: some members may be committed and
/// others not; a group whose members are not all there is told by any of them.
pub async fn backup_group(
    group: Uuid,
    machines: &[(&dyn Machine, &BackupRequest)],
    vault: &Arc<Vault>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Point>> {
    let mut members = Vec::with_capacity(machines.len());
    for (machine, request) in machines {
        members.push(Member::new(*machine, vault, request, Some(group)).await?);
    }
    let of_group: Vec<_> = members.iter().map(Member::name_in_group).collect();
    for member in &mut members {
        member.group_members.clone_from(&of_group);
    }
    Box::pin(together(members, progress)).await
}

async fn together(mut members: Vec<Member<'_>>, progress: &(dyn Fn(Progress) + Sync)) -> Result<Vec<Point>> {
    let (frozen, instant) = freeze_audited(&mut members, progress).await?;
    progress(Progress::Step("Transfer data to vault".into()));
    let (points, error) = transfer(&members, &frozen, instant, progress).await;
    let error = match error {
        Some((place, error)) => Some(reason(error, &frozen[place]).await),
        None => None,
    };
    // A point that was committed stands, whatever becomes of the others.
    let outcome = |place| if place < points.len() { Outcome::Committed } else { Outcome::Abandoned };
    let ends = frozen.into_iter().enumerate().map(|(place, one)| (one, outcome(place)));
    release(ends.collect(), progress).await;
    error.map_or(Ok(points), Err)
}

/// Freezes, and once more if a record of changes turns out to lie: what was not saved because the record
/// called it unchanged cannot be read any more, so reading everything takes a new instant.
///
/// CRASH: between the two the record that lied is still there, and the next run's audit may not meet the lie.
async fn freeze_audited(
    members: &mut [Member<'_>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Vec<FrozenMachine>, Timestamp)> {
    let clock = members[0].request.clock;
    progress(Progress::Step("Take snapshot".into()));
    let mut frozen = freeze(members, progress).await?;
    let mut instant = clock();
    let mut honest = Ok(true);
    for (member, one) in members.iter_mut().zip(&frozen) {
        honest = match (honest, member.audit(one, progress).await) {
            (Ok(before), Ok(now)) => Ok(before && now),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
    }
    if !matches!(honest, Ok(true)) {
        release(frozen.into_iter().map(|one| (one, Outcome::Abandoned)).collect(), progress).await;
        honest?;
        frozen = freeze(members, progress).await?;
        instant = clock();
    }
    for one in &frozen {
        progress(Progress::Frozen {
            paused: one.window(),
            consistency: level_name(one.consistency().level).into(),
            fell_because: one.consistency().fell_because.clone(),
            is_all_there_is: one.consistency().is_all_there_is(),
            bytes: one.disks().iter().map(|disk| disk.size).sum(),
        });
    }
    Ok((frozen, instant))
}

/// Freezes all machines at one instant, or none.
async fn freeze(members: &[Member<'_>], progress: &(dyn Fn(Progress) + Sync)) -> Result<Vec<FrozenMachine>> {
    let rendezvous = (members.len() > 1).then(|| Arc::new(Rendezvous::new(members.len())));
    let all = members.iter().map(|member| member.freeze(rendezvous.clone()));
    let (mut frozen, mut first) = (Vec::with_capacity(members.len()), None);
    for one in join_all(all).await {
        match one {
            Ok(one) => frozen.push(one),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    if let Some(error) = first {
        release(frozen.into_iter().map(|one| (one, Outcome::Abandoned)).collect(), progress).await;
        return Err(error);
    }
    for done in frozen.iter().flat_map(FrozenMachine::recovered) {
        progress(Progress::Step(format!("An earlier backup had died: {done}")));
    }
    Ok(frozen)
}

/// Moves the disks of all machines, then commits. Gives the points made, and which machine failed and how.
async fn transfer(
    members: &[Member<'_>],
    frozen: &[FrozenMachine],
    instant: Timestamp,
    progress: &(dyn Fn(Progress) + Sync),
) -> (Vec<Point>, Option<(usize, Error)>) {
    let mut ready = Vec::with_capacity(members.len());
    for (place, (member, frozen)) in members.iter().zip(frozen).enumerate() {
        match member.transfer(frozen, instant, progress).await {
            Ok(one) => ready.push(one),
            Err(error) => return (Vec::new(), Some((place, error))),
        }
    }
    for (place, frozen) in frozen.iter().enumerate() {
        // INVARIANT: a snapshot that broke is never committed. Its reads have failed already; this asks again.
        if let Err(error) = frozen.check().await.doing(|| "check that the instant held".into()) {
            return (Vec::new(), Some((place, error)));
        }
    }
    for gate in members.iter().filter_map(|member| member.request.gate.as_ref()) {
        (gate.0)().await;
    }
    let mut points = Vec::with_capacity(members.len());
    for (place, Ready { session, draft, records }) in ready.into_iter().enumerate() {
        match session.commit(draft, records).await.doing(|| "commit the point".into()) {
            Ok(point) => points.push(point),
            Err(error) => return (points, Some((place, error))),
        }
    }
    (points, None)
}

/// Gives machines back. Their points stand or not, whatever comes of this: the next backup takes back what is
/// left.
async fn release(ends: Vec<(FrozenMachine, Outcome)>, progress: &(dyn Fn(Progress) + Sync)) {
    for (frozen, outcome) in ends {
        if let Err(left) = frozen.release(outcome).await {
            progress(Progress::Step(match outcome {
                Outcome::Committed => {
                    format!("The point is safe, but the machine keeps something of ours: {left}")
                }
                Outcome::Abandoned => format!("The machine could not be released wholly: {left}"),
            }));
        }
    }
}

/// What stands behind a read that failed. QEMU refuses reads of a broken snapshot as if they made no sense;
/// what people can mend is that it broke.
async fn reason(error: Error, frozen: &FrozenMachine) -> Error {
    let Error::Disk(doing, refused) = error else { return error };
    match frozen.check().await {
        Err(broken) if broken.kind() == hypervisor::ErrorKind::Broken => Error::Machine(doing, broken),
        _ => Error::Disk(doing, refused),
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Application => "application-consistent",
        Level::FileSystem => "file-system-consistent",
        Level::Crash => "crash-consistent",
    }
}
