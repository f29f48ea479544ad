//! The machine that the arguments name; how machines are found is `mover`'s.

use crate::args::MachineArgs;
use crate::failure::Told;
use anyhow::{Context, Result};
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::{ErrorKind, Machine};
use mover::machines::{NEEDS_MONITOR, by_monitor};
use std::path::Path;

pub(crate) use mover::machines::{Found, Known};

/// The machines of a libvirt that is named; else all of this host.
pub(crate) async fn find(libvirt: Option<&str>) -> Result<Found> {
    let context = || match libvirt {
        Some(uri) => format!("look for machines of {uri}"),
        None => "look for running machines".to_owned(),
    };
    mover::machines::find(libvirt).await.with_context(context)
}

/// Opens the machine that is meant.
pub(crate) async fn open(args: &MachineArgs) -> Result<Box<dyn Machine>> {
    if let Some(qmp) = &args.qmp {
        let machine = by_monitor(std::slice::from_ref(qmp), args.agent.as_deref()).await?;
        if let Some(name) = &args.machine {
            refuse_another(name, qmp, &*machine).await?;
        }
        return Ok(machine);
    }
    let name = args.machine.as_deref().unwrap_or_default();
    let Found { machines, silent } = find(args.libvirt.as_deref()).await?;
    let mut meant: Vec<Known> = machines.into_iter().filter(|machine| machine.is_called(name)).collect();
    match meant.len() {
        1 => open_known(name, &meant.remove(0), silent).await,
        0 => Err(not_found(name, args.libvirt.as_deref(), silent)),
        n => Err(Told::usage(
            format!("{n} machines are called {name}"),
            "name it by its id, or with --qmp SOCKET",
        )),
    }
}

/// Opens a machine for work that goes on with what `hypervisor` makes of the errors.
pub(crate) async fn open_now(args: &MachineArgs) -> hypervisor::Result<Box<dyn Machine>> {
    // A libvirt that answers and has no such machine has said that it is gone.
    if let (Some(uri), Some(name)) = (&args.libvirt, &args.machine) {
        return Ok(Box::new(LibvirtMachine::connect(uri, name).await?));
    }
    let failed = |error: anyhow::Error| {
        let known = error.downcast::<hypervisor::Error>();
        known.unwrap_or_else(|other| hypervisor::Error::new(ErrorKind::Failed, format!("{other:#}")))
    };
    open(args).await.map_err(failed)
}

async fn open_known(
    name: &str,
    known: &Known,
    silent: Option<hypervisor::Error>,
) -> Result<Box<dyn Machine>> {
    match known {
        Known::Qemu(machine) if machine.qmp.is_empty() => {
            let what = format!("machine {name} runs without a QMP socket, so nobody can talk to it");
            let hint = match silent {
                Some(error) => format!(
                    "if libvirt runs it, see that libvirt answers ({error}) or name it with --libvirt URI; \
                     else {NEEDS_MONITOR}"
                ),
                None => NEEDS_MONITOR.to_owned(),
            };
            Err(Told::not_found(what, hint))
        }
        Known::Libvirt(domain, _) => {
            known.connect().await.with_context(|| format!("reach {name} by {}", domain.uri))
        }
        Known::Qemu(_) => Ok(known.connect().await?),
    }
}

fn not_found(name: &str, libvirt: Option<&str>, silent: Option<hypervisor::Error>) -> anyhow::Error {
    if let Some(uri) = libvirt {
        let hint = format!("`strongroom rescue machine list --libvirt {uri}` shows what there is");
        return Told::not_found(format!("{uri} has no machine {name}"), hint);
    }
    let mut hint =
        "`strongroom rescue machine list` shows what there is; --qmp SOCKET or --libvirt URI reaches what \
                    is not found"
            .to_owned();
    // That virsh is missing is no news where nobody uses libvirt.
    if let Some(error) = silent.filter(|error| error.kind() != ErrorKind::Unsupported) {
        hint += &format!("; libvirt does not run here, or does not answer ({error})");
    }
    Told::not_found(format!("no machine {name} runs on this host"), hint)
}

/// Whoever names a machine and a socket means the machine: another may have taken the socket's place.
async fn refuse_another(name: &str, socket: &Path, machine: &dyn Machine) -> Result<()> {
    let found = machine.describe().await;
    let found = found.with_context(|| format!("ask who answers at {}", socket.display()))?;
    let is_id = found.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name));
    if is_id || found.name.as_deref() == Some(name) {
        return Ok(());
    }
    let answers = match (&found.name, &found.uuid) {
        (Some(other), Some(uuid)) => format!("{other} ({uuid})"),
        (Some(other), None) | (None, Some(other)) => other.clone(),
        (None, None) => "a machine without name or uuid".to_owned(),
    };
    Err(Told::not_found(
        format!("{name} was asked for, but at {} answers {answers}", socket.display()),
        "name the machine that is meant, or leave the name out to take what answers at the socket",
    ))
}
