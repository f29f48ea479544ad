//! One machine of a backup: what is known of it before, and what becomes of it.

use crate::audit::{Audit, Verdict};
use crate::backup::BackupRequest;
use crate::error::{Doing, Result};
use crate::progress::Progress;
use crate::snapshot::{records_of, suits};
use crate::store_disk::store_disk;
use crate::throttle::{Backoff, LOOK, READS_BESIDE_GUEST, Throttle, Throttled, watch};
use hypervisor::{
    DiskSelection, FreezeRequest, FrozenDisk, FrozenMachine, Machine, MachineDescription, Rendezvous,
    SkippedDrive, Tracking, WriteLoad,
};
use jiff::Timestamp;
use nbd::NbdDisk;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;
use vault::{Base, DiskRecord, MachineKey, Point, PointDraft, Session, Vault};

#[cfg(test)]
mod tests;

/// Connections to QEMU for one disk: one keeps the order of requests from costing time, more do not help.
const CONNECTIONS: usize = 2;

/// A machine that is being backed up.
pub(crate) struct Member<'a> {
    machine: &'a dyn Machine,
    vault: &'a Arc<Vault>,
    pub(crate) request: &'a BackupRequest,
    key: MachineKey,
    name: String,
    parent: Option<Point>,
    audit: Audit,
    /// Per disk the blocks that were audited.
    audited: BTreeMap<String, usize>,
    /// Disks whose records of changes were caught lying by this backup, and how.
    lies: BTreeMap<String, String>,
    /// The guest's writes when we began to look, and just before it was first frozen.
    load: WriteLoad,
    looked: Instant,
    load_before: OnceLock<WriteLoad>,
    group: Option<Uuid>,
    /// All members of the group, this one among them.
    pub(crate) group_members: Vec<Value>,
}

/// All disks moved: what is left is to commit.
pub(crate) struct Ready {
    pub(crate) session: Session,
    pub(crate) draft: PointDraft,
    pub(crate) records: Vec<DiskRecord>,
}

impl<'a> Member<'a> {
    pub(crate) async fn new(
        machine: &'a dyn Machine,
        vault: &'a Arc<Vault>,
        request: &'a BackupRequest,
        group: Option<Uuid>,
    ) -> Result<Self> {
        let (load, looked) = (load(machine).await?, Instant::now());
        let description = machine.describe().await.doing(|| "ask the machine what it is".into())?;
        let (key, name) = match &request.kept_as {
            Some(told) => told.clone(),
            None => {
                let key = machine_key(&description)?;
                (key.clone(), description.name.clone().unwrap_or_else(|| key.to_string()))
            }
        };
        let (parent, lies) = parent(vault, &key, request.full, &request.disks).await?;
        let mut audit = Audit::choose(vault, parent.as_ref(), request.audit_blocks, request.point).await?;
        let left_out = parent.iter().flat_map(left_out);
        audit.distrusted.extend(lies);
        audit.distrusted.extend(left_out.map(|disk| (disk, "it was left out of the earlier point".into())));
        Ok(Self {
            machine,
            vault,
            request,
            name,
            key,
            parent,
            audit,
            audited: BTreeMap::new(),
            lies: BTreeMap::new(),
            load,
            looked,
            load_before: OnceLock::new(),
            group,
            group_members: Vec::new(),
        })
    }

    /// Where its points go.
    pub(crate) fn vault(&self) -> &'a Arc<Vault> {
        self.vault
    }

    /// How the other points of its group name it.
    pub(crate) fn name_in_group(&self) -> Value {
        json!({ "machine": self.key, "name": self.name, "point": self.request.point })
    }

    pub(crate) async fn freeze(&self, rendezvous: Option<Arc<Rendezvous>>) -> Result<FrozenMachine> {
        if self.request.back_off {
            sleep_until(self.looked + LOOK).await;
        }
        // Before any filter of ours slows its writes.
        let _ = self.load_before.set(load(self.machine).await?); // of a second freeze the first counts
        let disks = self.parent.iter().flat_map(|point| &point.disks);
        let scratch = self.request.scratch.clone();
        let frozen = self.machine.freeze(FreezeRequest {
            parent: self.parent.as_ref().map(|point| point.id.to_string()),
            parent_disks: disks.map(|disk| (disk.name.clone(), disk.map.size)).collect(),
            wish: self.request.wish,
            may_fall: self.request.may_fall,
            freeze_timeout: self.request.freeze_timeout,
            watchdog: self.request.watchdog.clone(),
            disks: self.request.disks.clone(),
            distrusted: self.audit.distrusted.clone(),
            samples: self.audit.ranges(),
            rendezvous: rendezvous.clone(),
            ..FreezeRequest::new(
                self.request.point.to_string(),
                records_of(self.vault.id(), &self.key),
                scratch,
            )
        });
        let frozen = frozen.await;
        if let (Err(error), Some(rendezvous)) = (&frozen, rendezvous) {
            rendezvous.give_up(error);
        }
        frozen.doing(|| format!("fix one instant of all disks of {}", self.name))
    }

    /// Whether the records of changes agree with what was read. One that does not is distrusted from now on.
    pub(crate) async fn audit(
        &mut self,
        frozen: &FrozenMachine,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<bool> {
        let mut honest = true;
        for disk in frozen.disks().iter().filter(|disk| !disk.samples.is_empty()) {
            let judge = async {
                let source = open(disk).await?;
                let verdict = self.audit.judge(self.vault, disk, &source).await;
                source.close().await;
                verdict
            };
            match judge.await.doing(|| format!("audit the record of changes of disk {}", disk.id))? {
                Verdict::Agrees(blocks) => drop(self.audited.insert(disk.id.clone(), blocks)),
                Verdict::Lies(offset) => {
                    honest = false;
                    let reason = format!(
                        "the record of changes calls the block at {offset} unchanged, but it is not what the \
                         earlier point holds"
                    );
                    progress(Progress::Distrusted { disk: disk.id.clone(), reason: reason.clone() });
                    self.lies.insert(disk.id.clone(), reason.clone());
                    self.audit.distrusted.insert(disk.id.clone(), reason);
                }
            }
        }
        if !honest {
            self.audit.forget_samples();
        }
        Ok(honest)
    }

    /// Moves the disks. The frozen machine is released by the caller, whatever comes of it.
    pub(crate) async fn transfer(
        &self,
        frozen: &FrozenMachine,
        instant: Timestamp,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Ready> {
        if self.group.is_some() {
            progress(Progress::Step(format!("Machine {}", self.name)));
        }
        let before = self.load_before.get().unwrap_or(&self.load);
        let backoff = self.request.back_off.then(|| Backoff::new(&self.load, before));
        let own = Arc::new(Throttle::new(backoff.as_ref().map(Backoff::limits).unwrap_or_default()));
        let mut throttles = self.request.throttles.clone();
        throttles.push(Arc::clone(&own));
        let moved = async {
            let session = Session::begin(self.vault, self.request.session, instant).await;
            let session = session.doing(|| "begin to write".into())?;
            let mut records = Vec::new();
            for disk in frozen.disks() {
                let tracking = tracking_words(&disk.tracking);
                progress(Progress::Disk { name: disk.id.clone(), size: disk.size, tracking });
                records.push(self.transfer_disk(&session, disk, &throttles, progress).await?);
                progress(Progress::DiskDone);
            }
            Ok(Ready { session, draft: self.draft(frozen, instant), records })
        };
        let Some(backoff) = backoff else { return moved.await };
        tokio::select! {
            done = moved => done,
            () = watch(self.machine, &own, backoff) => unreachable!("it watches for ever"),
        }
    }

    /// Opens a frozen disk and stores what is to be read of it.
    async fn transfer_disk(
        &self,
        session: &Session,
        frozen: &FrozenDisk,
        throttles: &[Arc<Throttle>],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<DiskRecord> {
        let doing = || format!("back up disk {}", frozen.id);
        let mut source = Throttled::new(open(frozen).await.doing(doing)?, throttles.to_vec());
        if self.request.back_off {
            source = source.at_once(READS_BESIDE_GUEST);
        }
        let incremental = matches!(frozen.tracking, Tracking::Incremental { .. });
        let parent = self.parent.as_ref().filter(|_| incremental);
        let old = parent.map(|point| point.disk(&frozen.id)).transpose().doing(doing)?;
        let advance = |bytes| progress(Progress::Advance(bytes));
        let base = parent.zip(old).map(|(point, disk)| Base { point: point.id, map: &disk.map });
        let (map, stored_bytes) = store_disk(session, &source, base, &advance).await.doing(doing)?;
        source.into_inner().close().await;
        let tracking = tracking_words(&frozen.tracking);
        let audited: u64 = frozen.samples.iter().map(|sample| sample.bytes.len() as u64).sum();
        Ok(DiskRecord { name: frozen.id.clone(), map, tracking, read_bytes: stored_bytes + audited })
    }

    fn draft(&self, frozen: &FrozenMachine, instant: Timestamp) -> PointDraft {
        let mut told = frozen.description().clone();
        told.skipped.extend(self.gone(&told));
        let mut description = serde_json::to_value(told).expect("plain data");
        if !self.audited.is_empty() {
            description["audited_blocks"] = json!(self.audited);
        }
        if !self.lies.is_empty() {
            description["distrusted"] = json!(self.lies);
        }
        if let Some(group) = self.group {
            description["group"] = json!({ "id": group, "members": self.group_members });
        }
        PointDraft {
            id: self.request.point,
            machine_name: self.name.clone(),
            machine: self.key.clone(),
            instant,
            parent: self.parent.as_ref().map(|point| point.id),
            consistency: serde_json::to_value(frozen.consistency()).expect("plain data"),
            description,
            service: self.request.service.clone(),
        }
    }

    /// Disks of the earlier point that the machine has no more.
    fn gone(&self, now: &MachineDescription) -> Vec<SkippedDrive> {
        // What firmware remembers is told apart from disks: that it could not be read is told as such.
        let parent = self.parent.iter().flat_map(|point| point.description["firmware"].as_array());
        let firmware: Vec<&str> = parent.flatten().filter_map(|one| one["name"].as_str()).collect();
        let there = |name: &str| {
            now.disks.iter().any(|disk| disk.id == name)
                || now.skipped.iter().any(|one| one.id == name)
                || firmware.contains(&name)
        };
        let earlier = self.parent.iter().flat_map(|point| &point.disks).map(|disk| &disk.name);
        let reason = "the machine had it at the earlier point, and has it no more".to_owned();
        earlier
            .filter(|name| !there(name))
            .map(|id| SkippedDrive { id: id.clone(), reason: reason.clone() })
            .collect()
    }
}

async fn load(machine: &dyn Machine) -> Result<WriteLoad> {
    let load = machine.write_load().await.doing(|| "ask how the guest's writes fare".into())?;
    Ok(load.unwrap_or_default())
}

/// Disks that somebody chose to leave out of a point.
fn left_out(point: &Point) -> Vec<String> {
    let skipped = point.description["skipped"].as_array().into_iter().flatten();
    let chosen = skipped.filter(|drive| drive["reason"].as_str().is_some_and(|r| r.starts_with("left out")));
    chosen.filter_map(|drive| drive["id"].as_str().map(str::to_owned)).collect()
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
/// With the disks whose records were caught lying since, by backups of the stopped machine, which removes none.
async fn parent(
    vault: &Vault,
    key: &MachineKey,
    full: bool,
    wished: &DiskSelection,
) -> Result<(Option<Point>, BTreeMap<String, String>)> {
    if full {
        return Ok((None, BTreeMap::new()));
    }
    // A damaged point is no parent, and no reason not to make a good one.
    let survey = vault.survey(Some(key)).await.doing(|| "look for the machine's last point".into())?;
    // Points of the stopped machine leave none: see `hypervisor::offline`.
    let (stopped, running): (Vec<_>, Vec<_>) =
        survey.points.into_iter().partition(|point| point.description["stopped"] == true);
    let suits = |point: &Point| suits(point, wished);
    let parent = running.into_iter().max_by_key(|point| (suits(point), point.instant, point.id));
    let since = |point: &&Point| parent.as_ref().is_some_and(|parent| point.instant > parent.instant);
    let lies = stopped.iter().filter(since).filter_map(|point| point.description["distrusted"].as_object());
    let told = lies.flatten().filter_map(|(disk, why)| Some((disk.clone(), why.as_str()?.to_owned())));
    let lies = told.collect();
    Ok((parent, lies))
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
