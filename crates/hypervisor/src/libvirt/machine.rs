//! A machine of a libvirt, as a caller holds it.

use super::describe::describe;
use super::guest::DomainGuest;
use super::link::{Link, field};
use super::owner::LibvirtFreeze;
use super::reconcile;
use super::virsh::Virsh;
use crate::agent::Agent;
use crate::consistency::Guest;
use crate::frozen::{self, Turn};
use crate::{Error, ErrorKind, FreezeRequest, FrozenMachine, Machine, MachineDescription, Result, WriteLoad};
use async_trait::async_trait;
use std::path::PathBuf;

/// A machine of a libvirt. Nothing is open between calls.
///
/// Freezing is refused for machines of other hosts, and before QEMU 9.0 for disks with an iothread.
#[derive(Debug)]
pub struct LibvirtMachine {
    link: Link,
    turn: Turn,
}

impl LibvirtMachine {
    /// Finds the machine by its name or uuid.
    ///
    /// # Errors
    /// `NotFound` when this libvirt has none such; `Unreachable` when no libvirt answers; `Unsupported` when
    /// virsh is not installed.
    pub async fn connect(uri: &str, name: &str) -> Result<Self> {
        let virsh = Virsh::new(uri);
        let info = virsh.run(&["dominfo", "--domain", name]).await?;
        let unknown = || Error::new(ErrorKind::Failed, format!("read the uuid of the machine {name}"));
        let uuid = field(&info, "UUID").ok_or_else(unknown)?.to_owned();
        Ok(Self { link: Link { virsh, uuid }, turn: Turn::default() })
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

#[async_trait]
impl Machine for LibvirtMachine {
    async fn describe(&self) -> Result<MachineDescription> {
        describe(&self.link).await
    }

    async fn freeze(&self, request: FreezeRequest) -> Result<FrozenMachine> {
        let permit = self.turn.take("freeze")?;
        request.check()?;
        let point = request.point.clone();
        frozen::begin(point, LibvirtFreeze::new(self.link.clone(), request, permit)).await
    }

    async fn reconcile(&self) -> Result<Vec<String>> {
        let _permit = self.turn.take("reconcile")?;
        reconcile::reconcile(&self.link).await
    }

    async fn settled(&self) {
        self.turn.free().await;
    }

    async fn write_load(&self) -> Result<Option<WriteLoad>> {
        Ok(Some(self.link.write_load().await?))
    }

    async fn agent(&self) -> Result<Agent> {
        DomainGuest::new(self.link.clone(), PathBuf::new()).agent().await
    }
}
