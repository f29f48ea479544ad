//! Snapshots: made, copied to another vault, compared, measured.
//!
//! A snapshot is a point under a name of its own (`crate::snapshot_key`), in the vault's own store. Those of several
//! machines are made as a group: at one instant, or none of them.
//!
//! Once, whoever dies: as with backups, sessions of earlier claims are aborted first, then what they committed is looked
//! for by the job's id. CRASH: between the commits of a group some of its snapshots are there. The next claim makes all
//! anew, and tells of those, too, so that nothing lies in the vault that nobody knows of.

use super::backup::{Tier, gate, level, makes_no_sense, told};
use super::export;
use super::failure::Result;
use super::order::Run;
use super::verify::find;
use crate::{AUDIT_BLOCKS, BackupRequest, Progress, SnapshotCopy, copy_snapshot, is_firmware, snapshot_key};
use api::snapshots::{
    ChangedRange, Differences, KeptSnapshot, MadeSnapshot, MeasuredSnapshot, RANGES_MAX, SnapshotMember,
    SnapshotWork,
};
use api::work::{MadePoint, VaultAccess};
use hypervisor::{DiskSelection, FreezeRequest, Machine};
use model::job::Step;
use model::policy::ConsistencyWish;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;
use vault::{DiskRecord, MachineKey, Point, PointId, SessionId, Vault};

/// Does what an order on snapshots asks for.
pub(super) async fn carry_out(run: &Run, work: &SnapshotWork) -> Result<()> {
    match work {
        SnapshotWork::Take { members, consistency } => take(run, members, *consistency).await,
        SnapshotWork::Export { point, disk, path, format } => {
            let (vault, point) = point_of(run, *point).await?;
            let disk = disk_of(&point, disk.as_deref())?;
            export::export(run, &vault, disk, (path.as_ref(), *format)).await
        }
        SnapshotWork::Copy { point, to, kept } => copy(run, *point, to, kept).await,
        SnapshotWork::Compare { old, new, disk, from } => {
            compare(run, [*old, *new], disk.as_deref(), *from).await
        }
        SnapshotWork::Measure { points } => measure(run, points).await,
    }
}

/// Ends what the order has begun, after its work was dropped or failed: no session of it commits any more. What it has
/// committed is told. Gives whether that is all that was wanted.
pub(super) async fn settle(run: &Run, work: &SnapshotWork) -> Result<bool> {
    match work {
        SnapshotWork::Take { members, .. } => {
            let vault = run.vaults().vault(&run.order.vault).await?;
            abort(run, &vault, [run.order.session], members.len()).await?;
            let made = of_job(run, &vault, members).await?;
            if made.is_empty() {
                return Ok(false);
            }
            let is_all = made.len() >= members.len();
            tell(run, &made, is_all);
            Ok(is_all)
        }
        SnapshotWork::Copy { point, to, kept } => {
            let (_, point) = point_of(run, *point).await?;
            let there = run.vaults().vault(to).await?;
            abort(run, &there, [run.order.session], 1).await?;
            let Some(copy) = copy_in(&there, &point).await? else { return Ok(false) };
            run.lease.step_done(Step::CopySnapshot, Some(result(&[(copy, kept.clone())])));
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// The session that a member's snapshot is written under. Each needs one of its own; they follow from the order's, so
/// that whoever fences that knows these. The bits lie where ids are random.
fn session_of(order: Uuid, member: usize) -> SessionId {
    SessionId(Uuid::from_u128(order.as_u128() ^ (member as u128) << 32))
}

/// Sees to it that these claims commit nothing any more.
async fn abort(
    run: &Run,
    vault: &Vault,
    orders: impl IntoIterator<Item = Uuid>,
    members: usize,
) -> Result<()> {
    for order in orders {
        for member in 0..members {
            vault.abort_session(session_of(order, member), run.now()).await?;
        }
    }
    Ok(())
}

async fn take(run: &Run, members: &[SnapshotMember], consistency: ConsistencyWish) -> Result<()> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    run.vaults().attach(&vault).await?;
    abort(run, &vault, run.order.fenced.iter().copied(), members.len()).await?;
    // Nobody has claimed the job before, so nobody can have made anything for it.
    let earlier = match run.order.fenced.is_empty() {
        true => Vec::new(),
        false => of_job(run, &vault, members).await?,
    };
    if !earlier.is_empty() && earlier.len() >= members.len() {
        tell(run, &earlier, true);
        return Ok(());
    }
    let mut all = freeze_and_store(run, &vault, members, consistency).await?;
    if !earlier.is_empty() {
        run.lease.warn(format!(
            "An earlier attempt was cut off after {} of {}: those snapshots are kept, too, and show an earlier instant",
            earlier.len(),
            members.len()
        ));
    }
    all.extend(earlier);
    tell(run, &all, true);
    Ok(())
}

type Kept = (Point, KeptSnapshot);

async fn freeze_and_store(
    run: &Run,
    vault: &Arc<Vault>,
    members: &[SnapshotMember],
    consistency: ConsistencyWish,
) -> Result<Vec<Kept>> {
    let machines = run.open_all(members).await?;
    let requests = members.iter().enumerate().map(|(place, one)| request(run, (place, one), consistency));
    let requests = requests.collect::<Result<Vec<_>>>()?;
    run.lease.begin(&Step::TakeSnapshot.to_string(), 0);
    let advance = |progress: Progress| {
        if matches!(progress, Progress::Frozen { .. }) {
            run.will_write();
        }
        run.lease.progress(progress);
    };
    let together: Vec<(&dyn Machine, &BackupRequest)> =
        machines.iter().map(|machine| &**machine).zip(&requests).collect();
    let points = match &together[..] {
        [(machine, request)] => vec![Box::pin(crate::backup(*machine, vault, request, &advance)).await?],
        group => {
            let set = members[0].kept.set.unwrap_or_else(|| run.draw());
            Box::pin(crate::backup_group(set, group, vault, &advance)).await?
        }
    };
    Ok(points.into_iter().zip(members.iter().map(|member| member.kept.clone())).collect())
}

fn request(
    run: &Run,
    (place, member): (usize, &SnapshotMember),
    consistency: ConsistencyWish,
) -> Result<BackupRequest> {
    Ok(BackupRequest {
        point: PointId(run.draw()),
        session: session_of(run.order.session, place),
        kept_as: Some((snapshot_key(member.machine)?, member.name.clone())),
        service: member.kept.to_value(),
        gate: Some(gate(run)),
        wish: level(consistency),
        may_fall: true,
        full: false,
        disks: match member.disks.is_empty() {
            true => DiskSelection::All,
            false => DiskSelection::Include(member.disks.clone()),
        },
        audit_blocks: AUDIT_BLOCKS,
        throttles: Vec::new(),
        back_off: true,
        scratch: run.settings().scratch.clone(),
        freeze_timeout: FreezeRequest::FREEZE_TIMEOUT,
        watchdog: run.settings().watchdog(),
        clock: run.settings().clock,
    })
}

/// The snapshots of this job in the vault.
async fn of_job(run: &Run, vault: &Vault, members: &[SnapshotMember]) -> Result<Vec<Kept>> {
    let mut made = Vec::new();
    for member in members {
        let points = vault.survey(Some(&snapshot_key(member.machine)?)).await?.points;
        let ours = points.into_iter().filter_map(|point| {
            let kept = KeptSnapshot::of(&point.service)?;
            (kept.job == Some(run.order.job)).then_some((point, kept))
        });
        made.extend(ours);
    }
    Ok(made)
}

/// Tells of snapshots that are there. The last step only when all are.
fn tell(run: &Run, made: &[Kept], is_all: bool) {
    let result = result(made);
    if run.order.steps_done == 0 && !run.lease.has_step(Step::TakeSnapshot) {
        run.lease.step_done(Step::TakeSnapshot, Some(result.clone()));
    }
    if is_all {
        run.lease.step_done(Step::TransferToVault, Some(result));
    }
}

fn result(made: &[Kept]) -> Value {
    let one = |(point, kept): &Kept| {
        let made: MadePoint =
            serde_json::from_value(told(point, point.id, Tier::Vault)).expect("what was written reads");
        MadeSnapshot { made, kept: kept.clone(), machine_name: point.machine_name.clone() }
    };
    json!({ "snapshots": made.iter().map(one).collect::<Vec<_>>() })
}

/// A snapshot of the order's vault.
async fn point_of(run: &Run, point: model::PointId) -> Result<(Arc<Vault>, Point)> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    // What it is kept under says the vault itself.
    let (_, found) = find(std::iter::once(&vault), Uuid::nil(), point).await?;
    Ok((vault, found))
}

/// The disk that is meant; none: the only one.
fn disk_of<'a>(point: &'a Point, wanted: Option<&str>) -> Result<&'a DiskRecord> {
    // What firmware remembers comes along with any disk.
    let disks: Vec<_> = point.disks.iter().filter(|disk| !is_firmware(point, &disk.name)).collect();
    match (wanted, &disks[..]) {
        (Some(name), _) => Ok(point.disk(name)?),
        (None, [only]) => Ok(*only),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|disk| disk.name.as_str()).collect();
            Err(makes_no_sense(format!("say which disk: the snapshot has {}", names.join(", "))))
        }
    }
}

async fn copy(run: &Run, point: model::PointId, to: &VaultAccess, kept: &KeptSnapshot) -> Result<()> {
    let (here, point) = point_of(run, point).await?;
    let there = run.vaults().vault(to).await?;
    run.vaults().attach(&there).await?;
    abort(run, &there, run.order.fenced.iter().copied(), 1).await?;
    if let Some(copy) = copy_in(&there, &point).await? {
        run.lease.step_done(Step::CopySnapshot, Some(result(&[(copy, kept.clone())])));
        return Ok(());
    }
    let bytes = point.disks.iter().map(|disk| disk.map.size).sum();
    run.lease.begin(&Step::CopySnapshot.to_string(), bytes);
    run.will_write();
    let copy = SnapshotCopy {
        base: base_of(&here, &there, &point).await?,
        point: &point,
        id: PointId(run.draw()),
        session: session_of(run.order.session, 0),
        service: kept.to_value(),
        now: run.now(),
    };
    let gate = Box::pin(run.lease.renewed());
    let advance = |progress| run.lease.progress(progress);
    let made = Box::pin(copy_snapshot((&here, &there), copy, gate, &advance)).await?;
    run.lease.step_done(Step::CopySnapshot, Some(result(&[(made, kept.clone())])));
    Ok(())
}

/// Copies that a vault has of snapshots of one machine: of which, and the copy.
async fn copies_in(vault: &Vault, key: &MachineKey) -> Result<Vec<(PointId, Point)>> {
    let points = vault.survey(Some(key)).await?.points.into_iter();
    let of = |point: Point| Some((PointId(KeptSnapshot::of(&point.service)?.copy_of?.0), point));
    Ok(points.filter_map(of).collect())
}

/// The copy that a vault has of a snapshot.
async fn copy_in(vault: &Vault, point: &Point) -> Result<Option<Point>> {
    let copies = copies_in(vault, &point.machine).await?;
    Ok(copies.into_iter().find(|(of, _)| *of == point.id).map(|(_, copy)| copy))
}

/// The newest snapshot before this one of which the other vault has a copy, and that copy.
async fn base_of(here: &Vault, there: &Vault, point: &Point) -> Result<Option<(Point, Point)>> {
    let copies = copies_in(there, &point.machine).await?;
    let mut bases: Vec<(Point, Point)> = Vec::new();
    for one in here.survey(Some(&point.machine)).await?.points {
        let copy = copies.iter().find(|(of, _)| *of == one.id);
        bases.extend(copy.map(|(_, copy)| (one, copy.clone())));
    }
    let nearest = |(one, _): &(Point, Point)| (one.instant <= point.instant, one.instant, one.id);
    Ok(bases.into_iter().max_by_key(nearest))
}

async fn compare(run: &Run, [old, new]: [model::PointId; 2], disk: Option<&str>, from: u64) -> Result<()> {
    let (vault, old) = point_of(run, old).await?;
    let (_, new) = point_of(run, new).await?;
    run.lease.begin(&Step::Compare.to_string(), 0);
    let new = disk_of(&new, disk)?;
    let old = old.disk(&new.name)?;
    let changed = vault.changed_ranges(&old.map, &new.map).await?;
    let mut ranges: Vec<ChangedRange> = Vec::new();
    let mut next = None;
    for range in changed.into_iter().filter(|range| range.end > from) {
        if ranges.len() == RANGES_MAX {
            next = Some(range.start);
            break;
        }
        let offset = range.start.max(from);
        ranges.push(ChangedRange { offset, length: range.end - offset });
    }
    let told = Differences { disk: new.name.clone(), bytes: new.map.size, ranges, next };
    run.lease.step_done(Step::Compare, Some(json!(told)));
    Ok(())
}

async fn measure(run: &Run, points: &[model::PointId]) -> Result<()> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    run.lease.begin(&Step::Measure.to_string(), 0);
    let of: BTreeSet<PointId> = points.iter().map(|point| PointId(point.0)).collect();
    let used = Box::pin(vault.used(&of)).await?;
    let one = |(point, used): (PointId, vault::Used)| MeasuredSnapshot {
        point: model::PointId(point.0),
        unique_bytes: used.unique_bytes,
        shared_bytes: used.shared_bytes,
    };
    let measured: Vec<_> = used.into_iter().map(one).collect();
    run.lease.step_done(Step::Measure, Some(json!({ "measured": measured })));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_sessions_of_their_own_of_the_same_time() {
        let order = Uuid::now_v7();
        let all: BTreeSet<SessionId> = (0..256).map(|member| session_of(order, member)).collect();
        assert_eq!(all.len(), 256);
        assert_eq!(session_of(order, 0), SessionId(order));
        for SessionId(one) in all {
            assert_eq!((one.get_version_num(), one.get_timestamp()), (7, order.get_timestamp()));
            assert_eq!(one.get_variant(), uuid::Variant::RFC4122);
        }
    }
}
