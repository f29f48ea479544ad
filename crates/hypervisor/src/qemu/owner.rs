//! A freeze of a machine whose monitor is ours, from the first command to the last.

use super::bitmaps::{self, NodeBitmaps};
use super::check::check;
use super::describe::describe;
use super::discover::working_folder;
use super::machine::QemuGuest;
use super::reconcile::{Found, teardown};
use super::window::fix_instant;
use super::{names, prepare, samples};
use crate::consistency::{Guest, Keeper, Quiesced};
use crate::firmware::{Memories, Tpm};
use crate::frozen::{Caller, Freeze, Taken};
use crate::qmp::{Qmp, Transaction};
use crate::rendezvous::{FREEZE_TIMEOUT_MAX, Gate};
use crate::scratch::RunFolder;
use crate::{
    Consistency, DiskDescription, Error, ErrorKind, FreezeRequest, FrozenDisk, Level, MachineDescription,
    Outcome, Result, Sample, Tracking,
};
use async_trait::async_trait;
use nbd::{Address, RunningServer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// A disk that is to be frozen.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) index: usize,
    pub(super) disk: DiskDescription,
    pub(super) tracking: Tracking,
    /// The bitmap that starts at the instant.
    pub(super) bitmap: String,
    /// What was read of it to audit its tracking.
    pub(super) samples: Vec<Sample>,
}

/// See [`Freeze`].
pub(super) struct QemuFreeze {
    qmp: Qmp,
    guest: Arc<dyn Guest>,
    request: FreezeRequest,
    _permit: OwnedSemaphorePermit,
    folder: Option<RunFolder>,
    /// Serves what the firmware remembers.
    firmware_server: Option<RunningServer>,
    disks: Vec<Prepared>,
    keeper: Option<Keeper>,
    /// Nothing of ours is in QEMU before.
    begun: bool,
}

#[async_trait]
impl Freeze for QemuFreeze {
    async fn take(&mut self, caller: &Caller) -> Result<Taken> {
        let taken = self.take_together(caller).await;
        if let (Err(error), Some(rendezvous)) = (&taken, &self.request.rendezvous) {
            // The others must not wait for what will not come, nor keep what they have alone.
            rendezvous.give_up(error);
        }
        taken
    }

    async fn check(&self) -> Result<()> {
        match &self.folder {
            Some(folder) => check(&self.qmp, &self.disks, &folder.socket()).await,
            None => Ok(()), // unreachable: a frozen machine has its folder
        }
    }

    /// Takes everything back, whatever there is. The permit goes last, before the caller hears of it.
    async fn end(mut self: Box<Self>, outcome: Outcome) -> Result<()> {
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
                Ok(()) => errors.extend(self.guest.unmark_frozen().await.err()),
                Err(error) => errors.push(error),
            }
        }
        if let Some(server) = self.firmware_server.take() {
            server.stop().await;
        }
        if let Some(folder) = self.folder.take() {
            let removed = tokio::task::spawn_blocking(|| folder.remove()).await;
            errors.extend(
                removed.unwrap_or_else(|e| Err(Error::caused(ErrorKind::Failed, "remove scratch", e))).err(),
            );
        }
        Error::gather("release the frozen machine", errors)
    }
}

impl QemuFreeze {
    /// See [`Freeze::take`].
    async fn take_together(&mut self, caller: &Caller) -> Result<Taken> {
        let state = prepare::check_machine(&self.qmp).await?;
        let (mut recovered, not_thawed) = prepare::take_back_leftovers(&self.qmp, &*self.guest).await?;
        // Leftovers may have been what stopped it.
        let running = state.running || prepare::is_running(&self.qmp).await?;
        self.begun = true;
        let mut description = self.choose_disks(describe(&self.qmp).await?)?;
        prepare::refuse_iothreads(&self.qmp, &description.disks).await?;
        self.disks =
            prepare::decide_tracking(&self.qmp, &self.request, &description.disks, &mut recovered).await?;
        // CRASH: from here a folder, then nodes that nothing uses; swept by name.
        let folder = prepare::scratch_space(&self.qmp, &self.request, &self.disks).await?;
        let socket = folder.socket();
        self.folder = Some(folder);
        prepare::start_server(&self.qmp, &socket).await?;
        self.read_samples(&socket).await?;
        prepare::flush_host_caches(&self.disks).await;
        caller.still_wants()?;
        self.meet(Gate::Prepared, Duration::ZERO).await?;

        let quiesced = self.quiesce(running, not_thawed).await;
        let fixed = match self.refusal(quiesced.reachable()) {
            Some(()) => {
                self.let_others_go(quiesced.evidence());
                None
            }
            None => Some(self.fix_together(running, quiesced.held_for()).await),
        };
        let (consistency, keeper) = quiesced.thaw().await;
        self.keeper = keeper;
        // A window that failed matters more than what the guest reached.
        let window = fixed.transpose()?;
        if self.refusal(consistency.level).is_some() {
            return Err(too_low(self.request.wish, &consistency));
        }
        caller.still_wants()?;
        let mut disks = self.expose(&socket).await?;
        disks.extend(self.serve_firmware(&mut description).await?);
        let window = window.unwrap_or_default();
        Ok(Taken { description, disks, consistency, window, recovered })
    }

    pub(super) fn new(
        qmp: Qmp,
        guest: QemuGuest,
        request: FreezeRequest,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (guest, disks) = (Arc::new(guest), Vec::new());
        Self {
            qmp,
            guest,
            request,
            _permit: permit,
            folder: None,
            firmware_server: None,
            disks,
            keeper: None,
            begun: false,
        }
    }

    /// Leaves out what the request does not want.
    fn choose_disks(&self, mut description: MachineDescription) -> Result<MachineDescription> {
        // What the firmware remembers is part of the machine, whichever disks are wanted.
        let is_firmware = |disk: &DiskDescription| description.firmware.iter().any(|one| one.name == disk.id);
        let (firmware, disks): (_, Vec<_>) = description.disks.into_iter().partition(is_firmware);
        let (chosen, others) = self.request.disks.choose(disks, description.boot.as_deref())?;
        description.disks = chosen;
        description.disks.extend::<Vec<_>>(firmware);
        description.skipped.extend(others);
        Ok(description)
    }

    async fn read_samples(&mut self, socket: &std::path::Path) -> Result<()> {
        for disk in self.disks.iter_mut().filter(|disk| disk.tracking.bitmap().is_some()) {
            if let Some(ranges) = self.request.samples.get(&disk.disk.id) {
                disk.samples = samples::read(&self.qmp, disk, ranges, socket).await?;
            }
        }
        Ok(())
    }

    async fn meet(&self, gate: Gate, held: Duration) -> Result<()> {
        match &self.request.rendezvous {
            Some(rendezvous) => rendezvous.pass(gate, held).await,
            None => Ok(()),
        }
    }

    /// Before the thaw, which may take its time: the guests of the others stand.
    fn let_others_go(&self, reached: &Consistency) {
        if let Some(rendezvous) = &self.request.rendezvous {
            rendezvous.give_up(&too_low(self.request.wish, reached));
        }
    }

    async fn fix_together(&self, running: bool, held: Duration) -> Result<Duration> {
        self.meet(Gate::Quiesced, held).await?;
        fix_instant(&self.qmp, &self.disks, running, self.meet(Gate::Stopped, Duration::ZERO)).await
    }

    async fn quiesce(&self, running: bool, not_thawed: Option<String>) -> Quiesced {
        if let Some(reason) = not_thawed {
            return Quiesced::untouched(&self.guest, Some(reason));
        }
        if !running {
            let reason = "the machine is not running, so its agent cannot answer";
            return Quiesced::untouched(&self.guest, Some(reason.to_owned()));
        }
        let mut request = self.request.clone();
        if request.rendezvous.is_some() {
            request.freeze_timeout = request.freeze_timeout.min(FREEZE_TIMEOUT_MAX);
        }
        Quiesced::freeze(&self.guest, &request).await
    }

    /// Whether this is less than will do.
    fn refusal(&self, level: Level) -> Option<()> {
        (level < self.request.wish && !self.request.may_fall).then_some(())
    }

    /// CRASH: exports without an owner; they die with the next freeze or with QEMU.
    async fn expose(&self, socket: &std::path::Path) -> Result<Vec<FrozenDisk>> {
        let mut frozen = Vec::with_capacity(self.disks.len());
        for prepared in &self.disks {
            let Prepared { index, disk, tracking, samples, .. } = prepared;
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
                address: Address::Unix(socket.to_owned()),
                export: disk.id.clone(),
                allocation: bitmap.is_none(),
                bitmap,
                tracking: tracking.clone(),
                samples: samples.clone(),
            });
        }
        Ok(frozen)
    }

    /// What the firmware remembers beside its drives.
    async fn serve_firmware(&mut self, description: &mut MachineDescription) -> Result<Vec<FrozenDisk>> {
        let Some(started_in) = self.qmp.peer().pid.map(working_folder) else { return Ok(Vec::new()) };
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let memories =
            Memories { tpm: Tpm::of(&description.argv, &started_in, self.qmp.peer().uid), nvram: None };
        let (server, disks) = memories.serve(description, &folder.files_socket()).await?;
        self.firmware_server = server;
        Ok(disks)
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
