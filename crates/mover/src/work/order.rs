//! The course of one order, whatever comes of it.
//!
//! ```text
//! work ──────────────► done / failed / panicked ─┐
//! lease: go on… ─────► cancel ───────────────────┼─► give the machine back ─► settle what was begun ─► last word
//! shutdown ──────────────────────────────────────┘
//! lease: lost ───────► give the machine back, and nothing else
//! ```

use super::archive;
use super::backup;
use super::copies;
use super::doors::{Meant, Opened};
use super::failure::{Failed, Result};
use super::lease::{End, Lease};
use super::orders::Mover;
use super::points;
use super::restore::Wanted;
use super::server::Server;
use super::settings::Settings;
use super::vaults::Vaults;
use super::{drill, image, into, replace, restore, snapshot, verify};
use api::snapshots::SnapshotMember;
use api::work::{BackUpWork, Order, ReportEvent, Work};
use futures_util::future::{FutureExt, join_all};
use hypervisor::Machine;
use jiff::{SignedDuration, Timestamp};
use model::ClaimantId;
use model::job::Failure;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use uuid::Uuid;

/// How long a machine may take to be given back, and how long it may take to see to it that nothing of an order
/// commits any more. Longer than both, and what is left is found by the next claim.
pub(super) const UNDO_LIMIT: Duration = Duration::from_secs(60);

/// An order that is being carried out.
pub(super) struct Run {
    mover: Arc<Mover>,
    pub(super) order: Order,
    pub(super) lease: Arc<Lease>,
    machines: Mutex<Vec<Opened>>,
    /// Whether a session of the order may have begun.
    writes: AtomicBool,
}

/// What ended the work.
enum Ended {
    Done(std::result::Result<Result<()>, Box<dyn Any + Send>>),
    Told(End),
    Stopped,
}

/// Carries an order out, and says so.
pub(super) async fn carry_out(mover: Arc<Mover>, order: Order, mut stopping: watch::Receiver<bool>) {
    let lease = Lease::new(Arc::clone(&mover.server), mover.claimant, &order);
    let run = Run {
        mover,
        order,
        lease: Arc::new(lease),
        machines: Mutex::default(),
        writes: AtomicBool::new(false),
    };
    tracing::info!(job = %run.order.job, kind = ?run.order.kind, "an order began");
    // Reports go out by themselves, so that the claim holds however busy the work is; and end with this future.
    let mut keeper = JoinSet::new();
    keeper.spawn(keep(Arc::clone(&run.lease), Heeds::Cancel));
    let ended = tokio::select! {
        done = AssertUnwindSafe(run.work()).catch_unwind() => Ended::Done(done),
        end = keeper.join_next() => Ended::Told(said(end)),
        _ = stopping.wait_for(|stopping| *stopping) => Ended::Stopped,
    };
    // The work is dropped by now. Until the last word is said, the claim must hold.
    if matches!(ended, Ended::Told(End::Cancel)) {
        keeper.spawn(keep(Arc::clone(&run.lease), Heeds::Nothing));
    }
    run.give_back().await;
    let last_word = match ended {
        Ended::Told(End::Lost | End::Told) => {
            tracing::warn!(job = %run.order.job, "the claim is no longer good: the order was dropped");
            return;
        }
        Ended::Done(Ok(Ok(()))) => None,
        Ended::Done(Ok(Err(Failed(error)))) => run.unless_complete(ReportEvent::Failed { error }).await,
        Ended::Done(Err(panic)) => {
            run.unless_complete(ReportEvent::Failed { error: defect(&*panic).0 }).await
        }
        Ended::Told(End::Cancel) => run.unless_complete(ReportEvent::Cancelled {}).await,
        Ended::Stopped => run.unless_complete(ReportEvent::Released {}).await,
    };
    tracing::info!(job = %run.order.job, last_word = ?last_word, "an order ended");
    run.lease.end(last_word);
    // Somebody's wish to end it comes too late, or is what ends it.
    if said(keeper.join_next().await) == End::Cancel {
        keep(Arc::clone(&run.lease), Heeds::Nothing).await;
    }
}

/// What ends reporting besides the last word and the loss of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heeds {
    Cancel,
    Nothing,
}

async fn keep(lease: Arc<Lease>, heeds: Heeds) -> End {
    loop {
        match lease.keep().await {
            End::Cancel if heeds == Heeds::Nothing => {}
            end => return end,
        }
    }
}

fn said(end: Option<std::result::Result<End, JoinError>>) -> End {
    end.expect("one reports").expect("reporting does not panic")
}

/// What a panic comes to. Nothing is known of why, so nothing is to be tried again.
fn defect(panic: &(dyn Any + Send)) -> Failed {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let text = format!("the mover has a defect: {text}");
    Failed::new(Failure::Invalid, text, "its log says where; please report it")
}

impl Run {
    async fn work(&self) -> Result<()> {
        match &self.order.work {
            Work::BackUp(work) => backup::back_up(self, work).await,
            Work::Restore { item, point, folder, disks, format, machine } => {
                let (item, point, format) = (*item, *point, *format);
                let wanted = Wanted {
                    item,
                    point,
                    folder: Path::new(folder),
                    disks,
                    format,
                    machine: machine.as_ref(),
                };
                restore::restore(self, wanted).await
            }
            Work::RestoreInto { item, point, targets, plan } => {
                into::restore(self, (*item, *point), targets, *plan).await
            }
            Work::Replace(work) => replace::replace(self, work).await,
            Work::UndoReplace { known_as, replacement, journal, stop } => {
                replace::undo(self, known_as, (*replacement, journal), *stop).await
            }
            Work::RemoveKept { replacement, journal, files } => {
                replace::remove(self, (*replacement, journal), files).await
            }
            Work::Snapshot(work) => snapshot::carry_out(self, work).await,
            Work::Image(work) => image::carry_out(self, work).await,
            Work::Verify { item, point } => verify::verify(self, *item, *point).await,
            Work::Drill { item, point, options } => drill::drill(self, *item, *point, options).await,
            Work::DeletePoints { points, snapshots, archive, .. } => {
                points::delete(self, points, snapshots, archive.as_ref()).await
            }
            Work::UndeletePoints { points, snapshots, archive, .. } => {
                points::undelete(self, points, snapshots, archive.as_ref()).await
            }
            Work::Copy(work) => copies::copy(self, work).await,
            Work::Heal(work) => copies::heal(self, work).await,
            Work::Archive(work) => archive::archive(self, work).await,
            Work::Rehydrate(work) => archive::rehydrate(self, work).await,
            Work::Collect { soft_delete_seconds, now, purge, archive } => {
                let soft_delete = SignedDuration::from_secs(*soft_delete_seconds);
                points::collect(self, (soft_delete, *now), purge, archive.as_ref()).await
            }
        }
    }

    pub(super) fn vaults(&self) -> &Vaults {
        &self.mover.vaults
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.mover.settings
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.mover.settings.clock)()
    }

    /// A fresh id.
    pub(super) fn draw(&self) -> Uuid {
        (self.mover.settings.draw)()
    }

    /// This run of the mover.
    pub(super) fn claimant(&self) -> ClaimantId {
        self.mover.claimant
    }

    pub(super) fn server(&self) -> &dyn Server {
        &*self.mover.server
    }

    /// From now on a session of the order may be under way.
    pub(super) fn will_write(&self) {
        self.writes.store(true, Ordering::Relaxed);
    }

    /// Opens the machine, and keeps it until it was given back.
    pub(super) async fn open(&self, work: &BackUpWork) -> Result<Arc<dyn Machine>> {
        let BackUpWork { host, known_as, name, .. } = work;
        self.open_one(Meant { host, known_as, name }).await
    }

    /// Opens the machines of snapshots, in the order of the members. Everybody waits for machines in one order of their
    /// own, so that no two orders wait for each other.
    pub(super) async fn open_all(&self, members: &[SnapshotMember]) -> Result<Vec<Arc<dyn Machine>>> {
        let mut turns: Vec<usize> = (0..members.len()).collect();
        turns.sort_by_key(|place| &members[*place].known_as);
        let mut opened = Vec::with_capacity(members.len());
        for place in turns {
            let SnapshotMember { host, known_as, name, .. } = &members[place];
            opened.push((place, self.open_one(Meant { host, known_as, name }).await?));
        }
        opened.sort_by_key(|(place, _)| *place);
        Ok(opened.into_iter().map(|(_, machine)| machine).collect())
    }

    async fn open_one(&self, meant: Meant<'_>) -> Result<Arc<dyn Machine>> {
        let opened = self.mover.doors.open(meant).await?;
        let machine = Arc::clone(&opened.machine);
        self.machines.lock().expect("no holder panics").push(opened);
        Ok(machine)
    }

    /// A machine that is open.
    pub(super) fn opened(&self) -> Option<Arc<dyn Machine>> {
        let machines = self.machines.lock().expect("no holder panics");
        machines.first().map(|opened| Arc::clone(&opened.machine))
    }

    /// Keeps a machine that nobody else is to use until it was given back.
    pub(super) fn keep(&self, machine: Arc<dyn Machine>, inside: OwnedMutexGuard<()>) {
        self.machines.lock().expect("no holder panics").push(Opened { machine, _inside: inside });
    }

    /// Waits for a machine to be free, and lets nobody else of this process use it.
    pub(super) async fn enter(&self, known_as: &str) -> OwnedMutexGuard<()> {
        self.mover.doors.enter(known_as).await
    }

    /// Waits for the machine to be as if nothing had been: dropped work gives it back in the background.
    async fn give_back(&self) {
        let opened = std::mem::take(&mut *self.machines.lock().expect("no holder panics"));
        let settled = join_all(opened.iter().map(|one| one.machine.settled()));
        if timeout(UNDO_LIMIT, settled).await.is_err() {
            tracing::warn!(job = %self.order.job, "the machine is not given back yet; the next backup does the rest");
        }
    }

    /// Ends what was begun. Gives the last word, unless all was done after all: then the steps say it.
    async fn unless_complete(&self, event: ReportEvent) -> Option<ReportEvent> {
        if !self.writes.load(Ordering::Relaxed) {
            return Some(event);
        }
        let is_cancelled = matches!(event, ReportEvent::Cancelled {});
        let settled = async {
            match &self.order.work {
                Work::BackUp(work) => backup::settle(self, work).await,
                Work::Replace(work) => replace::settle(self, work, is_cancelled).await.map(|()| false),
                Work::Snapshot(work) => snapshot::settle(self, work).await,
                Work::Image(work) => image::settle(self, work).await,
                _ => Ok(false),
            }
        };
        match timeout(UNDO_LIMIT, settled).await {
            Ok(Ok(true)) => return None,
            Ok(Ok(false)) => {}
            Ok(Err(Failed(error))) => {
                tracing::warn!(job = %self.order.job, error = error.text, "what was begun could not be ended");
            }
            Err(_) => tracing::warn!(job = %self.order.job, "the vault does not answer"),
        }
        Some(event)
    }
}
