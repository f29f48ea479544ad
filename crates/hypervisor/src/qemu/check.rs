//! Whether a frozen instant still holds.

use super::describe::device_path;
use super::names;
use super::owner::Prepared;
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use block::{BlockSource, ExtentKind};
use nbd::{Address, NbdDisk, Options};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes read to see whether reads are served.
const PROBE_BYTES: usize = 512;

/// The changes of a disk are asked for in steps of this.
const STEP_BYTES: u64 = 1 << 30;

/// A probe is one small read of the disk or its scratch file.
const PROBE_WAIT: Duration = Duration::from_secs(30);

/// [`FrozenMachine::check`](crate::FrozenMachine::check).
pub(super) async fn check(qmp: &Qmp, disks: &[Prepared], socket: &Path) -> Result<()> {
    let exports = qmp.execute("query-block-exports", Value::Null).await?;
    let drives = qmp.execute("query-block", Value::Null).await?;
    for prepared in disks {
        let broken = |what: &str| {
            let text = format!("check the frozen disk {}: {what}", prepared.disk.id);
            Err(Error::new(ErrorKind::Broken, text))
        };
        let (export, filter) = (names::export(prepared.index), names::filter(prepared.index));
        let mut exports = exports.as_array().into_iter().flatten();
        if !exports.any(|found| found["id"] == export && found["shutting-down"] != true) {
            return broken("its export is gone");
        }
        let mut drives = drives.as_array().into_iter().flatten();
        if !drives.clone().any(|drive| device_path(drive) == prepared.disk.device) {
            let text = format!(
                "check the frozen disk {}: it was unplugged meanwhile; run the backup again",
                prepared.disk.id
            );
            return Err(Error::new(ErrorKind::Failed, text));
        }
        if !drives.any(|drive| drive["inserted"]["node-name"] == filter) {
            return broken("the guest's device writes past the filter");
        }
    }
    let status = qmp.execute("query-status", Value::Null).await?;
    if status["status"] == "io-error" {
        let text = "check the frozen machine: QEMU stopped it over an I/O error";
        return Err(Error::new(ErrorKind::Failed, text));
    }
    for prepared in disks {
        let context = || format!("check the frozen disk {}", prepared.disk.id);
        let served = timeout(PROBE_WAIT, probe(prepared, socket)).await.map_err(|_| {
            Error::new(ErrorKind::Unreachable, format!("{}: QEMU does not answer a read", context()))
        })?;
        served.map_err(|error| match error.kind() {
            block::ErrorKind::Unreachable => Error::caused(ErrorKind::Unreachable, context(), error),
            _ => Error::caused(ErrorKind::Broken, format!("{}: its snapshot is broken", context()), error),
        })?;
    }
    Ok(())
}

/// Reads a little where a whole snapshot lets itself be read. A broken one refuses every read.
///
/// Block status is asked of the bitmap only: QEMU before 9.2 dies of two questions for allocation at once, and
/// the mover may be asking one.
async fn probe(prepared: &Prepared, socket: &Path) -> block::Result<()> {
    let bitmap = prepared.tracking.bitmap().map(str::to_owned);
    let limited = bitmap.is_some();
    let export = prepared.disk.id.clone();
    let options = Options { export, dirty_bitmap: bitmap, allocation: false, connections: 1 };
    let disk = NbdDisk::connect(&Address::Unix(socket.to_owned()), &options).await?;
    let place = if limited { first_change(&disk).await? } else { Some(0) };
    // Without changes nothing is saved, so nothing can break.
    if let Some(offset) = place {
        let length = PROBE_BYTES.min(usize::try_from(disk.size() - offset).unwrap_or(PROBE_BYTES));
        disk.read(offset, vec![0; length]).await?;
    }
    disk.close().await;
    Ok(())
}

async fn first_change(disk: &NbdDisk) -> block::Result<Option<u64>> {
    for offset in (0..disk.size()).step_by(STEP_BYTES as usize) {
        let extents = disk.extents(offset, STEP_BYTES.min(disk.size() - offset)).await?;
        if let Some(changed) = extents.iter().find(|extent| extent.kind == ExtentKind::Data) {
            return Ok(Some(changed.offset));
        }
    }
    Ok(None)
}
