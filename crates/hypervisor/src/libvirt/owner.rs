//! A freeze of a machine of libvirt's, from the first question to the last.

use super::describe::describe;
use super::domain::Domain;
use super::guest::DomainGuest;
use super::job::{self, Job};
use super::link::{Link, State};
use super::watch::Watch;
use super::{checkpoints, prepare, reconcile};
use crate::consistency::{Guest, Keeper, Quiesced};
use crate::firmware::{Memories, Tpm};
use crate::frozen::{Caller, Freeze, Taken};
use crate::scratch::RunFolder;
use crate::{
    Consistency, DiskDescription, Error, ErrorKind, FreezeRequest, FrozenDisk, Level, MachineDescription,
    Outcome, Result, Sample, Tracking, qemu,
};
use async_trait::async_trait;
use nbd::{Address, NbdDisk, Options, RunningServer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Connecting asks little of QEMU.
const PROBE_WAIT: Duration = Duration::from_secs(30);

/// A disk that is to be frozen.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) index: usize,
    pub(super) disk: DiskDescription,
    pub(super) tracking: Tracking,
    /// The image behind it, as the checkpoint remembers it.
    pub(super) image: String,
}

/// See [`Freeze`].
pub(super) struct LibvirtFreeze {
    link: Link,
    request: FreezeRequest,
    _permit: OwnedSemaphorePermit,
    folder: Option<RunFolder>,
    disks: Vec<Prepared>,
    keeper: Option<(Keeper, Arc<dyn Guest>)>,
    watch: Option<Watch>,
    /// Serves what the firmware remembers.
    firmware_server: Option<RunningServer>,
    /// No job or checkpoint of ours is there before.
    begun: bool,
}

#[async_trait]
impl Freeze for LibvirtFreeze {
    async fn take(&mut self, caller: &Caller) -> Result<Taken> {
        let link = self.link.clone();
        prepare::refuse_remote(link.virsh.uri())?;
        prepare::refuse_group(&self.request)?;
        let (mut recovered, not_thawed) = reconcile::take_back(&link).await?;
        let running = reconcile::check_machine(&link).await?;
        let domain = link.domain().await?;
        let mut description = prepare::choose_disks(&self.request, &domain, describe(&link).await?)?;
        prepare::refuse_iothreads(&domain, &description.qemu)?;
        let mut found = checkpoints::read_all(&link).await?;
        recovered.extend(checkpoints::remove_distrusted(&link, &self.request, &mut found).await?);
        self.disks = prepare::decide(&self.request, &domain, &description.disks, &found)?;
        recovered.extend(checkpoints::clean(&link, &found, &self.checkpoint()).await?);
        // CRASH: from here a folder; swept by name.
        let folder = prepare::scratch_space(&link, &self.request).await?;
        let guest: Arc<dyn Guest> = Arc::new(DomainGuest::new(link.clone(), folder.path().to_owned()));
        self.folder = Some(folder);
        caller.still_wants()?;

        let quiesced = self.quiesce(&guest, running, not_thawed).await;
        let refused = self.is_too_low(quiesced.reachable());
        let begun = if refused { Ok(()) } else { self.begin().await };
        let (consistency, keeper) = quiesced.thaw().await;
        self.keeper = keeper.map(|keeper| (keeper, guest));
        // An instant that failed matters more than what the guest reached.
        begun?;
        if self.is_too_low(consistency.level) {
            return Err(too_low(self.request.wish, &consistency));
        }
        caller.still_wants()?;
        let mut disks = Vec::with_capacity(self.disks.len());
        for prepared in &self.disks {
            disks.push(self.frozen(prepared).await?);
        }
        disks.extend(self.serve_firmware(&domain, &mut description).await?);
        Ok(Taken { description, disks, consistency, window: Duration::ZERO, recovered })
    }

    async fn check(&self) -> Result<()> {
        if let Some(watch) = &self.watch {
            watch.holds()?;
        }
        if self.link.state().await? == State::IoError {
            let text = "check the frozen machine: QEMU stopped it over an I/O error";
            return Err(Error::new(ErrorKind::Failed, text));
        }
        if Job::find(&self.link).await?.is_none_or(|job| job.socket != self.socket()) {
            let text = "check the frozen machine: libvirt's backup job is gone";
            return Err(Error::new(ErrorKind::Broken, text));
        }
        for prepared in &self.disks {
            self.probe(prepared).await?;
        }
        Ok(())
    }

    /// Takes everything back, whatever there is. The permit goes last, before the caller hears of it.
    async fn end(mut self: Box<Self>, outcome: Outcome) -> Result<()> {
        let mut errors = Vec::new();
        if self.begun {
            // CRASH: the job and its folder are found by name.
            errors.extend(job::end_patiently(&self.link).await.err());
        }
        // Only now: while the job runs the scratch folder can fill, and the guest be stopped.
        if let Some(watch) = self.watch.take() {
            watch.end().await;
        }
        if let Some((keeper, guest)) = self.keeper.take() {
            match keeper.finish().await {
                Ok(()) => errors.extend(guest.unmark_frozen().await.err()),
                Err(error) => errors.push(error),
            }
        }
        if let Some(server) = self.firmware_server.take() {
            server.stop().await;
        }
        // Before the checkpoints: a job that libvirt has not begun yet cannot begin without its folder.
        if let Some(folder) = self.folder.take() {
            let removed = tokio::task::spawn_blocking(|| folder.remove()).await;
            errors.extend(
                removed.unwrap_or_else(|e| Err(Error::caused(ErrorKind::Failed, "remove scratch", e))).err(),
            );
        }
        if self.begun {
            // One that libvirt began after all, while the folder was still there.
            errors.extend(job::end_patiently(&self.link).await.err());
            // CRASH: a checkpoint too many does no harm, and the next commit removes it.
            errors.extend(self.settle_checkpoints(outcome).await.err());
        }
        Error::gather("release the frozen machine", errors)
    }
}

impl LibvirtFreeze {
    pub(super) fn new(link: Link, request: FreezeRequest, permit: OwnedSemaphorePermit) -> Self {
        Self {
            link,
            request,
            _permit: permit,
            folder: None,
            disks: Vec::new(),
            keeper: None,
            watch: None,
            firmware_server: None,
            begun: false,
        }
    }

    fn checkpoint(&self) -> String {
        checkpoints::name(&self.request.vault, &self.request.point)
    }

    fn socket(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(RunFolder::socket)
    }

    async fn quiesce(&self, guest: &Arc<dyn Guest>, running: bool, not_thawed: Option<String>) -> Quiesced {
        if let Some(reason) = not_thawed {
            return Quiesced::untouched(guest, Some(reason));
        }
        if !running {
            let reason = "the machine is not running, so its agent cannot answer";
            return Quiesced::untouched(guest, Some(reason.to_owned()));
        }
        Quiesced::freeze(guest, &self.request).await
    }

    /// Whether this is less than will do.
    fn is_too_low(&self, level: Level) -> bool {
        level < self.request.wish && !self.request.may_fall
    }

    /// Fixes the instant. Where libvirt refuses what is asked, less is asked: everything instead of changes, then
    /// no new record of changes. A backup that reads everything is better than none.
    async fn begin(&mut self) -> Result<()> {
        let (checkpoint, link) = (self.checkpoint(), self.link.clone());
        let folder = self.folder.as_ref().expect("it is made before the instant");
        // CRASH: from here a job and a checkpoint.
        self.begun = true;
        let parent =
            self.request.parent.as_ref().map(|parent| checkpoints::name(&self.request.vault, parent));
        let keeps = self.disks.iter().any(|disk| disk.disk.keeps_bitmaps);
        let mut record = keeps.then_some(&*checkpoint);
        loop {
            let begun = job::begin(&link, folder, (&self.disks, record), parent.as_deref()).await;
            let Err(refused) = begun else { break };
            if !matches!(refused.kind(), ErrorKind::Failed | ErrorKind::Unsupported) {
                return Err(refused);
            }
            let changes = self.disks.iter_mut().filter(|disk| disk.tracking.bitmap().is_some());
            let mut asked_changes = false;
            for disk in changes {
                let reason = format!("libvirt refused to tell the changes: {}", refused.chain());
                disk.tracking = Tracking::Full { reason };
                asked_changes = true;
            }
            if !asked_changes && record.take().is_none() {
                return Err(refused);
            }
        }
        self.watch = Some(Watch::begin(link, folder.path().to_owned()));
        Ok(())
    }

    /// What the firmware remembers: libvirt backs none of it up.
    async fn serve_firmware(
        &mut self,
        domain: &Domain,
        description: &mut MachineDescription,
    ) -> Result<Vec<FrozenDisk>> {
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let tpm = prepare::running(&self.link.uuid)?
            .and_then(|(machine, peer)| Tpm::of(&machine.argv, &qemu::working_folder(machine.pid), peer.uid));
        let memories = Memories { tpm, nvram: domain.nvram.clone() };
        let (server, disks) = memories.serve(description, &folder.files_socket()).await?;
        self.firmware_server = server;
        Ok(disks)
    }

    async fn frozen(&self, prepared: &Prepared) -> Result<FrozenDisk> {
        let Prepared { disk, tracking, .. } = prepared;
        let bitmap = tracking.bitmap().map(str::to_owned);
        let address = Address::Unix(self.socket().unwrap_or_default());
        // libvirt's export shows all of the disk as it was at the instant, changed or not.
        let samples = match self.request.samples.get(&disk.id).filter(|_| bitmap.is_some()) {
            Some(ranges) => Sample::read(&address, &disk.id, ranges).await.map_err(|e| {
                Error::caused(ErrorKind::Broken, format!("read samples of the disk {}", disk.id), e)
            })?,
            None => Vec::new(),
        };
        Ok(FrozenDisk {
            id: disk.id.clone(),
            size: disk.size,
            format: disk.format.clone(),
            address,
            export: disk.id.clone(),
            allocation: bitmap.is_none(),
            bitmap,
            tracking: tracking.clone(),
            samples,
        })
    }

    /// Connects: a job that has ended serves nobody.
    async fn probe(&self, prepared: &Prepared) -> Result<()> {
        let context = || format!("check the frozen disk {}", prepared.disk.id);
        let options = Options { allocation: false, connections: 1, ..Options::new(&prepared.disk.id) };
        let address = Address::Unix(self.socket().unwrap_or_default());
        let connected = timeout(PROBE_WAIT, NbdDisk::connect(&address, &options)).await.map_err(|_| {
            Error::new(ErrorKind::Unreachable, format!("{}: QEMU does not answer", context()))
        })?;
        let disk = connected.map_err(|e| Error::caused(ErrorKind::Broken, context(), e))?;
        disk.close().await;
        Ok(())
    }

    async fn settle_checkpoints(&self, outcome: Outcome) -> Result<()> {
        // libvirt deletes checkpoints of running machines only; of one that is off the next freeze does it.
        if matches!(self.link.state().await, Ok(State::Off)) {
            return Ok(());
        }
        match outcome {
            Outcome::Committed => {
                checkpoints::keep_only(&self.link, &self.request.vault, &self.checkpoint()).await
            }
            Outcome::Abandoned => checkpoints::delete_if_there(&self.link, &self.checkpoint()).await,
        }
    }
}

fn too_low(wish: Level, reached: &Consistency) -> Error {
    let reasons = reached.fell_because.join("; ");
    Error::new(ErrorKind::Guest, format!("freeze the machine: {wish:?} consistency cannot be had: {reasons}"))
}
