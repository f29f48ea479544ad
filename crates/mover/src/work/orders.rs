//! The loop: claims orders and has a few carried out at once.

use super::browse;
use super::doors::Doors;
use super::inventory;
use super::order::{UNDO_LIMIT, carry_out};
use super::server::{Server, in_words};
use super::settings::Settings;
use super::vaults::Vaults;
use crate::drill::sweep;
use crate::error::{Doing, Result};
use crate::machines::thaw_outstanding;
use api::client::ClientError;
use api::work::{ClaimRequest, Order};
use model::ClaimantId;
use model::job::JobKind;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a claim waits for work at the server: as long as it lets us.
const WAIT_SECONDS: u32 = api::work::CLAIM_WAIT_SECONDS_MAX;
/// Before a server that does not answer is asked again; twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// And at most so long.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// For orders to be ended when the mover is to stop: machines given back, sessions aborted, and the word of it said.
const STOP_LIMIT: Duration = Duration::from_secs(UNDO_LIMIT.as_secs() + 15);

/// A mover that runs.
pub(super) struct Mover {
    pub(super) server: Arc<dyn Server>,
    /// This run of it.
    pub(super) claimant: ClaimantId,
    pub(super) settings: Settings,
    pub(super) vaults: Vaults,
    pub(super) doors: Doors,
}

/// Orders that are being carried out.
#[derive(Default)]
struct Orders {
    /// So many at once as are wished.
    working: JoinSet<()>,
    /// Machines that run while their data follows: it takes hours and next to nothing, and others need not wait.
    following: JoinSet<()>,
}

/// Works for a server until `shutdown` is done; what is under way is given back then, unharmed.
///
/// # Errors
/// When the folders of the settings cannot be made. A server that does not answer is no error: it is asked again.
pub async fn run(server: impl Server, settings: Settings, shutdown: impl Future<Output = ()>) -> Result<()> {
    let mover = Arc::new(Mover::new(Arc::new(server), settings)?);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(prepare(Arc::clone(&mover)));
    tasks.spawn(browse::lend(Arc::clone(&mover), stopping.clone()));
    let mut orders = Orders::default();
    tokio::select! {
        () = work(&mover, &mut orders, &stopping) => unreachable!("it works for ever"),
        () = shutdown => {}
    }
    stop.send_replace(true);
    let Orders { mut working, mut following } = orders;
    let ended = timeout(STOP_LIMIT, async {
        while working.join_next().await.is_some() {}
        while following.join_next().await.is_some() {}
    });
    let ended = ended.await;
    if ended.is_err() {
        tracing::warn!("orders could not be ended in time; the next claims go on with them");
    }
    Ok(())
}

/// What goes on beside the orders: guests that were left frozen are thawed, what killed drills left goes, then the hosts' machines are told of.
async fn prepare(mover: Arc<Mover>) {
    for reconciled in thaw_outstanding(&mover.settings.freeze_records()).await {
        let machine = reconciled.machine;
        match reconciled.came_of_it {
            Ok(done) => tracing::warn!(machine, ?done, "a backup had died while it froze the guest"),
            Err(error) => {
                let error = in_words(&error);
                tracing::error!(machine, error, "the guest may still be frozen");
            }
        }
    }
    for folder in sweep(&mover.settings.scratch).await {
        tracing::warn!(folder = %folder.display(), "a drill had died; what it left is gone");
    }
    inventory::tell(&mover).await;
}

/// Claims and carries out, for ever.
async fn work(mover: &Arc<Mover>, orders: &mut Orders, stopping: &watch::Receiver<bool>) {
    let mut retry = RETRY_FIRST;
    loop {
        while orders.working.len() >= mover.settings.orders_at_once.max(1) {
            ended(orders.working.join_next().await);
        }
        for set in [&mut orders.working, &mut orders.following] {
            while let Some(done) = set.try_join_next() {
                ended(Some(done));
            }
        }
        match mover.claim().await {
            Ok(order) => {
                retry = RETRY_FIRST;
                if let Some(order) = order {
                    let set = match serves(order.kind) {
                        true => &mut orders.following,
                        false => &mut orders.working,
                    };
                    set.spawn(carry_out(Arc::clone(mover), order, stopping.clone()));
                }
            }
            Err(error) => {
                let error = in_words(&error);
                tracing::warn!(error, "no order could be claimed");
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_LONGEST);
            }
        }
    }
}

/// Whether machines run on what such an order serves, until it is over.
pub(super) fn serves(kind: JobKind) -> bool {
    matches!(kind, JobKind::InstantRestore | JobKind::CreateMachinesAtOnce)
}

/// A panic in what surrounds the work is ours, and ends that order alone.
fn ended(done: Option<std::result::Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = done {
        tracing::error!(%error, "an order ended without a word");
    }
}

impl Mover {
    fn new(server: Arc<dyn Server>, settings: Settings) -> Result<Self> {
        make_folder(&settings.data, 0o700)?;
        make_folder(&settings.cache(), 0o700)?;
        make_folder(&settings.scratch, 0o711)?;
        let claimant = ClaimantId((settings.draw)());
        let vaults = Vaults::new(&settings);
        Ok(Self { server, claimant, settings, vaults, doors: Doors::default() })
    }

    async fn claim(&self) -> std::result::Result<Option<Order>, ClientError> {
        let wish = ClaimRequest { claimant: self.claimant, wait_seconds: WAIT_SECONDS };
        self.server.claim(&wish).await
    }
}

/// A folder that is there stays as it is.
fn make_folder(folder: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.map_err(|e| block::Error::io("make it", e))
        .doing(|| format!("prepare the folder {}", folder.display()))
}
