//! Backup: the disks of a running machine, at one instant, become a point.

use crate::error::{Doing, Error, Result};
use crate::progress::Progress;
use crate::store_disk::store_disk;
use hypervisor::{
    FreezeRequest, FrozenDisk, FrozenMachine, Level, Machine, MachineDescription, Outcome, Tracking, Watchdog,
};
use jiff::Timestamp;
use nbd::NbdDisk;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vault::{Base, DiskRecord, MachineKey, Point, PointDraft, PointId, Session, SessionId, Vault};

/// Connections to QEMU for one disk: one keeps the order of requests from costing time, more do not help.
const CONNECTIONS: usize = 2;

/// What to back up, and how.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// The point to be made: a fresh id.
    pub point: PointId,
    /// The session to write it in: a fresh id of version 7.
    pub session: SessionId,
    /// How consistent it should be.
    pub wish: Level,
    /// Whether less will do.
    pub may_fall: bool,
    /// Read everything, even where it is known what changed.
    pub full: bool,
    /// An existing folder with room for what the guest overwrites meanwhile.
    pub scratch: PathBuf,
    /// How long the guest may take to come to a stand.
    pub freeze_timeout: Duration,
    /// What thaws the guest if this process dies.
    pub watchdog: Option<Watchdog>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
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
    let description = machine.describe().await.doing(|| "ask the machine what it is".into())?;
    let key = machine_key(&description)?;
    let parent = parent(vault, &key, request.full).await?;
    progress(Progress::Step("Take snapshot".into()));
    let frozen = machine.freeze(freeze_request(vault, request, parent.as_ref())).await;
    let frozen = frozen.doing(|| "fix one instant of all disks".into())?;
    let instant = (request.clock)();
    for done in frozen.recovered() {
        progress(Progress::Step(format!("An earlier backup had died: {done}")));
    }
    progress(Progress::Frozen {
        paused: frozen.window(),
        consistency: level_name(frozen.consistency().level).into(),
        fell_because: frozen.consistency().fell_because.clone(),
    });
    progress(Progress::Step("Transfer data to vault".into()));
    let draft = draft(request, &frozen, key, instant, parent.as_ref());
    let moved = async {
        let session =
            Session::begin(vault, request.session, instant).await.doing(|| "begin to write".into())?;
        transfer(session, &frozen, draft, parent.as_ref(), progress).await
    };
    match moved.await {
        Ok(point) => {
            // The point stands, whatever comes of this: the next backup takes back what is left.
            if let Err(left) = frozen.release(Outcome::Committed).await {
                progress(Progress::Step(format!(
                    "The point is safe, but the machine keeps something of ours: {left}"
                )));
            }
            Ok(point)
        }
        Err(error) => {
            let error = reason(error, &frozen).await;
            if let Err(left) = frozen.release(Outcome::Abandoned).await {
                progress(Progress::Step(format!("The machine could not be released wholly: {left}")));
            }
            Err(error)
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

/// Moves the disks and commits. The frozen machine is released by the caller, whatever comes of it.
async fn transfer(
    session: Session,
    frozen: &FrozenMachine,
    draft: PointDraft,
    parent: Option<&Point>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Point> {
    let mut records = Vec::new();
    for disk in frozen.disks() {
        let tracking = tracking_words(&disk.tracking);
        progress(Progress::Disk { name: disk.id.clone(), size: disk.size, tracking });
        records.push(transfer_disk(&session, disk, parent, progress).await?);
        progress(Progress::DiskDone);
    }
    // INVARIANT: a snapshot that broke is never committed. Its reads have failed already; this asks again.
    frozen.check().await.doing(|| "check that the instant held".into())?;
    session.commit(draft, records).await.doing(|| "commit the point".into())
}

/// Opens a frozen disk and stores what is to be read of it.
async fn transfer_disk(
    session: &Session,
    frozen: &FrozenDisk,
    parent: Option<&Point>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<DiskRecord> {
    let doing = || format!("back up disk {}", frozen.id);
    let source = open(frozen).await.doing(doing)?;
    let incremental = matches!(frozen.tracking, Tracking::Incremental { .. });
    let old = parent.filter(|_| incremental).map(|point| point.disk(&frozen.id)).transpose().doing(doing)?;
    let advance = |bytes| progress(Progress::Advance(bytes));
    let base = parent.zip(old).map(|(point, disk)| Base { point: point.id, map: &disk.map });
    let (map, read_bytes) = store_disk(session, &source, base, &advance).await.doing(doing)?;
    source.close().await;
    let tracking = tracking_words(&frozen.tracking);
    Ok(DiskRecord { name: frozen.id.clone(), map, tracking, read_bytes })
}

async fn open(frozen: &FrozenDisk) -> block::Result<NbdDisk> {
    let options = nbd::Options {
        dirty_bitmap: frozen.bitmap.clone(),
        allocation: frozen.allocation,
        connections: CONNECTIONS,
        ..nbd::Options::new(&frozen.export)
    };
    NbdDisk::connect(&frozen.address, &options).await
}

/// The newest point of the machine that left a record of changes: what changed since is all that needs to be read.
async fn parent(vault: &Vault, key: &MachineKey, full: bool) -> Result<Option<Point>> {
    if full {
        return Ok(None);
    }
    // A damaged point is no parent, and no reason not to make a good one.
    let survey = vault.survey(Some(key)).await.doing(|| "look for the machine's last point".into())?;
    // Points of the stopped machine leave none: see `hypervisor::offline`.
    let points = survey.points.into_iter().filter(|point| point.description["stopped"] != true);
    Ok(points.max_by_key(|point| (point.instant, point.id)))
}

fn freeze_request(vault: &Vault, request: &BackupRequest, parent: Option<&Point>) -> FreezeRequest {
    let disks = parent.map(|point| &point.disks[..]).unwrap_or_default();
    FreezeRequest {
        point: request.point.to_string(),
        vault: vault.id().to_string(),
        parent: parent.map(|point| point.id.to_string()),
        parent_disks: disks.iter().map(|disk| (disk.name.clone(), disk.map.size)).collect(),
        scratch: request.scratch.clone(),
        wish: request.wish,
        may_fall: request.may_fall,
        freeze_timeout: request.freeze_timeout,
        watchdog: request.watchdog.clone(),
    }
}

fn draft(
    request: &BackupRequest,
    frozen: &FrozenMachine,
    machine: MachineKey,
    instant: Timestamp,
    parent: Option<&Point>,
) -> PointDraft {
    let description = frozen.description();
    PointDraft {
        id: request.point,
        machine_name: description.name.clone().unwrap_or_else(|| machine.to_string()),
        machine,
        instant,
        parent: parent.map(|point| point.id),
        consistency: serde_json::to_value(frozen.consistency()).expect("plain data"),
        description: serde_json::to_value(description).expect("plain data"),
    }
}

/// A machine is known by its uuid; one that has none, by its name.
fn machine_key(description: &MachineDescription) -> Result<MachineKey> {
    let name = description.uuid.as_ref().or(description.name.as_ref());
    let name = name.cloned().unwrap_or_default();
    MachineKey::new(name)
        .doing(|| "name the machine (start it with -uuid, or -name without odd characters)".into())
}

fn tracking_words(tracking: &Tracking) -> String {
    match tracking {
        Tracking::Incremental { .. } => "only changes".into(),
        Tracking::Full { reason } => format!("everything: {reason}"),
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Application => "application-consistent",
        Level::FileSystem => "file-system-consistent",
        Level::Crash => "crash-consistent",
    }
}
