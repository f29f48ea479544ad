//! The machine that is tried out, whoever runs it.

use super::disks::in_words;
use super::folder::DrillFolder;
use super::request::DrillRequest;
use super::screenshot::Screenshot;
use crate::error::{Doing, Result};
use crate::new_machine::described;
use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::recreate::{
    self, AttendedInLibvirt, AttendedQemu, Identity, LeftOut, LibvirtDefinition, Macs, Network, QemuPlan,
    Recreation, RestoredFile, record_console,
};
use hypervisor::{Agent, Machine};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How it is going to be started.
pub(super) struct Plan {
    who: Who,
    /// The file of its console.
    pub(super) console: PathBuf,
    folder: PathBuf,
}

enum Who {
    Qemu(QemuPlan),
    /// And the libvirt's address.
    Libvirt(LibvirtDefinition, String),
}

impl Plan {
    /// Refuses what cannot be; nothing is done yet.
    pub(super) fn of(request: &DrillRequest, folder: &DrillFolder, disks: Vec<RestoredFile>) -> Result<Self> {
        let doing = || "plan the drill".to_owned();
        let description = described(&request.point)?;
        let of_libvirt = description.definition.is_some();
        let mut recreation = Recreation {
            name: format!("drill-{}", request.id.simple()),
            uuid: Identity::New(request.id.to_string()),
            macs: Macs::New(request.id.as_u64_pair().1),
            network: Network::Disconnected,
            cpus: request.cpus,
            memory_bytes: request.memory_bytes,
            disks,
            folder: folder.run(),
            over: None,
        };
        let (who, console) = if of_libvirt {
            recreation.over = Some(folder.over());
            let mut definition = recreate::libvirt_definition(&description, &recreation).doing(doing)?;
            let console = recreate::attend(&mut definition, &folder.run()).doing(doing)?;
            let uri = request.libvirt.clone().unwrap_or_else(|| THIS_LIBVIRT.to_owned());
            (Who::Libvirt(definition, uri), console)
        } else {
            let mut plan = recreate::command_line(&description, &recreation).doing(doing)?;
            let console = record_console(&mut plan).doing(doing)?;
            (Who::Qemu(plan), console)
        };
        Ok(Self { who, console, folder: folder.run() })
    }

    /// What the machine has not, or differently.
    pub(super) fn left_out(&self) -> &[LeftOut] {
        match &self.who {
            Who::Qemu(plan) => &plan.left_out,
            Who::Libvirt(definition, _) => &definition.left_out,
        }
    }

    /// Lets libvirt's user reach the disks' server: libvirt gives it the files, but not that.
    pub(super) fn open_to_libvirt(&self, folder: &DrillFolder) -> Result<()> {
        if !matches!(self.who, Who::Libvirt(..)) {
            return Ok(());
        }
        let doing = || format!("let libvirt's user reach {}", folder.server().display());
        let opened = || -> std::io::Result<()> {
            // Gone through, not looked at: the server and the images keep their own permissions.
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
            match recreate::libvirt_user().filter(|_| rustix::process::geteuid().is_root()) {
                Some((user, group)) => std::os::unix::fs::chown(folder.server(), Some(user), Some(group)),
                None => Ok(()),
            }
        };
        opened().map_err(|e| block::Error::io("ask the system", e)).doing(doing)
    }

    pub(super) async fn start(self) -> hypervisor::Result<Attended> {
        match self.who {
            Who::Qemu(plan) => recreate::start_attended(plan).await.map(Box::new).map(Attended::Qemu),
            Who::Libvirt(definition, uri) => {
                let started = recreate::start_attended_in_libvirt(&uri, &definition, &self.folder).await;
                started.map(Attended::Libvirt)
            }
        }
    }
}

/// A machine that runs as long as this is held.
pub(super) enum Attended {
    Qemu(Box<AttendedQemu>),
    Libvirt(AttendedInLibvirt),
}

impl Attended {
    pub(super) async fn agent(&self) -> hypervisor::Result<Agent> {
        match self {
            Self::Qemu(qemu) => qemu.machine().agent().await,
            Self::Libvirt(domain) => domain.machine().agent().await,
        }
    }

    pub(super) fn has_agent(&self) -> bool {
        match self {
            Self::Qemu(qemu) => qemu.has_agent(),
            Self::Libvirt(domain) => domain.has_agent(),
        }
    }

    /// How it ended, if it did, in words.
    pub(super) async fn ended(&mut self) -> Option<String> {
        match self {
            Self::Qemu(qemu) => {
                let (status, said) = qemu.ended()?;
                Some(format!("({status}) {said}").trim_end().to_owned())
            }
            Self::Libvirt(domain) => domain.has_ended().await.then(|| "(libvirt has it no more)".to_owned()),
        }
    }

    /// Why its processors stand still, if they do: a disk that cannot be written to, for one.
    pub(super) async fn stands(&self) -> Option<String> {
        match self {
            Self::Qemu(qemu) => {
                let status = qemu.machine().qmp().execute("query-status", Value::Null).await.ok()?;
                let word = || status["status"].as_str().unwrap_or("?").to_owned();
                (status["running"] == false).then(word)
            }
            Self::Libvirt(domain) => domain.stands().await,
        }
    }

    /// What its screen shows. None if it has none, or is gone: no drill fails for it.
    pub(super) async fn screenshot(&self, folder: &Path) -> Option<Screenshot> {
        let file = folder.join("screen");
        match self {
            Self::Qemu(qemu) => {
                let (qmp, png) = (qemu.machine().qmp(), json!({ "filename": file, "format": "png" }));
                if qmp.execute("screendump", png).await.is_err() {
                    qmp.execute("screendump", json!({ "filename": file })).await.ok()?;
                }
            }
            Self::Libvirt(domain) => domain.screenshot(&file).await.ok()?,
        }
        Screenshot::read(&file)
    }

    /// Ends it; what it leaves of itself the sweep finds.
    pub(super) async fn end(self) {
        match self {
            Self::Qemu(qemu) => qemu.end(),
            Self::Libvirt(domain) => {
                if let Err(error) = domain.end().await {
                    tracing::warn!("libvirt ends a drill's machine by itself: {}", in_words(&error));
                }
            }
        }
    }
}
