//! Finding machines: those of this host's libvirt, and those whose QEMUs run here without one, each once.

use crate::args::MachineArgs;
use crate::failure::Told;
use anyhow::{Context, Result};
use hypervisor::libvirt::{LibvirtAddress, LibvirtMachine};
use hypervisor::qemu::{MachineAddress, QemuMachine};
use hypervisor::{ErrorKind, Machine};
use std::path::{Path, PathBuf};

/// This host's libvirt.
const THIS_LIBVIRT: &str = "qemu:///system";

/// A machine, and how it is reached.
pub(crate) enum Known {
    /// By its monitor.
    Qemu(MachineAddress),
    /// By its libvirt; its QEMU's process, if that runs here.
    Libvirt(LibvirtAddress, Option<u32>),
}

impl Known {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Qemu(machine) => machine.name.as_deref(),
            Self::Libvirt(domain, _) => Some(&domain.name),
        }
    }

    pub(crate) fn uuid(&self) -> Option<&str> {
        match self {
            Self::Qemu(machine) => machine.uuid.as_deref(),
            Self::Libvirt(domain, _) => Some(&domain.uuid),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        self.name() == Some(name) || self.uuid().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name))
    }
}

/// What was found, and why a libvirt that may be there did not answer.
pub(crate) struct Found {
    pub(crate) machines: Vec<Known>,
    pub(crate) silent: Option<hypervisor::Error>,
}

/// The machines of a libvirt that is named; else all of this host.
pub(crate) async fn find(libvirt: Option<&str>) -> Result<Found> {
    if let Some(uri) = libvirt {
        let domains = hypervisor::libvirt::discover(uri).await;
        let domains = domains.with_context(|| format!("look for machines of {uri}"))?;
        return Ok(Found { machines: merge(domains, Vec::new()), silent: None });
    }
    let running = hypervisor::qemu::discover().context("look for running machines")?;
    // A host without libvirt is a host like any other.
    let (domains, silent) = match hypervisor::libvirt::discover(THIS_LIBVIRT).await {
        Ok(domains) => (domains, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(Found { machines: merge(domains, running), silent })
}

/// A QEMU of libvirt's is a process like any other: it is known by its uuid, which libvirt always gives.
fn merge(domains: Vec<LibvirtAddress>, running: Vec<MachineAddress>) -> Vec<Known> {
    let is_domains = |machine: &MachineAddress, domain: &LibvirtAddress| {
        machine.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(&domain.uuid))
    };
    let (theirs, ours): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|machine| domains.iter().any(|domain| is_domains(machine, domain)));
    let process = |domain: &LibvirtAddress| {
        theirs.iter().find(|machine| is_domains(machine, domain)).map(|machine| machine.pid)
    };
    let of_libvirt = domains.into_iter().map(|domain| {
        let pid = process(&domain);
        Known::Libvirt(domain, pid)
    });
    of_libvirt.chain(ours.into_iter().map(Known::Qemu)).collect()
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
        1 => open_known(name, meant.remove(0), silent).await,
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

async fn open_known(name: &str, known: Known, silent: Option<hypervisor::Error>) -> Result<Box<dyn Machine>> {
    match known {
        Known::Libvirt(domain, _) => {
            let machine = LibvirtMachine::connect(&domain.uri, &domain.uuid).await;
            Ok(Box::new(machine.with_context(|| format!("reach {name} by {}", domain.uri))?))
        }
        Known::Qemu(machine) if machine.qmp.is_empty() => {
            let what = format!("machine {name} runs without a QMP socket, so nobody can talk to it");
            let hint = match silent {
                Some(error) => format!(
                    "if libvirt runs it, see that libvirt answers ({error}) or name it with --libvirt URI; \
                     else start it with -qmp unix:PATH,server=on,wait=off"
                ),
                None => "start it with -qmp unix:PATH,server=on,wait=off".to_owned(),
            };
            Err(Told::not_found(what, hint))
        }
        Known::Qemu(machine) => by_monitor(&machine.qmp, machine.agent.as_deref()).await,
    }
}

fn not_found(name: &str, libvirt: Option<&str>, silent: Option<hypervisor::Error>) -> anyhow::Error {
    if let Some(uri) = libvirt {
        let hint = format!("`strongroom machine list --libvirt {uri}` shows what there is");
        return Told::not_found(format!("{uri} has no machine {name}"), hint);
    }
    let mut hint =
        "`strongroom machine list` shows what there is; --qmp SOCKET or --libvirt URI reaches what \
                    is not found"
            .to_owned();
    // That virsh is missing is no news where nobody uses libvirt.
    if let Some(error) = silent.filter(|error| error.kind() != ErrorKind::Unsupported) {
        hint += &format!("; libvirt does not run here, or does not answer ({error})");
    }
    Told::not_found(format!("no machine {name} runs on this host"), hint)
}

/// Connects to the first QMP socket that nobody else holds.
async fn by_monitor(sockets: &[PathBuf], agent: Option<&Path>) -> Result<Box<dyn Machine>> {
    let mut refused = None;
    for socket in sockets {
        match QemuMachine::connect(socket, agent).await {
            Ok(machine) => return Ok(Box::new(machine)),
            Err(error) if error.kind() == ErrorKind::Busy => {
                refused = Some(anyhow::Error::new(error).context(format!("connect to {}", socket.display())));
            }
            Err(error) => return Err(error).with_context(|| format!("connect to {}", socket.display())),
        }
    }
    Err(refused.expect("a machine that is found has a socket"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor::libvirt::RunState;

    fn domain(name: &str, uuid: &str) -> LibvirtAddress {
        let (uri, state) = (THIS_LIBVIRT.to_owned(), RunState::Running);
        LibvirtAddress { uri, name: name.to_owned(), uuid: uuid.to_owned(), state, persistent: true }
    }

    fn qemu(words: &[&str], pid: u32) -> MachineAddress {
        let argv = ["qemu-system-x86_64"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        hypervisor::qemu::parse(pid, argv).expect("it is a QEMU")
    }

    #[test]
    fn a_machine_of_libvirt_is_listed_once() {
        let running =
            vec![qemu(&["-name", "guest=web", "-uuid", "AB"], 7), qemu(&["-name", "own", "-uuid", "cd"], 8)];
        let found = merge(vec![domain("web", "ab"), domain("off", "ef")], running);
        let told: Vec<_> = found
            .iter()
            .map(|known| match known {
                Known::Libvirt(domain, pid) => (domain.name.as_str(), *pid),
                Known::Qemu(machine) => (machine.name.as_deref().unwrap_or_default(), Some(machine.pid)),
            })
            .collect();
        assert_eq!(told, [("web", Some(7)), ("off", None), ("own", Some(8))]);
        assert!(matches!(found[2], Known::Qemu(_)) && found[0].is_called("AB") && !found[0].is_called("a"));
    }
}
