//! A frozen machine, as its caller holds it, and the task that owns the freeze from beginning to end.
//!
//! The caller only talks to that task. If the caller goes away at any moment (Ctrl-C, a dropped future, a lost
//! lease) the task finishes the step it is in, lets the guest run, and takes everything back. Because it is
//! never cancelled in the middle, `thaw` follows `freeze` and `cont` follows `stop` as one line follows another.

use crate::{Consistency, Error, ErrorKind, MachineDescription, Result};
use async_trait::async_trait;
use block::BlockSource;
use nbd::{Address, NbdDisk, Options};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// A caller sends one order at a time.
const ORDERS_QUEUED: usize = 2;

/// All writable disks of a machine at one instant, readable until released, while the guest runs on.
///
/// Dropped without [`release`](Self::release) it is abandoned in the background; a killed process's is taken
/// back by the next freeze or [`reconcile`](crate::Machine::reconcile).
#[derive(Debug)]
pub struct FrozenMachine {
    point: String,
    orders: mpsc::Sender<Order>,
    taken: Taken,
}

/// What the owner's task hands over once the instant is fixed and exposed.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) description: MachineDescription,
    pub(crate) disks: Vec<FrozenDisk>,
    pub(crate) consistency: Consistency,
    pub(crate) window: Duration,
    pub(crate) recovered: Vec<String>,
}

/// One disk as it was, served over NBD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenDisk {
    /// As in the machine's description.
    pub id: String,
    /// Size in bytes.
    pub size: u64,
    /// The live disk's format. What is served is always plain bytes.
    pub format: String,
    /// Where it is served.
    pub address: Address,
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
    /// What was read of it for an audit, shortly before the instant: see [`Sample`].
    pub samples: Vec<Sample>,
}

/// Bytes of a disk, read while its record of changes was still being kept and before the instant, or as they
/// were at it.
///
/// Where the record calls the whole range unchanged *at the instant*, these bytes have stood there ever since
/// the parent's instant. Where it does not, they say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where.
    pub offset: u64,
    /// What was there.
    pub bytes: Vec<u8>,
}

impl Sample {
    /// Reads ranges (offset, length) through an export that lets all of a disk be read.
    pub(crate) async fn read(
        address: &Address,
        export: &str,
        ranges: &[(u64, usize)],
    ) -> block::Result<Vec<Self>> {
        let options = Options { allocation: false, connections: 1, ..Options::new(export) };
        let source = NbdDisk::connect(address, &options).await?;
        let mut samples = Vec::with_capacity(ranges.len());
        for (offset, length) in ranges {
            samples.push(Self { offset: *offset, bytes: source.read(*offset, vec![0; *length]).await? });
        }
        source.close().await;
        Ok(samples)
    }
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

/// What a caller may ask of a frozen machine.
#[derive(Debug)]
enum Order {
    Check(oneshot::Sender<Result<()>>),
    Release(Outcome, oneshot::Sender<Result<()>>),
}

/// One freeze of one provider's machine, run by a task of its own.
#[async_trait]
pub(crate) trait Freeze: Send + Sync + 'static {
    /// Fixes the instant and exposes the disks. Whatever it ends with, [`end`](Self::end) follows.
    async fn take(&mut self, caller: &Caller) -> Result<Taken>;

    /// Whether the instant still holds.
    async fn check(&self) -> Result<()>;

    /// Takes everything back, whatever there is; tries every step even if one before it failed.
    async fn end(self: Box<Self>, outcome: Outcome) -> Result<()>;
}

/// Whoever waits for the instant.
pub(crate) struct Caller(oneshot::Sender<Result<Taken>>);

impl Caller {
    /// Refuses to go on for a caller that has gone.
    pub(crate) fn still_wants(&self) -> Result<()> {
        if self.0.is_closed() {
            return Err(Error::new(ErrorKind::Failed, "freeze the machine: the caller has gone"));
        }
        Ok(())
    }
}

/// One freeze of a machine at a time, its end to be awaited. The permit is held by the task that freezes.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// # Errors
    /// `Busy` while another has it.
    pub(crate) fn take(&self, verb: &str) -> Result<OwnedSemaphorePermit> {
        let busy = |_| Error::new(ErrorKind::Busy, format!("{verb} a machine that is being frozen"));
        self.0.clone().try_acquire_owned().map_err(busy)
    }

    /// Returns once nobody has it.
    pub(crate) async fn free(&self) {
        let _ = self.0.acquire().await; // never closed
    }
}

/// Starts the task and waits for the instant.
pub(crate) async fn begin(point: String, freeze: impl Freeze) -> Result<FrozenMachine> {
    let (orders, queue) = mpsc::channel(ORDERS_QUEUED);
    let (reply, taken) = oneshot::channel();
    tokio::spawn(run(Box::new(freeze), Caller(reply), queue));
    // If this future is dropped the task sees both channels close.
    let taken = taken.await.map_err(|_| gone("freeze the machine"))??;
    Ok(FrozenMachine { point, orders, taken })
}

/// Freezes, serves the caller's orders, and takes everything back.
async fn run(mut freeze: Box<dyn Freeze>, caller: Caller, mut orders: mpsc::Receiver<Order>) {
    match freeze.take(&caller).await {
        Ok(taken) => {
            // A caller that is gone has closed the orders too.
            let _ = caller.0.send(Ok(taken));
            serve(freeze, &mut orders).await;
        }
        Err(error) => {
            let undone = freeze.end(Outcome::Abandoned).await;
            let _ = caller.0.send(Err(match undone {
                Ok(()) => error,
                Err(more) => {
                    let text = format!("freeze the machine; taking it back also failed: {}", more.chain());
                    error.within(text)
                }
            }));
        }
    }
}

async fn serve(freeze: Box<dyn Freeze>, orders: &mut mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Check(reply) => {
                let _ = reply.send(freeze.check().await);
            }
            Order::Release(outcome, reply) => {
                let _ = reply.send(freeze.end(outcome).await);
                return;
            }
        }
    }
    let _ = freeze.end(Outcome::Abandoned).await; // nobody is left to tell; the next freeze tries again
}

impl FrozenMachine {
    /// The point it was frozen for.
    pub fn point(&self) -> &str {
        &self.point
    }

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

    /// How long the machine stood still, from `stop` to `cont`; zero for one that somebody had paused, and for
    /// machines of libvirt, which are not stopped.
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
