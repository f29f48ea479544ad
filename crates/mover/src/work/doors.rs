//! Machines, opened: one at a time uses a machine's monitor.
//!
//! A QMP socket serves one client. Without this the inventory would now and then keep a backup out, and always be
//! kept out by one.

use super::failure::{Failed, Result};
use crate::machines::{Known, find};
use api::work::AssignedHost;
use hypervisor::Machine;
use hypervisor::libvirt::RunState;
use model::job::Failure;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// A machine that is to be opened: where it is, what its hypervisor knows it by, and its name.
#[derive(Clone, Copy)]
pub(super) struct Meant<'a> {
    pub(super) host: &'a AssignedHost,
    pub(super) known_as: &'a str,
    pub(super) name: &'a str,
}

/// The address of a host whose machines are found as those of this one.
const LOCAL: &str = "local";

/// A door for each machine that was ever used: as many as there are machines.
#[derive(Debug, Default)]
pub(super) struct Doors(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// A machine that nobody else of this process uses.
pub(super) struct Opened {
    pub(super) machine: Arc<dyn Machine>,
    pub(super) _inside: OwnedMutexGuard<()>,
}

impl Doors {
    /// Waits for a machine to be free, and opens it.
    pub(super) async fn open(&self, meant: Meant<'_>) -> Result<Opened> {
        let inside = self.door(meant.known_as).lock_owned().await;
        let known = find_one(meant).await?;
        Ok(Opened { machine: Arc::from(known.connect().await?), _inside: inside })
    }

    /// Waits for a machine to be free, and lets nobody else use it.
    pub(super) async fn enter(&self, known_as: &str) -> OwnedMutexGuard<()> {
        self.door(known_as).lock_owned().await
    }

    /// Lets nobody else use a machine; none if somebody does.
    pub(super) fn try_enter(&self, known_as: &str) -> Option<OwnedMutexGuard<()>> {
        self.door(known_as).try_lock_owned().ok()
    }

    fn door(&self, known_as: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut doors = self.0.lock().expect("no holder panics");
        Arc::clone(doors.entry(known_as.to_owned()).or_default())
    }
}

/// The libvirt that has a host's machines; none: they are found as those of this host.
pub(super) fn libvirt_of(host: &AssignedHost) -> Option<&str> {
    Some(host.address.as_str()).filter(|address| *address != LOCAL)
}

async fn find_one(Meant { host, known_as, name }: Meant<'_>) -> Result<Known> {
    let found = find(libvirt_of(host)).await?;
    let is_meant = |machine: &&Known| machine.known_as().is_some_and(|id| id.eq_ignore_ascii_case(known_as));
    let mut meant = found.machines.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(Known::Libvirt(domain, _)), None) if domain.state == RunState::Off => {
            let text = format!("the machine {name} is shut off");
            Err(Failed::new(Failure::Unreachable, text, "start it: a machine is backed up while it runs"))
        }
        (Some(known), None) => Ok(known.clone()),
        (None, _) => {
            let silent = found.silent.map(|error| format!(", and its libvirt does not answer ({error})"));
            let silent = silent.unwrap_or_default();
            let text = format!("no machine {name} ({known_as}) runs on the host {}{silent}", host.address);
            Err(Failed::new(Failure::Unreachable, text, "start it: a machine is backed up while it runs"))
        }
        (Some(_), Some(_)) => {
            let text = format!("several machines on the host {} are known as {known_as}", host.address);
            Err(Failed::new(Failure::Invalid, text, "give each a uuid of its own: -uuid"))
        }
    }
}
