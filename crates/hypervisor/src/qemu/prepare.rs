//! Everything that is done before the guest notices anything.

use super::bitmaps::{self, Decision, NodeBitmaps, Wanted};
use super::devices::property;
use super::names::{self, MARK_SERVER};
use super::owner::Prepared;
use super::reconcile::{Found, teardown, thaw_leftover};
use crate::consistency::Guest;
use crate::qmp::{Qmp, Transaction};
use crate::scratch::{self, RunFolder};
use crate::{DiskDescription, Error, ErrorKind, FreezeRequest, Result, Tracking};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;

/// More than this are not served at once to one reader, and one mover reads.
const NBD_CONNECTIONS_MAX: u32 = 64;

/// A machine that can be frozen.
pub(super) struct MachineState {
    pub(super) running: bool,
}

/// Refuses a QEMU that is too old, and a machine that is on the move.
pub(super) async fn check_machine(qmp: &Qmp) -> Result<MachineState> {
    // copy-before-write is of 6.2 and snapshot-access of 7.0, but `on-cbw-error`, `cbw-timeout` and `bitmap`,
    // without which a full scratch disk would stop the guest, are of 7.1.
    if !qmp.version().at_least(7, 1) {
        let text = format!("freeze a machine of QEMU {}: 7.1 or later is needed", qmp.version());
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let migration = qmp.execute("query-migrate", Value::Null).await?;
    let status = qmp.execute("query-status", Value::Null).await?;
    let idle =
        matches!(migration["status"].as_str(), None | Some("none" | "completed" | "failed" | "cancelled"));
    let moving = matches!(
        status["status"].as_str(),
        Some("inmigrate" | "finish-migrate" | "postmigrate" | "restore-vm" | "save-vm" | "colo")
    );
    if moving || !idle {
        let text =
            format!("freeze a machine that is migrating ({}, {})", status["status"], migration["status"]);
        return Err(Error::new(ErrorKind::Busy, text));
    }
    Ok(MachineState { running: status["running"] == true })
}

/// Refuses disks whose export would kill QEMU.
///
/// An export runs in the thread of its disk. Before 9.0 QEMU ends a client's connection in that thread,
/// although that is only safe in the main one; since the fix of CVE-2024-7409 was carried back (7.2.14, 8.2.7)
/// it checks this and aborts, and the guest with it, whenever a reader disconnects. Seen with 7.2.22.
pub(super) async fn refuse_iothreads(qmp: &Qmp, disks: &[DiskDescription]) -> Result<()> {
    if qmp.version().at_least(9, 0) || qmp.execute("query-iothreads", Value::Null).await? == json!([]) {
        return Ok(());
    }
    for disk in disks {
        if has_iothread(qmp, &disk.device).await? {
            let text = format!(
                "freeze the disk {}: it has an iothread, and QEMU {} would crash when its export is closed; \
                 9.0 or later is needed, or a disk without an iothread",
                disk.id,
                qmp.version()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    Ok(())
}

/// Whether the device, or the controller it hangs on, has one. Devices that cannot have one lack the property.
async fn has_iothread(qmp: &Qmp, device: &str) -> Result<bool> {
    let bus = property(qmp, device, "parent_bus").await?.unwrap_or_default();
    for path in [device, &bus] {
        let mut place = path;
        while let Some((parent, _)) =
            place.rsplit_once('/').filter(|(parent, _)| parent.contains("/peripheral"))
        {
            if property(qmp, place, "iothread").await?.is_some_and(|thread| !thread.is_empty()) {
                return Ok(true);
            }
            place = parent;
        }
    }
    Ok(false)
}

pub(super) async fn is_running(qmp: &Qmp) -> Result<bool> {
    Ok(qmp.execute("query-status", Value::Null).await?["running"] == true)
}

/// Takes back what a dead process left; refuses if it lives. Returns what was done, and why the guest may
/// still be frozen, if it may.
pub(super) async fn take_back_leftovers(
    qmp: &Qmp,
    guest: &dyn Guest,
) -> Result<(Vec<String>, Option<String>)> {
    let found = Found::read(qmp).await?;
    if found.is_held() {
        let text = "freeze a machine that another Strongroom process is freezing";
        return Err(Error::new(ErrorKind::Busy, text));
    }
    let (mut done, errors) = teardown(qmp, &found).await;
    Error::gather("take back what an earlier freeze left", errors)?;
    match thaw_leftover(&found, guest).await {
        Ok(thawed) => {
            done.extend(thawed);
            Ok((done, None))
        }
        Err(error) if error.kind() == ErrorKind::Unreachable => Err(error),
        Err(error) => Ok((done, Some(error.chain()))),
    }
}

/// [`Machine::reconcile`](crate::Machine::reconcile).
pub(super) async fn reconcile(qmp: &Qmp, guest: &dyn Guest) -> Result<Vec<String>> {
    match take_back_leftovers(qmp, guest).await? {
        (done, None) => Ok(done),
        (_, Some(reason)) => Err(Error::new(ErrorKind::Guest, reason)),
    }
}

/// Decides for each disk what must be read, and folds the bitmaps of attempts that failed.
pub(super) async fn decide_tracking(
    qmp: &Qmp,
    request: &FreezeRequest,
    disks: &[DiskDescription],
    recovered: &mut Vec<String>,
) -> Result<Vec<Prepared>> {
    if disks.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "freeze a machine without writable disks"));
    }
    let nodes = NodeBitmaps::read(qmp).await?;
    let mut transaction = Transaction::new();
    let mut prepared = Vec::with_capacity(disks.len());
    for (index, disk) in disks.iter().enumerate() {
        let there = nodes.of(&disk.node);
        let new = names::bitmap(&request.vault, &request.point, &disk.id);
        let wanted = Wanted {
            vault: &request.vault,
            disk: &disk.id,
            parent: request.parent.as_deref(),
            parent_size: request.parent_disks.get(&disk.id).copied(),
            size: disk.size,
            distrust: request.distrusted.get(&disk.id).map(String::as_str),
        };
        let (tracking, folded) = match bitmaps::decide(wanted, &there) {
            Decision::Full { reason } => (Tracking::Full { reason }, None),
            Decision::Incremental { bitmap } => (Tracking::Incremental { bitmap }, None),
            Decision::FoldFirst { bitmap, leftover } => {
                bitmaps::fold(&mut transaction, &disk.node, &bitmap, &leftover);
                recovered.push(format!("folded {leftover} of {} back into {bitmap}", disk.id));
                (Tracking::Incremental { bitmap }, Some(leftover))
            }
        };
        // This very point, tried before by a process that died.
        let mut of_no_use = vec![new.clone()];
        if let (Some(_), Some(parent)) = (wanted.distrust, wanted.parent) {
            // Now, so that no later run believes it either, whatever becomes of this one.
            of_no_use.push(names::bitmap(&request.vault, parent, &disk.id));
        }
        for bitmap in there.iter().filter(|bitmap| of_no_use.contains(&bitmap.name)) {
            if folded.as_ref() != Some(&bitmap.name) {
                transaction.remove_bitmap(&disk.node, &bitmap.name);
            }
        }
        prepared.push(Prepared { index, disk: disk.clone(), tracking, bitmap: new, samples: Vec::new() });
    }
    let folded = transaction.run(qmp).await;
    folded.map_err(|error| error.within("settle the records of changes of an earlier attempt"))?;
    Ok(prepared)
}

/// Makes the folder, the scratch files, and the nodes on them.
pub(super) async fn scratch_space(
    qmp: &Qmp,
    request: &FreezeRequest,
    disks: &[Prepared],
) -> Result<RunFolder> {
    scratch::sweep(&request.scratch);
    let folder = RunFolder::create(&request.scratch, &request.point, qmp.peer())?;
    for Prepared { index, disk, .. } in disks {
        let file = folder.disk(*index, disk.size)?;
        let node = json!({
            "driver": "raw",
            "node-name": names::scratch(*index),
            "discard": "unmap",
            "file": { "driver": "file", "filename": file, "discard": "unmap" },
        });
        let added = qmp.execute("blockdev-add", node).await;
        added.map_err(|error| error.within(format!("open the scratch file of the disk {}", disk.id)))?;
    }
    Ok(folder)
}

/// Starts QEMU's NBD server on a socket of ours. There is one per QEMU.
pub(super) async fn start_server(qmp: &Qmp, socket: &Path) -> Result<()> {
    // CRASH: the mark without a server is taken back like one with it.
    names::mark(qmp, MARK_SERVER).await?;
    let address = json!({ "type": "unix", "data": { "path": socket } });
    let arguments = json!({ "addr": address, "max-connections": NBD_CONNECTIONS_MAX });
    let Err(error) = qmp.execute("nbd-server-start", arguments).await else { return Ok(()) };
    // Not ours: without the mark it is left alone.
    names::remove_node(qmp, MARK_SERVER).await?;
    if error.kind() == ErrorKind::Unreachable {
        return Err(error);
    }
    // QEMU has no question for it, and its sentence is not for programs.
    let text =
        "start QEMU's NBD server: most likely another tool runs one in this QEMU, which can have only one";
    Err(Error::caused(ErrorKind::Busy, text, error))
}

/// `stop` flushes all disks. What lies in this host's page cache is written out before, so that the machine
/// need not stand still for it. Only to be quick: a disk that is no file of ours to open is left to `stop`.
pub(super) async fn flush_host_caches(disks: &[Prepared]) {
    let files: Vec<String> = disks.iter().map(|prepared| prepared.disk.file.clone()).collect();
    let flush = move || {
        for file in files.iter().filter(|file| file.starts_with('/')) {
            let _ = File::open(file).and_then(|file| file.sync_data());
        }
    };
    let _ = tokio::task::spawn_blocking(flush).await;
}
