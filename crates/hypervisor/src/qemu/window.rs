//! The window: from `stop` to `cont`, in which the instant is fixed.
//!
//! No transaction of QEMU's (up to 10 at least) can insert a filter, so the machine is stopped for the few
//! commands it takes. `stop` returns once no processor runs, all requests of the guest's devices are done and
//! flushed, and their queues are no longer looked at: until `cont` nothing writes to the disks, so everything
//! in between happens at one instant, on all disks.
//!
//! Within it the filters come before the change of bitmaps, although the guest could not tell: if something
//! but the guest did write (another tool's export, say), then the parent's bitmap was still recording and
//! the filter had already taken its copy of it, so the write lies outside what the filter allows to be read
//! and the backup fails aloud. The other way round it would be missing from the incremental in silence.

use super::bitmaps::GRANULARITY;
use super::names::{self, MARK_STOPPED};
use super::owner::Prepared;
use super::reconcile::set_drive;
use crate::qmp::{Event, Qmp, Transaction};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};
use tokio::time::Instant;

/// How long one write of the guest may wait for the scratch file. Longer is not asked for: an instant can be
/// had again, a guest's patience cannot. And before 9.1 QEMU keeps this in 32 bits of nanoseconds: 4 s is the
/// largest that means what it says (45 s would be 2 s).
const COPY_TIMEOUT_SECONDS: u32 = 4;

/// Fixes the instant and returns how long the machine stood still for it.
///
/// CRASH: before the transaction, filters that nothing reads; after it, the new bitmaps too. In both the mark
/// lets the next process run the machine on; [`teardown`](super::reconcile::teardown) removes the filters and
/// the next freeze folds the bitmaps.
///
/// `meet` is waited for while it stands still: see [`Rendezvous`](crate::Rendezvous).
pub(super) async fn fix_instant(
    qmp: &Qmp,
    disks: &[Prepared],
    running: bool,
    meet: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    let mut events = qmp.events();
    if !running {
        // Somebody else's pause: ours to use, not to end.
        insert_all(qmp, disks).await?;
        meet.await?;
        return stood_still(&mut events).map(|()| Duration::ZERO);
    }
    names::mark(qmp, MARK_STOPPED).await?;
    let began = Instant::now();
    let fixed = async {
        qmp.execute("stop", Value::Null).await?;
        insert_all(qmp, disks).await?;
        // After what may fail: who comes has fixed its disks.
        meet.await?;
        stood_still(&mut events)
    };
    let fixed = fixed.await;
    // Always: a `stop` that timed out may still have stopped it.
    let resumed = qmp.execute("cont", Value::Null).await;
    let stood = began.elapsed();
    resumed?;
    names::remove_node(qmp, MARK_STOPPED).await?;
    fixed.map(|()| stood)
}

/// Somebody else's `cont` in the middle would let the guest write between filter and bitmap, and the next
/// incremental would miss it. QEMU tells of it before it answers our next command, so no `RESUME` by now
/// means that there was none.
fn stood_still(events: &mut Receiver<Event>) -> Result<()> {
    loop {
        match events.try_recv() {
            Ok(event) if event.name != "RESUME" => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            Ok(_) | Err(TryRecvError::Lagged(_)) => {
                let text = "fix the instant: something else let the machine run on in the middle of it";
                return Err(Error::new(ErrorKind::Busy, text));
            }
        }
    }
}

async fn insert_all(qmp: &Qmp, disks: &[Prepared]) -> Result<()> {
    for disk in disks {
        insert_filter(qmp, disk).await?;
    }
    let mut swap = Transaction::new();
    for disk in disks {
        if let Some(parent) = disk.tracking.bitmap() {
            swap.disable_bitmap(&disk.disk.node, parent);
        }
        swap.add_bitmap(&disk.disk.node, &disk.bitmap, GRANULARITY, disk.disk.keeps_bitmaps);
    }
    swap.run(qmp).await.map_err(|error| error.within("begin the next record of changes"))
}

async fn insert_filter(qmp: &Qmp, disk: &Prepared) -> Result<()> {
    let filter = names::filter(disk.index);
    let mut node = json!({
        "driver": "copy-before-write",
        "node-name": filter,
        "file": disk.disk.node,
        "target": names::scratch(disk.index),
        // The guest's writes go before our snapshot.
        "on-cbw-error": "break-snapshot",
        "cbw-timeout": COPY_TIMEOUT_SECONDS,
    });
    if let Some(parent) = disk.tracking.bitmap() {
        // Only what will be read needs saving: the rest of the disk costs the guest nothing.
        node["bitmap"] = json!({ "node": disk.disk.node, "name": parent });
    }
    let added = qmp.execute("blockdev-add", node).await;
    added.map_err(|error| error.within(format!("put a filter on the disk {}", disk.disk.id)))?;
    set_drive(qmp, &disk.disk.device, &filter).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    #[test]
    fn a_resume_in_the_middle_is_noticed() {
        let heard = |names: &[&str]| {
            let (sender, mut receiver) = broadcast::channel(4);
            for name in names {
                sender.send(Event { name: (*name).to_owned(), data: Value::Null }).unwrap();
            }
            stood_still(&mut receiver).map_err(|error| error.kind())
        };
        assert_eq!(heard(&[]), Ok(()));
        assert_eq!(heard(&["STOP", "NIC_RX_FILTER_CHANGED"]), Ok(()));
        assert_eq!(heard(&["STOP", "RESUME", "STOP"]), Err(ErrorKind::Busy));
        assert_eq!(heard(&["STOP", "a", "b", "c", "d"]), Err(ErrorKind::Busy)); // some were missed
    }
}
