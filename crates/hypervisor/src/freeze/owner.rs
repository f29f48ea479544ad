//! The task that owns a freeze, from the first command to the last.
//!
//! The caller only talks to it. If the caller goes away at any moment (Ctrl-C, a dropped future, a lost
//! lease) the task finishes the step it is in, lets the guest run, and takes everything back. Because it is
//! never cancelled in the middle, `thaw` follows `freeze` and `cont` follows `stop` as one line follows another.

use super::bitmaps::{self, NodeBitmaps};
use super::check::check;
use super::frozen::{FrozenDisk, Outcome, Taken, Tracking};
use super::prepare;
use super::quiesce::{Keeper, Quiesced};
use super::reconcile::{Found, teardown};
use super::request::{FreezeRequest, Level};
use super::scratch::RunFolder;
use super::window::fix_instant;
use super::{names, quiesce::Consistency};
use crate::describe::DiskDescription;
use crate::qmp::{Qmp, Transaction};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What a caller may ask of a frozen machine.
#[derive(Debug)]
pub(super) enum Order {
    Check(oneshot::Sender<Result<()>>),
    Release(Outcome, oneshot::Sender<Result<()>>),
}

/// A disk that is to be frozen.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) index: usize,
    pub(super) disk: DiskDescription,
    pub(super) tracking: Tracking,
    /// The bitmap that starts at the instant.
    pub(super) bitmap: String,
}

pub(super) struct Owner {
    qmp: Qmp,
    agent: Option<PathBuf>,
    request: FreezeRequest,
    _permit: OwnedSemaphorePermit,
    folder: Option<RunFolder>,
    disks: Vec<Prepared>,
    keeper: Option<Keeper>,
    /// Nothing of ours is in QEMU before.
    begun: bool,
}

type Reply = oneshot::Sender<Result<Taken>>;

impl Owner {
    pub(super) fn new(
        qmp: Qmp,
        agent: Option<PathBuf>,
        request: FreezeRequest,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (folder, disks, keeper, begun) = (None, Vec::new(), None, false);
        Self { qmp, agent, request, _permit: permit, folder, disks, keeper, begun }
    }

    /// Freezes, serves the caller's orders, and takes everything back.
    pub(super) async fn run(mut self, reply: Reply, mut orders: mpsc::Receiver<Order>) {
        match self.take(&reply).await {
            Ok(taken) => {
                // A caller that is gone has closed the orders too.
                let _ = reply.send(Ok(taken));
                self.serve(&mut orders).await;
            }
            Err(error) => {
                let undone = self.end(Outcome::Abandoned).await;
                let _ = reply.send(Err(match undone {
                    Ok(()) => error,
                    Err(more) => {
                        let text =
                            format!("freeze the machine; taking it back also failed: {}", more.chain());
                        error.within(text)
                    }
                }));
            }
        }
    }

    async fn serve(self, orders: &mut mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Check(reply) => {
                    let _ = reply.send(self.check().await);
                }
                Order::Release(outcome, reply) => {
                    let _ = reply.send(self.end(outcome).await);
                    return;
                }
            }
        }
        let _ = self.end(Outcome::Abandoned).await; // nobody is left to tell; the next freeze tries again
    }

    async fn check(&self) -> Result<()> {
        match &self.folder {
            Some(folder) => check(&self.qmp, &self.disks, &folder.socket()).await,
            None => Ok(()), // unreachable: a frozen machine has its folder
        }
    }

    async fn take(&mut self, caller: &Reply) -> Result<Taken> {
        let state = prepare::check_machine(&self.qmp).await?;
        let (mut recovered, not_thawed) =
            prepare::take_back_leftovers(&self.qmp, self.agent.as_deref()).await?;
        // Leftovers may have been what stopped it.
        let running = state.running || prepare::is_running(&self.qmp).await?;
        self.begun = true;
        let description = crate::describe::describe(&self.qmp).await?;
        prepare::refuse_iothreads(&self.qmp, &description.disks).await?;
        self.disks =
            prepare::decide_tracking(&self.qmp, &self.request, &description.disks, &mut recovered).await?;
        // CRASH: from here a folder, then nodes that nothing uses; swept by name.
        let folder = prepare::scratch_space(&self.qmp, &self.request, &self.disks).await?;
        let socket = folder.socket();
        self.folder = Some(folder);
        prepare::start_server(&self.qmp, &socket).await?;
        prepare::flush_host_caches(&self.disks).await;
        self.still_wanted(caller)?;

        let quiesced = self.quiesce(running, not_thawed).await;
        let refused = self.refusal(quiesced.reachable());
        let fixed = match refused {
            Some(()) => None,
            None => Some(fix_instant(&self.qmp, &self.disks, running).await),
        };
        let (consistency, keeper) = quiesced.thaw().await;
        self.keeper = keeper;
        // A window that failed matters more than what the guest reached.
        let window = fixed.transpose()?;
        if self.refusal(consistency.level).is_some() {
            return Err(too_low(self.request.wish, &consistency));
        }
        self.still_wanted(caller)?;
        let disks = self.expose(&socket).await?;
        let window = window.unwrap_or_default();
        Ok(Taken { description, disks, consistency, window, recovered })
    }

    async fn quiesce(&self, running: bool, not_thawed: Option<String>) -> Quiesced {
        if let Some(reason) = not_thawed {
            return Quiesced::untouched(&self.qmp, Some(reason));
        }
        if !running {
            let reason = "the machine is not running, so its agent cannot answer";
            return Quiesced::untouched(&self.qmp, Some(reason.to_owned()));
        }
        Quiesced::freeze(&self.qmp, self.agent.as_deref(), &self.request).await
    }

    /// Whether this is less than will do.
    fn refusal(&self, level: Level) -> Option<()> {
        (level < self.request.wish && !self.request.may_fall).then_some(())
    }

    fn still_wanted(&self, caller: &Reply) -> Result<()> {
        if caller.is_closed() {
            return Err(Error::new(ErrorKind::Failed, "freeze the machine: the caller has gone"));
        }
        Ok(())
    }

    /// CRASH: exports without an owner; they die with the next freeze or with QEMU.
    async fn expose(&self, socket: &std::path::Path) -> Result<Vec<FrozenDisk>> {
        let mut frozen = Vec::with_capacity(self.disks.len());
        for prepared in &self.disks {
            let Prepared { index, disk, tracking, .. } = prepared;
            let access = names::access(*index);
            let node = json!({
                "driver": "snapshot-access", "node-name": access, "file": names::filter(*index),
            });
            let bitmap = tracking.bitmap().map(str::to_owned);
            let named = |name: &String| json!({ "node": disk.node, "name": name });
            let export = json!({
                "type": "nbd", "id": names::export(*index), "node-name": access, "name": disk.id,
                "writable": false, "bitmaps": bitmap.iter().map(named).collect::<Vec<Value>>(),
            });
            let context = || format!("expose the frozen disk {}", disk.id);
            self.qmp.execute("blockdev-add", node).await.map_err(|e| e.within(context()))?;
            self.qmp.execute("block-export-add", export).await.map_err(|e| e.within(context()))?;
            frozen.push(FrozenDisk {
                id: disk.id.clone(),
                size: disk.size,
                format: disk.format.clone(),
                socket: socket.to_owned(),
                export: disk.id.clone(),
                allocation: bitmap.is_none(),
                bitmap,
                tracking: tracking.clone(),
            });
        }
        Ok(frozen)
    }

    /// Takes everything back, whatever there is. The permit goes last, before the caller hears of it.
    async fn end(mut self, outcome: Outcome) -> Result<()> {
        let mut errors = Vec::new();
        if self.begun {
            // CRASH: what is still there is still found by name.
            match Found::read(&self.qmp).await {
                Ok(found) => errors.extend(teardown(&self.qmp, &found).await.1),
                Err(error) => errors.push(error),
            }
            // CRASH: before it the next freeze folds or finds its parent recording; after it all is settled.
            if !self.qmp.is_closed() {
                errors.extend(self.settle_bitmaps(outcome).await.err());
            }
        }
        if let Some(keeper) = self.keeper.take() {
            match keeper.finish().await {
                Ok(()) => errors.extend(names::remove_node(&self.qmp, names::MARK_FROZEN).await.err()),
                Err(error) => errors.push(error),
            }
        }
        if let Some(folder) = self.folder.take() {
            let removed = tokio::task::spawn_blocking(|| folder.remove()).await;
            errors.extend(
                removed.unwrap_or_else(|e| Err(Error::caused(ErrorKind::Failed, "remove scratch", e))).err(),
            );
        }
        Error::gather("release the frozen machine", errors)
    }

    async fn settle_bitmaps(&self, outcome: Outcome) -> Result<()> {
        let nodes = NodeBitmaps::read(&self.qmp).await?;
        let mut transaction = Transaction::new();
        for prepared in &self.disks {
            let node = &prepared.disk.node;
            let there = nodes.of(node);
            match outcome {
                Outcome::Committed => {
                    let kept = (&*self.request.vault, &*prepared.bitmap);
                    bitmaps::keep_only(&mut transaction, node, kept, &there);
                }
                Outcome::Abandoned => {
                    bitmaps::give_up(
                        &mut transaction,
                        node,
                        prepared.tracking.bitmap(),
                        &prepared.bitmap,
                        &there,
                    );
                }
            }
        }
        transaction.run(&self.qmp).await.map_err(|error| error.within("settle the records of changes"))
    }
}

fn too_low(wish: Level, reached: &Consistency) -> Error {
    let reasons = reached.fell_because.join("; ");
    Error::new(ErrorKind::Guest, format!("freeze the machine: {wish:?} consistency cannot be had: {reasons}"))
}
