//! A freeze of a stopped machine: it stands still by itself, so the instant is from when its images are locked.

use super::image::Image;
use super::machine::Identity;
use super::opened::{Opened, OpenedDisk};
use crate::frozen::{Caller, Freeze, Taken};
use crate::qemu::bitmaps::{self, Decision, GRANULARITY, NodeBitmaps, Wanted};
use crate::qmp::Qmp;
use crate::{
    Consistency, Error, ErrorKind, FreezeRequest, FrozenDisk, Level, Outcome, Result, Sample, Tracking,
};
use async_trait::async_trait;
use serde_json::json;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The sum of a record and what an attempt left of its continuation. Lives in the daemon only.
const SUM: &str = "strongroom-sum";

/// See [`Freeze`].
pub(super) struct OfflineFreeze {
    identity: Identity,
    images: Vec<Image>,
    request: FreezeRequest,
    _permit: OwnedSemaphorePermit,
    opened: Option<Opened>,
}

impl OfflineFreeze {
    pub(super) fn new(
        identity: Identity,
        images: Vec<Image>,
        request: FreezeRequest,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { identity, images, request, _permit: permit, opened: None }
    }

    /// Finds out what is to be read of a disk, and has it served.
    async fn expose(&self, opened: &Opened, index: usize) -> Result<FrozenDisk> {
        let disk = &opened.disks[index];
        let id = disk.description.id.clone();
        let tracking = match (opened.qmp(), &disk.node) {
            (Some(qmp), Some(node)) => {
                let doing = |error: Error| error.within(format!("serve the image of disk {id}"));
                let tracking = self.tracking(qmp, disk, node).await.map_err(doing)?;
                let bitmaps: Vec<_> =
                    tracking.bitmap().iter().map(|name| json!({ "node": node, "name": name })).collect();
                let export = json!({
                    "type": "nbd", "id": format!("export-{index}"), "node-name": node, "name": node,
                    "writable": false, "bitmaps": bitmaps,
                });
                qmp.execute("block-export-add", export).await.map_err(doing)?;
                tracking
            }
            _ => Tracking::Full { reason: "a raw image keeps no record of changes".into() },
        };
        let (address, export) = opened.place(index);
        let samples = match self.request.samples.get(&id).filter(|_| tracking.bitmap().is_some()) {
            Some(ranges) => Sample::read(&address, &export, ranges).await.map_err(|e| {
                Error::caused(ErrorKind::Broken, format!("read samples of the image of disk {id}"), e)
            })?,
            None => Vec::new(),
        };
        Ok(FrozenDisk {
            id,
            size: disk.description.size,
            format: disk.description.format.clone(),
            address,
            export,
            bitmap: tracking.bitmap().map(str::to_owned),
            tracking,
            allocation: true,
            samples,
        })
    }

    async fn tracking(&self, qmp: &Qmp, disk: &OpenedDisk, node: &str) -> Result<Tracking> {
        let full = |reason: &str| Ok(Tracking::Full { reason: reason.to_owned() });
        let (id, top) = (&disk.description.id, disk.chain.top());
        if disk.chain.files().count() > 1 {
            return full("the image stands on other files, of whose changes it has no record");
        }
        if top.header.closed.is_doubtful() {
            return full(top.header.closed.words());
        }
        let wanted = Wanted {
            vault: &self.request.vault,
            disk: id,
            parent: self.request.parent.as_deref(),
            parent_size: self.request.parent_disks.get(id).copied(),
            size: disk.description.size,
            distrust: self.request.distrusted.get(id).map(String::as_str),
        };
        match bitmaps::decide(wanted, &NodeBitmaps::read(qmp).await?.of(node)) {
            Decision::Full { reason } => Ok(Tracking::Full { reason }),
            Decision::Incremental { bitmap } => Ok(Tracking::Incremental { bitmap }),
            // As online, but the sum is made beside them: nothing is written into the image.
            Decision::FoldFirst { bitmap, leftover } => {
                let add = json!({ "node": node, "name": SUM, "granularity": GRANULARITY, "disabled": true });
                let merge = json!({ "node": node, "target": SUM, "bitmaps": [bitmap, leftover] });
                qmp.execute("block-dirty-bitmap-add", add).await?;
                qmp.execute("block-dirty-bitmap-merge", merge).await?;
                Ok(Tracking::Incremental { bitmap: SUM.to_owned() })
            }
        }
    }

    fn consistency(&self, opened: &Opened) -> Result<Consistency> {
        let wish = self.request.wish;
        if wish > Level::Crash && !self.request.may_fall {
            let text = format!(
                "freeze the machine: {wish:?} consistency cannot be had of a stopped machine: \
                 its guest cannot be asked"
            );
            return Err(Error::new(ErrorKind::Guest, text));
        }
        let closed = |disk: &OpenedDisk| {
            format!("{}: {}", disk.description.id, disk.chain.top().header.closed.words())
        };
        let closed: Vec<String> = opened.disks.iter().map(closed).collect();
        let stopped = format!(
            "the machine is stopped: its disks are as its last run left them, however that ended ({})",
            closed.join("; ")
        );
        Ok(Consistency::crash(Some(stopped)))
    }
}

#[async_trait]
impl Freeze for OfflineFreeze {
    async fn take(&mut self, caller: &Caller) -> Result<Taken> {
        if self.request.rendezvous.is_some() {
            let text = "freeze a stopped machine together with others: it has no instant of its own";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        // CRASH: leaves a folder with two sockets; the daemon dies with us.
        self.opened = Some(Opened::open(&self.images, &self.request.scratch, &self.request.point).await?);
        let opened = self.opened.as_ref().expect("it was put there");
        caller.still_wants()?;
        let consistency = self.consistency(opened)?;
        let mut disks = Vec::with_capacity(opened.disks.len());
        let mut description = self.identity.describe(opened);
        let (chosen, others) = self.request.disks.choose(description.disks, description.boot.as_deref())?;
        for index in 0..opened.disks.len() {
            if chosen.iter().any(|disk| disk.id == opened.disks[index].description.id) {
                disks.push(self.expose(opened, index).await?);
            }
        }
        description.disks = chosen;
        description.skipped.extend(others);
        Ok(Taken { description, disks, consistency, window: Duration::ZERO, recovered: Vec::new() })
    }

    /// The images are what they were; a daemon that died has failed its reads already.
    async fn check(&self) -> Result<()> {
        match &self.opened {
            Some(opened) => opened.check(),
            None => Ok(()), // unreachable: a frozen machine has its images open
        }
    }

    /// The images were only read, so that the outcome makes no difference to them.
    async fn end(self: Box<Self>, _outcome: Outcome) -> Result<()> {
        match self.opened {
            Some(opened) => opened.close().await,
            None => Ok(()),
        }
    }
}
