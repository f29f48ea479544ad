//! A running machine whose monitor is ours: QMP, and its guest agent's socket where it has one.

use super::describe::describe;
use super::names::{self, MARK_FROZEN};
use super::owner::QemuFreeze;
use super::prepare;
use super::write_load::write_load;
use crate::agent::Agent;
use crate::consistency::Guest;
use crate::frozen::{self, Turn};
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, FreezeRequest, FrozenMachine, Machine, MachineDescription, Result, WriteLoad};
use async_trait::async_trait;
use std::path::{Path, PathBuf};

/// A connection to a running machine. Holds its monitor until dropped and until the last freeze is over.
///
/// Freezing is refused before QEMU 7.1, and before 9.0 for disks with an iothread.
#[derive(Debug)]
pub struct QemuMachine {
    qmp: Qmp,
    monitor: PathBuf,
    agent: Option<PathBuf>,
    turn: Turn,
}

impl QemuMachine {
    /// Connects to the QMP socket. The agent's socket is only opened while freezing, so that other tools can
    /// use it meanwhile.
    ///
    /// # Errors
    /// As [`Qmp::connect`].
    pub async fn connect(qmp: &Path, agent: Option<&Path>) -> Result<Self> {
        let monitor = qmp.to_owned();
        let qmp = Qmp::connect(qmp).await?;
        Ok(Self { qmp, monitor, agent: agent.map(Path::to_owned), turn: Turn::default() })
    }

    /// The monitor, for whatever else is to be asked.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    fn guest(&self) -> QemuGuest {
        QemuGuest { qmp: self.qmp.clone(), monitor: self.monitor.clone(), socket: self.agent.clone() }
    }
}

#[async_trait]
impl Machine for QemuMachine {
    async fn describe(&self) -> Result<MachineDescription> {
        describe(&self.qmp).await
    }

    async fn freeze(&self, request: FreezeRequest) -> Result<FrozenMachine> {
        let permit = self.turn.take("freeze")?;
        request.check()?;
        let point = request.point.clone();
        frozen::begin(point, QemuFreeze::new(self.qmp.clone(), self.guest(), request, permit)).await
    }

    async fn reconcile(&self) -> Result<Vec<String>> {
        let _permit = self.turn.take("reconcile")?;
        prepare::reconcile(&self.qmp, &self.guest()).await
    }

    async fn settled(&self) {
        self.turn.free().await;
    }

    async fn write_load(&self) -> Result<Option<WriteLoad>> {
        write_load(&self.qmp).await.map(Some)
    }

    async fn agent(&self) -> Result<Agent> {
        self.guest().agent().await
    }
}

/// The guest of a QEMU. The mark of a frozen one is a block node, so it lives exactly as long as the guest.
#[derive(Debug)]
pub(super) struct QemuGuest {
    qmp: Qmp,
    monitor: PathBuf,
    socket: Option<PathBuf>,
}

#[async_trait]
impl Guest for QemuGuest {
    async fn agent(&self) -> Result<Agent> {
        let none = || Error::new(ErrorKind::Guest, "the machine has no guest agent socket");
        Agent::connect(&self.qmp, self.socket.as_deref().ok_or_else(none)?).await
    }

    async fn mark_frozen(&self) -> Result<()> {
        names::mark(&self.qmp, MARK_FROZEN).await
    }

    async fn unmark_frozen(&self) -> Result<()> {
        names::remove_node(&self.qmp, MARK_FROZEN).await
    }

    fn address(&self) -> Option<Vec<String>> {
        // The other process runs in another folder; a path that is no text cannot be written down.
        let word = |path: &Path| std::path::absolute(path).ok()?.into_os_string().into_string().ok();
        let mut words = vec!["--qmp".to_owned(), word(&self.monitor)?];
        if let Some(socket) = &self.socket {
            words.extend(["--agent".to_owned(), word(socket)?]);
        }
        Some(words)
    }
}
