//! Reads samples of disks whose records of changes are to be audited.
//!
//! The frozen disk cannot show them: a filter that is limited to what changed saves nothing else, and fails
//! reads of the rest. The live disk can, and at the right time: **before** the instant, while the parent's
//! bitmap still records. If that bitmap, stopped at the instant, calls a block unchanged, then it claims that
//! the block was the same from the parent's instant to this one, so also when it was read in between. If it
//! calls it changed, the sample is dropped. A write that is under way while the sample is read is no trouble
//! either: it is done, and recorded, before `stop` returns. (Read after the instant, one would have to ask the
//! next bitmap what was written since, and QEMU records a write only once it is done: a write between the two
//! would look like a lie.)

use super::names;
use super::owner::Prepared;
use super::reconcile::remove_export;
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result, Sample};
use nbd::Address;
use serde_json::json;
use std::path::Path;

/// Reads ranges (offset, length) of a disk that the guest is using.
///
/// CRASH: an export that nobody reads; it is taken back by name.
pub(super) async fn read(
    qmp: &Qmp,
    prepared: &Prepared,
    ranges: &[(u64, usize)],
    socket: &Path,
) -> Result<Vec<Sample>> {
    let Prepared { index, disk, .. } = prepared;
    let context = || format!("read samples of the disk {}", disk.id);
    let id = names::live(*index);
    let export = json!({
        "type": "nbd", "id": id, "node-name": disk.node, "name": id, "writable": false,
    });
    qmp.execute("block-export-add", export).await.map_err(|error| error.within(context()))?;
    let address = Address::Unix(socket.to_owned());
    let read = Sample::read(&address, &id, ranges).await.map_err(|error| match error.kind() {
        block::ErrorKind::Unreachable => Error::caused(ErrorKind::Unreachable, context(), error),
        _ => Error::caused(ErrorKind::Failed, context(), error),
    });
    // Whatever came of it.
    let removed = remove_export(qmp, &id).await;
    let samples = read?;
    removed.map_err(|error| error.within(context()))?;
    Ok(samples)
}
