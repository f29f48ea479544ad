//! A machine becomes a point: in the vault, or in the snapshot tier first.
//!
//! Whoever has claimed the job before may still be at it. Its sessions are ended first, in every store that it may
//! have written to, and what they have uploaded is kept; then what it has committed is looked for. Only then a new point is begun.

use super::failure::{Failed, Result};
use super::order::Run;
use super::transfer::{self, session_of_transfer};
use crate::{AUDIT_BLOCKS, BackupRequest, Gate, Progress};
use api::PointDisk;
use api::work::{BackUpWork, MadePoint, Order};
use hypervisor::{DiskSelection, FreezeRequest, Level, MachineDescription};
use model::job::{Failure, Step};
use model::policy::{self, ConsistencyWish, DiskName};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;
use vault::{Ended, MachineKey, Point, PointId, SessionId, Vault};

/// Makes a point of the machine, or finds the one that an earlier claim has made.
pub(super) async fn back_up(run: &Run, work: &BackUpWork) -> Result<()> {
    let Order { vault: access, .. } = &run.order;
    let Some(location) = &access.snapshot_store else {
        let vault = run.vaults().vault(access).await?;
        let point = made(run, work, &vault).await?;
        first_step_done(run, None);
        run.lease.step_done(Step::TransferToVault, Some(told(&point, point.id, Tier::Vault)));
        return Ok(());
    };
    let snapshots = run.vaults().snapshots(access, location).await?;
    let point = made(run, work, &snapshots).await?;
    let there = told(&point, point.id, Tier::Snapshots);
    first_step_done(run, Some(there.clone()));
    if work.transfer {
        transfer::to_vault(run, work, &snapshots, &point).await
    } else {
        run.lease.step_done(Step::TransferToVault, Some(there));
        Ok(())
    }
}

/// Ends what the order has begun, after its work was dropped or failed: no session of it commits any more. What it has
/// committed is told. Gives whether that is all that was wanted.
pub(super) async fn settle(run: &Run, work: &BackUpWork) -> Result<bool> {
    let access = &run.order.vault;
    let session = SessionId(run.order.session);
    let now = run.now();
    let Some(location) = &access.snapshot_store else {
        let vault = run.vaults().vault(access).await?;
        if vault.abort_session(session, now).await? == Ended::Aborted {
            return Ok(false);
        }
        let Some(point) = of_job(run, work, &vault).await? else { return Ok(false) };
        first_step_done(run, None);
        run.lease.step_done(Step::TransferToVault, Some(told(&point, point.id, Tier::Vault)));
        return Ok(true);
    };
    let snapshots = run.vaults().snapshots(access, location).await?;
    snapshots.abort_session(session, now).await?;
    let Some(point) = of_job(run, work, &snapshots).await? else { return Ok(false) };
    first_step_done(run, Some(told(&point, point.id, Tier::Snapshots)));
    Ok(work.transfer && transfer::settle(run, &point).await?)
}

/// The point of this job in a store: made now, or by an earlier claim.
async fn made(run: &Run, work: &BackUpWork, store: &Arc<Vault>) -> Result<Point> {
    run.vaults().attach(store).await?;
    fence(run, store).await?;
    // Nobody has claimed the job before, so nobody can have made its point.
    if !run.order.fenced.is_empty()
        && let Some(point) = of_job(run, work, store).await?
    {
        return Ok(point);
    }
    take(run, work, store).await
}

/// Ends every session that earlier claims of the job may have in a store. What they have uploaded is found there by
/// the one that begins now.
pub(super) async fn fence(run: &Run, store: &Vault) -> Result<()> {
    for session in run.order.fenced.iter().flat_map(|id| [SessionId(*id), session_of_transfer(*id)]) {
        store.inherit_session(session, run.now()).await?;
    }
    Ok(())
}

/// The point that names this job.
async fn of_job(run: &Run, work: &BackUpWork, store: &Vault) -> Result<Option<Point>> {
    let job = run.order.job.to_string();
    let points = store.survey(Some(&key_of(work.item)?)).await?.points;
    Ok(points.into_iter().find(|point| point.service["job"] == job.as_str()))
}

/// Under what name an item's points are kept.
pub(super) fn key_of(item: Uuid) -> Result<MachineKey> {
    Ok(MachineKey::new(item.to_string())?)
}

/// Backs the machine up.
async fn take(run: &Run, work: &BackUpWork, store: &Arc<Vault>) -> Result<Point> {
    let machine = run.open(work).await?;
    let description = machine.describe().await?;
    let request = BackupRequest {
        point: PointId((run.settings().draw)()),
        session: SessionId(run.order.session),
        kept_as: Some((key_of(work.item)?, work.name.clone())),
        service: serde_json::to_value(&work.service).expect("plain data"),
        gate: Some(gate(run)),
        wish: level(work.consistency),
        may_fall: true,
        full: work.full,
        disks: disks(run, work, &description),
        audit_blocks: AUDIT_BLOCKS,
        throttles: Vec::new(),
        back_off: true,
        scratch: run.settings().scratch.clone(),
        freeze_timeout: FreezeRequest::FREEZE_TIMEOUT,
        watchdog: run.settings().watchdog(),
        clock: run.settings().clock,
    };
    let is_direct = run.order.vault.snapshot_store.is_none();
    let tell = |progress: Progress| {
        if matches!(progress, Progress::Frozen { .. }) {
            run.will_write();
            if is_direct {
                first_step_done(run, None);
            }
        }
        run.lease.progress(progress);
    };
    run.lease.begin("Take snapshot", 0);
    Ok(Box::pin(crate::backup(&*machine, store, &request, &tell)).await?)
}

/// Nothing is committed before the server has said that this claim is still good.
pub(super) fn gate(run: &Run) -> Gate {
    let lease = Arc::clone(&run.lease);
    Gate::new(move || {
        let lease = Arc::clone(&lease);
        Box::pin(async move { lease.renewed().await })
    })
}

/// Tells of the first step, unless it was told of: an attempt that goes on after it makes a new instant all the same.
fn first_step_done(run: &Run, result: Option<Value>) {
    if run.order.steps_done == 0 && !run.lease.has_step(Step::TakeSnapshot) {
        run.lease.step_done(Step::TakeSnapshot, result);
    }
}

pub(super) fn level(wish: ConsistencyWish) -> Level {
    match wish {
        ConsistencyWish::Application => Level::Application,
        ConsistencyWish::FileSystem => Level::FileSystem,
        ConsistencyWish::Crash => Level::Crash,
    }
}

/// What a policy's choice means for this machine. The disk that it boots from is always among them.
fn disks(run: &Run, work: &BackUpWork, machine: &MachineDescription) -> DiskSelection {
    let is_firmware = |id: &str| machine.firmware.iter().any(|one| one.name == id);
    let disks = machine.disks.iter().filter(|disk| !is_firmware(&disk.id));
    let named = disks.map(|disk| DiskName { name: &disk.id, is_os: machine.boot.as_ref() == Some(&disk.id) });
    let chosen = work.disks.choose(&named.collect::<Vec<_>>());
    for disk in &chosen.unknown {
        run.lease.warn(format!("The policy names the disk {disk}, which the machine has not"));
    }
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    match work.disks {
        policy::DiskSelection::All {} => DiskSelection::All,
        policy::DiskSelection::OsOnly {} => DiskSelection::OsOnly,
        policy::DiskSelection::Include { .. } => DiskSelection::Include(owned(chosen.included)),
        policy::DiskSelection::Exclude { .. } => DiskSelection::Exclude(owned(chosen.excluded)),
    }
}

/// Where a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Snapshots,
    Vault,
    Both,
}

/// A point as the server is told of it: `id` is what it knows it by, whatever a copy is called.
pub(super) fn told(point: &Point, id: PointId, tier: Tier) -> Value {
    let level = match point.consistency["level"].as_str() {
        Some("application") => "application",
        Some("file-system") => "file_system",
        _ => "crash",
    };
    let disk = |disk: &vault::DiskRecord| PointDisk {
        name: disk.name.clone(),
        bytes: disk.map.size,
        read_bytes: disk.read_bytes,
    };
    let made = MadePoint {
        point: model::PointId(id.0),
        taken: point.instant,
        consistency: level.to_owned(),
        evidence: point.consistency.clone(),
        disks: point.disks.iter().map(disk).collect(),
        stored_bytes: point.stats.stored_bytes,
        in_snapshot_tier: tier != Tier::Vault,
        in_vault_tier: tier != Tier::Snapshots,
    };
    serde_json::to_value(made).expect("plain data")
}

/// The server does not know what it asks for.
pub(super) fn makes_no_sense(text: impl Into<String>) -> Failed {
    Failed::new(Failure::Invalid, text, "")
}
