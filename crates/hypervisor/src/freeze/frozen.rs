//! A frozen machine, as its caller holds it.

use super::owner::{Order, Owner};
use super::quiesce::Consistency;
use super::request::FreezeRequest;
use crate::describe::MachineDescription;
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// A caller sends one order at a time.
const ORDERS_QUEUED: usize = 2;

/// All writable disks of a machine at one instant, readable until released, while the guest runs on.
///
/// Dropped without [`release`](Self::release) it is abandoned in the background; a killed process's is taken
/// back by the next freeze or [`reconcile`](crate::Machine::reconcile).
#[derive(Debug)]
pub struct FrozenMachine {
    orders: mpsc::Sender<Order>,
    taken: Taken,
}

/// What the owner's task hands over once the instant is fixed and exposed.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) description: MachineDescription,
    pub(super) disks: Vec<FrozenDisk>,
    pub(super) consistency: Consistency,
    pub(super) window: Duration,
    pub(super) recovered: Vec<String>,
}

/// One disk as it was, served by QEMU over NBD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenDisk {
    /// As in the machine's description.
    pub id: String,
    /// Size in bytes.
    pub size: u64,
    /// The live disk's format. What is served is always plain bytes.
    pub format: String,
    /// The Unix socket QEMU listens on.
    pub socket: PathBuf,
    /// The export's name there.
    pub export: String,
    /// The bitmap to ask for as `qemu:dirty-bitmap:<this>`, when only changes are to be read.
    pub bitmap: Option<String>,
    /// Whether changes alone suffice.
    pub tracking: Tracking,
    /// Whether `base:allocation` may be negotiated. If not, reads and block status outside the bitmap's dirty
    /// ranges fail with `EINVAL`: the filter saves nothing there. Where it may, ask one question at a time over
    /// all connections: QEMU before 9.2 dies of two at once (`nbd::NbdDisk` sees to it).
    pub allocation: bool,
}

/// Whether what changed since the parent point is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// It is not: everything must be read.
    Full {
        /// Why, for people.
        reason: String,
    },
    /// It is all in this bitmap.
    Incremental {
        /// Its name.
        bitmap: String,
    },
}

/// What became of the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable: the next incremental starts from it.
    Committed,
    /// It is not: the next incremental starts from its parent again.
    Abandoned,
}

/// Starts the owner's task and waits for the instant.
pub(crate) async fn begin(
    qmp: Qmp,
    agent: Option<PathBuf>,
    request: FreezeRequest,
    permit: OwnedSemaphorePermit,
) -> Result<FrozenMachine> {
    request.check()?;
    let (orders, queue) = mpsc::channel(ORDERS_QUEUED);
    let (reply, taken) = oneshot::channel();
    tokio::spawn(Owner::new(qmp, agent, request, permit).run(reply, queue));
    // If this future is dropped the task sees both channels close.
    let taken = taken.await.map_err(|_| gone("freeze the machine"))??;
    Ok(FrozenMachine { orders, taken })
}

impl FrozenMachine {
    /// The machine shortly before the instant.
    pub fn description(&self) -> &MachineDescription {
        &self.taken.description
    }

    /// Its disks, readable until released.
    pub fn disks(&self) -> &[FrozenDisk] {
        &self.taken.disks
    }

    /// How consistent the instant is, with the evidence.
    pub fn consistency(&self) -> &Consistency {
        &self.taken.consistency
    }

    /// How long the machine stood still, from `stop` to `cont`; zero for one that somebody had paused.
    pub fn window(&self) -> Duration {
        self.taken.window
    }

    /// What had to be taken back first of an earlier freeze whose process died.
    pub fn recovered(&self) -> &[String] {
        &self.taken.recovered
    }

    /// Whether the instant still holds. To be asked before committing.
    ///
    /// It is the second line: QEMU serves no read of a broken snapshot (`EINVAL`, and so for ever after), so
    /// what was read is right. QEMU (7.2 to 10) shows a broken snapshot nowhere else: not in a node, a bitmap
    /// or an event. So this reads a little through each export, and looks at what can be seen.
    ///
    /// # Errors
    /// `Broken` when an instant was lost; `Failed` when QEMU stopped the machine over an I/O error meanwhile;
    /// `Unreachable` when QEMU is gone.
    pub async fn check(&self) -> Result<()> {
        self.order(Order::Check, "check the frozen machine").await
    }

    /// Gives the disks back and settles the bitmaps. Every step is tried even if one before it failed.
    ///
    /// # Errors
    /// What could not be taken back, all of it. The next freeze tries again; a committed point stays the next
    /// one's parent even then.
    pub async fn release(self, outcome: Outcome) -> Result<()> {
        self.order(|reply| Order::Release(outcome, reply), "release the frozen machine").await
    }

    async fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<()>>) -> Order,
        context: &'static str,
    ) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| gone(context))?;
        answer.await.map_err(|_| gone(context))?
    }
}

impl Tracking {
    /// The bitmap that holds the changes.
    pub fn bitmap(&self) -> Option<&str> {
        match self {
            Self::Full { .. } => None,
            Self::Incremental { bitmap } => Some(bitmap),
        }
    }
}

fn gone(context: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("{context}: its task has ended"))
}
