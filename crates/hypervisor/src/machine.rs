//! The one trait of all providers.

use crate::agent::Agent;
use crate::{FreezeRequest, FrozenMachine, MachineDescription, Result};
use async_trait::async_trait;
use std::fmt::Debug;
use std::time::Duration;

/// Writes of a guest to all its disks. Both only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteLoad {
    /// How many were done.
    pub writes: u64,
    /// How long they took, all together.
    pub busy: Duration,
}

impl WriteLoad {
    /// The mean latency of the writes since `earlier`, if there were any.
    pub fn mean_since(&self, earlier: &Self) -> Option<Duration> {
        let writes = u32::try_from(self.writes.checked_sub(earlier.writes)?).ok()?;
        self.busy.checked_sub(earlier.busy)?.checked_div(writes)
    }
}

/// A machine that can be protected, whoever runs it.
///
/// Providers differ in how they fix an instant, not in what they promise: see the invariants of this crate. They
/// all pass one conformance suite (`tests/it/conformance`).
#[async_trait]
pub trait Machine: Send + Sync + Debug {
    /// What the machine is.
    ///
    /// # Errors
    /// `Unreachable` when it went away; `Failed` when its hypervisor refuses a question.
    async fn describe(&self) -> Result<MachineDescription>;

    /// Fixes one instant for all writable disks and exposes them as they were then.
    ///
    /// Dropping the future is safe: the work is done by a task that sees it, lets the guest run on, and takes
    /// everything back ([`settled`](Self::settled) waits for that).
    ///
    /// # Errors
    /// `Unsupported` where the hypervisor is too old to do it without risk for the guest; `Busy` when another
    /// freeze, a migration or another tool is in the way; `Guest` when the wished consistency cannot be had and
    /// may not fall; `NotFound` or `NoSpace` for the scratch folder; `Invalid` for a request that makes no
    /// sense. Whatever it is, everything was taken back, or the context says what was not.
    async fn freeze(&self, request: FreezeRequest) -> Result<FrozenMachine>;

    /// Takes back what a killed process left of its freeze: a paused machine, a frozen guest, filters, exports,
    /// jobs. Returns what was done. To be called for each machine when a mover starts;
    /// [`freeze`](Self::freeze) does it too.
    ///
    /// # Errors
    /// `Busy` while a living process holds a freeze of this machine.
    async fn reconcile(&self) -> Result<Vec<String>>;

    /// Returns when no freeze is under way any more, dropped ones included.
    async fn settled(&self);

    /// What the guest has written since the machine was started, and how long that took; `None` where the
    /// hypervisor does not count it.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    async fn write_load(&self) -> Result<Option<WriteLoad>> {
        Ok(None)
    }

    /// A conversation with the agent in the guest.
    ///
    /// # Errors
    /// `Guest` when the guest has none that answers.
    async fn agent(&self) -> Result<Agent>;
}
