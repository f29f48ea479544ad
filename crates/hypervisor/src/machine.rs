//! A running machine: a monitor of its QEMU, and its guest agent where it has one.

use crate::describe::{MachineDescription, describe};
use crate::freeze::{self, FreezeRequest, FrozenMachine};
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A connection to a running machine. Holds its monitor until dropped and until the last freeze is over.
#[derive(Debug)]
pub struct Machine {
    qmp: Qmp,
    agent: Option<PathBuf>,
    /// One permit: held by the task that freezes, so there is one at a time and its end can be awaited.
    freezing: Arc<Semaphore>,
}

impl Machine {
    /// Connects to the QMP socket. The agent's socket is only opened while freezing, so that other tools can
    /// use it meanwhile.
    ///
    /// # Errors
    /// As [`Qmp::connect`].
    pub async fn connect(qmp: &Path, agent: Option<&Path>) -> Result<Self> {
        let qmp = Qmp::connect(qmp).await?;
        Ok(Self { qmp, agent: agent.map(Path::to_owned), freezing: Arc::new(Semaphore::new(1)) })
    }

    /// What the machine is.
    ///
    /// # Errors
    /// `Unreachable` when QEMU went away; `Failed` when it refuses a question.
    pub async fn describe(&self) -> Result<MachineDescription> {
        describe(&self.qmp).await
    }

    /// Fixes one instant for all writable disks and exposes them as they were then.
    ///
    /// Dropping the future is safe: the work is done by a task that sees it, lets the guest run on, and takes
    /// everything back ([`settled`](Self::settled) waits for that).
    ///
    /// # Errors
    /// `Unsupported` before QEMU 7.1, and before 9.0 for disks with an iothread; `Busy` when another freeze, a migration or another tool's NBD server is
    /// in the way; `Guest` when the wished consistency cannot be had and may not fall; `NotFound` or `NoSpace`
    /// for the scratch folder; `Invalid` for a request that makes no sense. Whatever it is, everything was
    /// taken back, or the context says what was not.
    pub async fn freeze(&self, request: FreezeRequest) -> Result<FrozenMachine> {
        let permit = self.freezing.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| Error::new(ErrorKind::Busy, "freeze a machine that is being frozen"))?;
        freeze::begin(self.qmp.clone(), self.agent.clone(), request, permit).await
    }

    /// Takes back what a killed process left of its freeze in this QEMU and its guest: a paused machine, a
    /// frozen guest, filters, exports. Returns what was done. To be called for each machine when a mover
    /// starts; [`freeze`](Self::freeze) does it too.
    ///
    /// # Errors
    /// `Busy` while a living process holds a freeze of this machine.
    pub async fn reconcile(&self) -> Result<Vec<String>> {
        let permit = self.freezing.clone().try_acquire_owned();
        let _permit =
            permit.map_err(|_| Error::new(ErrorKind::Busy, "reconcile a machine that is being frozen"))?;
        freeze::reconcile(&self.qmp, self.agent.as_deref()).await
    }

    /// Returns when no freeze is under way any more, dropped ones included.
    pub async fn settled(&self) {
        let _ = self.freezing.acquire().await; // never closed
    }

    /// The monitor, for whatever else is to be asked.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }
}
