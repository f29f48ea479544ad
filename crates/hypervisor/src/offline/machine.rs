//! A stopped machine: a name and its images.

use super::image::Image;
use super::opened::Opened;
use super::owner::OfflineFreeze;
use crate::agent::Agent;
use crate::frozen::{self, Turn};
use crate::qmp::Version;
use crate::{Error, ErrorKind, FreezeRequest, FrozenMachine, Machine, MachineDescription, Result};
use async_trait::async_trait;
use std::collections::BTreeSet;

/// A machine that does not run, known by its disk images.
#[derive(Debug)]
pub struct OfflineMachine {
    identity: Identity,
    images: Vec<Image>,
    turn: Turn,
}

/// What people and points know the machine by.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    name: String,
    uuid: Option<String>,
}

impl OfflineMachine {
    /// A machine of that name, and uuid where it has one. A machine that is backed up while it runs too must be
    /// given the uuid it has there, if any, and its disks the names they have there: they are one machine then.
    ///
    /// # Errors
    /// `Invalid` without images, or when two have one name.
    pub fn new(name: &str, uuid: Option<&str>, images: Vec<Image>) -> Result<Self> {
        let names: BTreeSet<&str> = images.iter().map(|image| image.name.as_str()).collect();
        if images.is_empty() || names.len() < images.len() || names.contains("") {
            let text =
                "name the disks of a stopped machine: it needs one at least, each with a name of its own";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let identity = Identity { name: name.to_owned(), uuid: uuid.map(str::to_ascii_lowercase) };
        Ok(Self { identity, images, turn: Turn::default() })
    }

    /// Its images.
    pub fn images(&self) -> &[Image] {
        &self.images
    }
}

impl Identity {
    pub(super) fn describe(&self, opened: &Opened) -> MachineDescription {
        let none = Version { major: 0, minor: 0, micro: 0, package: "stopped".into() };
        MachineDescription {
            name: Some(self.name.clone()),
            uuid: self.uuid.clone(),
            status: "stopped".into(),
            stopped: true,
            qemu: opened.qmp().map_or(none, |qmp| qmp.version().clone()),
            cpus: 0,
            memory_bytes: 0,
            disks: opened.disks.iter().map(|disk| disk.description.clone()).collect(),
            // Nothing boots from them now: the first that was named is taken to be the one.
            boot: opened.disks.first().map(|disk| disk.description.id.clone()),
            ..MachineDescription::default()
        }
    }
}

#[async_trait]
impl Machine for OfflineMachine {
    /// Opens the images for a moment, so that all that could refuse a freeze is told here already.
    async fn describe(&self) -> Result<MachineDescription> {
        let run = format!("look-{}-{:p}", std::process::id(), self);
        let opened = Opened::open(&self.images, &std::env::temp_dir(), &run).await?;
        let description = self.identity.describe(&opened);
        opened.close().await?;
        Ok(description)
    }

    async fn freeze(&self, request: FreezeRequest) -> Result<FrozenMachine> {
        let permit = self.turn.take("freeze")?;
        request.check()?;
        let point = request.point.clone();
        let freeze = OfflineFreeze::new(self.identity.clone(), self.images.clone(), request, permit);
        frozen::begin(point, freeze).await
    }

    /// A killed process leaves nothing in images, which are only read; its folders are swept by the next freeze.
    async fn reconcile(&self) -> Result<Vec<String>> {
        let _permit = self.turn.take("reconcile")?;
        Ok(Vec::new())
    }

    async fn settled(&self) {
        self.turn.free().await;
    }

    async fn agent(&self) -> Result<Agent> {
        Err(Error::new(ErrorKind::Guest, "a stopped machine has no agent that could answer"))
    }
}
